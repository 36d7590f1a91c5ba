"""The report in a real browser, from disk: nothing goes wrong, nothing is fetched, and it does what it offers."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planted_searches import realistic_search

from analysis.report import report_html

CHROMIUM, DRIVER = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs a Chromium and its chromedriver (Debian: apt install chromium chromium-driver)",
)
_DRAWN_WITHIN_SECONDS = 90


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(report_html(realistic_search(trials=60, folds=3, num_objectives=1)), "utf-8")
    browser.set_window_size(1280, 900)
    browser.get(path.as_uri())
    end = time.monotonic() + _DRAWN_WITHIN_SECONDS
    while browser.execute_script("return document.documentElement.dataset.drawn") != "all":
        assert time.monotonic() < end, "the figures were not drawn in time"
        time.sleep(0.1)
    return browser


def _column(page: Any, name: str) -> list[str]:
    return page.execute_script(
        "const heads = [...document.querySelectorAll('#trials th')];"
        "const column = heads.findIndex((head) => head.dataset.name === arguments[0]);"
        "return [...document.querySelectorAll('#trials tbody tr')].filter((row) => !row.hidden)"
        ".map((row) => row.cells[column].textContent)",
        name,
    )


def _head(page: Any, name: str) -> Any:
    return page.find_element("css selector", f"#trials th[data-name='{name}']")


def _click(page: Any, element: Any) -> None:
    """As a person does: where nothing that sticks to the top lies above it, and when nothing moves any more."""
    page.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
    element.click()


def _filter(page: Any, text: str) -> None:
    box = page.find_element("id", "filter")
    box.clear()
    box.send_keys(text)


def test_nothing_goes_wrong_and_nothing_is_fetched(page: Any) -> None:
    wrong = [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"]
    assert wrong == []
    fetched = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert fetched == []


def test_every_figure_is_drawn(page: Any) -> None:
    plots = page.find_elements("class name", "plot")
    assert len(plots) >= 12
    for plot in plots:
        drawn = page.execute_script(
            "return [...arguments[0].querySelectorAll('svg path, svg circle, canvas')].filter("
            "(mark) => mark.getBoundingClientRect().width > 0).length",
            plot,
        )
        assert drawn > 3, plot.get_attribute("id")


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_it_round(page: Any) -> None:
    _filter(page, "")
    head = _head(page, "learning_rate")
    _click(page, head.find_element("tag name", "button"))
    values = [float(text) for text in _column(page, "learning_rate")]
    assert values == sorted(values)
    assert head.get_attribute("aria-sort") == "ascending"
    _click(page, head.find_element("tag name", "button"))
    assert [float(text) for text in _column(page, "learning_rate")] == values[::-1]
    assert head.get_attribute("aria-sort") == "descending"


def test_trials_without_a_rank_come_last_whichever_way_it_is_sorted(page: Any) -> None:
    _filter(page, "")
    for _ in range(2):
        _click(page, _head(page, "rank").find_element("tag name", "button"))
        ranks = _column(page, "rank")
        assert "" not in ranks[: sum(rank != "" for rank in ranks)]


def test_the_filter_takes_words_and_comparisons(page: Any) -> None:
    _filter(page, "")
    assert len(_column(page, "trial")) == 60
    _filter(page, "finished learning_rate>0.0005")
    rates = [float(text) for text in _column(page, "learning_rate")]
    assert set(_column(page, "state")) == {"finished"}
    assert min(rates) > 0.0005
    shown = page.find_element("id", "shown").text
    assert shown == f"{len(rates)} of 60 trials"
    _filter(page, "no such words")
    assert _column(page, "trial") == []
    _filter(page, "")


def test_the_button_switches_page_and_figures_between_light_and_dark(page: Any) -> None:
    def colors() -> tuple[str, str]:
        body = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        text = page.execute_script("return getComputedStyle(document.querySelector('#plot-curves .xtick text')).fill")
        return body, text

    light = colors()
    _click(page, page.find_element("id", "theme"))
    time.sleep(1)
    dark = colors()
    assert light[0] == "rgb(255, 255, 255)"
    assert dark[0] == "rgb(20, 23, 28)"
    assert light[1] != dark[1]
    _click(page, page.find_element("id", "theme"))


def test_the_system_s_dark_mode_is_followed(page: Any) -> None:
    page.execute_script("delete document.documentElement.dataset.theme; localStorage.clear()")
    for theme, expected in (("dark", "rgb(20, 23, 28)"), ("light", "rgb(255, 255, 255)")):
        media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        assert page.execute_script("return getComputedStyle(document.body).backgroundColor") == expected


def test_a_phone_scrolls_in_one_direction_only(page: Any) -> None:
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    time.sleep(1)
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_copy_button_says_that_it_has_copied(page: Any, tmp_path: Path) -> None:
    # A search without a folder has no command to copy: one with a folder has.
    from dataclasses import replace

    path = tmp_path / "report.html"
    path.write_text(report_html(replace(realistic_search(trials=5), directory=tmp_path)), "utf-8")
    page.get(path.as_uri())
    button = page.find_element("class name", "copy")
    _click(page, button)
    time.sleep(0.3)
    assert button.text == "Copied"
