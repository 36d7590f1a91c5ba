"use strict";
// Draws the figures, sorts and filters the leaderboard, copies commands, switches between light and dark.
(() => {
  const root = document.documentElement;
  const darkMedia = window.matchMedia("(prefers-color-scheme: dark)");

  // --- light and dark ---
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : darkMedia.matches);
  const remembered = { // from disk some browsers refuse storage
    get: () => { try { return localStorage.getItem("tunesmith-theme"); } catch { return null; } },
    set: (theme) => { try { localStorage.setItem("tunesmith-theme", theme); } catch { /* not remembered */ } },
  };
  const colors = () => {
    const style = getComputedStyle(root);
    const of = (name) => style.getPropertyValue(name).trim();
    return { "font.color": of("--text"), "hoverlabel.bgcolor": of("--card"), "hoverlabel.font.color": of("--text"), "hoverlabel.bordercolor": of("--line") };
  };
  const setTheme = (theme) => {
    root.dataset.theme = theme;
    document.querySelectorAll(".plot.drawn").forEach((plot) => Plotly.relayout(plot, colors()));
  };
  if (remembered.get()) root.dataset.theme = remembered.get();
  document.getElementById("theme").addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    remembered.set(theme);
    setTheme(theme);
  });
  darkMedia.addEventListener("change", () => {
    if (!root.dataset.theme) document.querySelectorAll(".plot.drawn").forEach((plot) => Plotly.relayout(plot, colors()));
  });

  // --- figures, one after the other, so that the page can be read meanwhile ---
  const waiting = [...document.querySelectorAll(".plot")];
  const draw = (plot) => {
    const figure = JSON.parse(document.getElementById(plot.dataset.figure).textContent);
    const chosen = colors();
    const layout = { ...figure.layout, font: { ...figure.layout.font, color: chosen["font.color"] } };
    layout.hoverlabel = { ...layout.hoverlabel, bgcolor: chosen["hoverlabel.bgcolor"], bordercolor: chosen["hoverlabel.bordercolor"],
      font: { ...(layout.hoverlabel || {}).font, color: chosen["hoverlabel.font.color"] } };
    const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage"]] };
    return Plotly.newPlot(plot, figure.data, layout, config).then(() => plot.classList.add("drawn"));
  };
  const drawNext = () => {
    const plot = waiting.shift();
    if (plot) draw(plot).finally(() => setTimeout(drawNext, 0));
    else root.dataset.drawn = "all";
  };
  drawNext();
  window.addEventListener("beforeprint", () => setTheme("light"));

  // --- the leaderboard ---
  const table = document.getElementById("trials");
  if (table) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const heads = [...table.tHead.rows[0].cells];
    const names = heads.map((head) => head.dataset.name.toLowerCase());
    const key = (row, column) => row.cells[column].dataset.sort ?? "";
    const sortBy = (column) => {
      const head = heads[column];
      const falls = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const isNumber = head.classList.contains("number");
      rows.sort((left, right) => {
        const [a, b] = [key(left, column), key(right, column)];
        if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last, either way
        const order = isNumber ? Number(a) - Number(b) : a.localeCompare(b);
        return falls ? -order : order;
      });
      body.append(...rows);
    };
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => sortBy(column)));

    const compare = { "<": (a, b) => a < b, ">": (a, b) => a > b, "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "=": (a, b) => a === b };
    const test = (word) => {
      const parts = word.match(/^([^<>=]+)(<=|>=|<|>|=)(.+)$/);
      const column = parts ? names.indexOf(parts[1]) : -1;
      if (column < 0) return (row) => row.textContent.toLowerCase().includes(word);
      const wanted = Number(parts[3]);
      if (Number.isNaN(wanted)) return (row) => parts[2] === "=" && key(row, column).toLowerCase() === parts[3];
      return (row) => key(row, column) !== "" && compare[parts[2]](Number(key(row, column)), wanted);
    };
    const shown = document.getElementById("shown");
    const filter = document.getElementById("filter");
    const apply = () => {
      const tests = filter.value.toLowerCase().split(/\s+/).filter(Boolean).map(test);
      let count = 0;
      rows.forEach((row) => {
        row.hidden = !tests.every((passes) => passes(row));
        count += !row.hidden;
      });
      shown.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} trials`;
    };
    filter.addEventListener("input", apply);
    apply();
  }

  // --- copying ---
  const copy = async (text) => {
    try { await navigator.clipboard.writeText(text); } catch { // not everywhere allowed from disk
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
  document.querySelectorAll(".copy").forEach((button) => button.addEventListener("click", async () => {
    const { copyFrom } = button.dataset;
    await copy(copyFrom ? document.getElementById(copyFrom).textContent : button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }));
})();
