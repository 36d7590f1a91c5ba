"""A search as one self-contained HTML file that works from disk without a network: words first, then tables and plots.

All texts pass through a template that escapes them: what a model wrote, or what an error said, is never markup.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import Any

from analysis.advice import advise
from analysis.beside_the_study import beside_the_study, to_yaml
from analysis.importance import importances
from analysis.leaderboard import leaderboard
from analysis.records import SearchRecord, replace_text
from analysis.report_confirmation import confirmation_facts, confirmed_words, latest_confirmation
from analysis.report_parts import (
    best_params,
    data_card,
    environment,
    failures,
    key_figures,
    leaderboard_table,
)
from analysis.summary import Point, counted, next_steps, summary

_MAX_SAMPLES = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plot:
    """A figure of the report."""

    name: str
    """In `plots.PLOTS`."""
    title: str
    """Its heading."""
    caption: str
    """What it shows, also for those who cannot see it."""
    is_wide: bool = True
    """Whether it takes the whole width."""
    is_roomy: bool = False
    """Whether it needs more width than a phone has: there it scrolls sideways."""


_PROGRESS = (
    _Plot(name="incumbent", title="Best so far", caption="Finished trials, and the best until then.", is_wide=False),
    _Plot(name="incumbent_over_time", title="Best so far, by time", caption="The same by the clock.", is_wide=False),
    _Plot(
        name="incumbent_over_cost",
        title="Best so far, by cost",
        caption="The same by what had been spent.",
        is_wide=False,
    ),
    _Plot(
        name="rungs", title="Rungs", caption="How many trials came how far, and where they were stopped.", is_wide=False
    ),
    _Plot(name="pareto", title="Front", caption="What no trial is better than in every objective."),
    _Plot(name="hypervolume", title="Hypervolume", caption="How much the front covers, trial by trial."),
    _Plot(name="curves", title="Learning curves", caption="The objective while trials trained."),
    _Plot(name="folds", title="Folds", caption="How the folds, or seeds, of the best trials spread."),
)
_MATTERS = (
    _Plot(name="importance", title="Importance", caption="What part of the differences each parameter explains."),
    _Plot(
        name="interactions", title="Interactions", caption="What two parameters do together and neither does alone.",
        is_wide=False,
    ),
    _Plot(
        name="path_to_best", title="Path to the best", caption="Which change brings how much, one after the other.",
        is_wide=False,
    ),
)  # fmt: skip
_SHAPE = (
    _Plot(name="slices", title="Slices", caption="The objective over each parameter.", is_roomy=True),
    _Plot(name="contour", title="The two that matter most", caption="What to expect where."),
    _Plot(name="parallel", title="Parallel coordinates", caption="Drag along an axis to select trials.", is_roomy=True),
    _Plot(name="rank", title="Ranks over pairs of parameters", caption="Where the best trials crowd.", is_roomy=True),
)
_COST = (
    _Plot(
        name="timeline",
        title="Workers",
        caption="Which worker ran which trial when; gaps are idle time.",
        is_roomy=True,
    ),
    _Plot(name="costs", title="Cost", caption="What finished, stopped and failed trials took.", is_roomy=True),
)


def write_report(record: SearchRecord, path: Path) -> None:
    """The report of `record` at `path`, all or nothing."""
    replace_text(path, report_html(record))


def report_html(record: SearchRecord) -> str:
    """The report of `record`. A search that still runs, or has nothing but failures, has one too."""
    from jinja2 import Environment, StrictUndefined
    from plotly.offline import get_plotlyjs

    entries = leaderboard(record)
    beside = beside_the_study(record)
    figures = _figures(record)
    confirmation = latest_confirmation(record)
    points = summary(record)
    if confirmation is not None:  # it is what counts, so it comes before what the search saw
        points.insert(1, Point(about="On the test split", words=confirmed_words(confirmation)))
    templates = files("analysis").joinpath("templates")
    jinja = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters["coded"] = _coded
    template = jinja.from_string(templates.joinpath("report.html.jinja").read_text("utf-8"))
    return template.render(
        record=record,
        made_at=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        counted=counted(record),
        points=points,
        confirmed=confirmation_facts(confirmation) if confirmation is not None else None,
        steps=next_steps(record),
        key_figures=key_figures(record),
        table=leaderboard_table(entries, record),
        advice=advise(record),
        importances=importances(record),
        groups=[
            (name, title, _captioned(plots, figures))
            for name, title, plots in (
                ("progress", "Progress", _PROGRESS),
                ("matters", "What matters", _MATTERS),
                ("shape", "Shape", _SHAPE),
                ("cost", "Cost and workers", _COST),
            )
        ],
        best_params=best_params(record),
        best_yaml=to_yaml(beside.best_document) if beside.best_document else "",
        best_command=f"tunesmith trial {record.directory} --number {record.best.number}"
        if record.best and record.directory
        else "",
        failures=failures(record),
        samples=[dict(sample) for sample in beside.samples[:_MAX_SAMPLES]],
        data=data_card(beside),
        environment=environment(record, beside),
        spec_yaml=to_yaml(beside.spec) if beside.spec else "",
        css=templates.joinpath("report.css").read_text("utf-8"),
        script=templates.joinpath("report.js").read_text("utf-8"),
        plotly=get_plotlyjs() if figures else "",
        figures={name: _in_script(figure) for name, figure in figures.items()},
    )


def _figures(record: SearchRecord) -> dict[str, Any]:
    from analysis.plots import drawn

    return {name: figure.to_plotly_json() for name, figure in drawn(record).items()}


def _captioned(plots: Sequence[_Plot], figures: dict[str, Any]) -> list[_Plot]:
    """The plots that there are, with what their figures say above themselves in the captions."""
    from analysis.plotting.style import NOTE_HEIGHT

    present = []
    for plot in plots:
        if plot.name in figures:
            layout = figures[plot.name]["layout"]
            text = layout.pop("title", {}).get("text", "")
            notes = unescape(text).split("<br>") if text else []
            layout["margin"] = layout["margin"] | {"t": layout["margin"]["t"] - NOTE_HEIGHT * len(notes)}
            present.append(replace(plot, caption=" ".join([plot.caption, *notes]).strip()))
    return present


def _coded(text: str) -> Any:
    """Escaped, with what stands between backticks as code."""
    from markupsafe import Markup, escape

    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # one of them stands alone
        return escape(text)
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def _in_script(figure: Any) -> str:
    """A figure as JSON that cannot end the script element it stands in."""
    from plotly.utils import PlotlyJSONEncoder

    # Strict JSON has no NaN; a browser's parser would refuse the whole figure.
    text = json.dumps(figure, cls=PlotlyJSONEncoder, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
