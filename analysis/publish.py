"""Saves what a search has shown into its W&B project: a workspace and a report. Publishing again updates both.

Knows a search by its record and by where its runs are; asks W&B only through its public clients.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.leaderboard import Entry, leaderboard
from analysis.records import SearchRecord
from analysis.summary import Point
from analysis.wandb_address import parse_address
from analysis.wandb_charts import results
from analysis.wandb_panels import PanelSection, panel_sections, parameters
from analysis.wording import short_names, show_metric, show_value
from spaces.errors import SpecError

_TIMEOUT_SECONDS = 30
_ROWS_IN_REPORT = 20
_MOST_PINNED = 8
_SEARCH = "-search"
"""Ends the id of a search's own run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunsPlace:
    """Where the runs of a search are in W&B."""

    entity: str | None
    """User or team; None for the default one of whoever is logged in."""
    project: str
    """The project."""
    group: str
    """The search's name."""
    prefix: str
    """What the ids of its runs begin with."""

    @property
    def search_id(self) -> str:
        """The id of the search's own run."""
        return f"{self.prefix}{_SEARCH}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """What is in W&B now."""

    workspace: str
    """URL of the saved workspace."""
    report: str
    """URL of the report."""
    is_update: bool
    """Whether both were there before."""

    def to_json(self) -> dict[str, Any]:
        """The documented form of `publish --json`."""
        return {"workspace": self.workspace, "report": self.report, "updated": self.is_update}


def runs_place(source: str) -> RunsPlace:
    """Where the runs of `wandb:ENTITY/PROJECT/GROUP` are.

    Raises:
        SpecError: no search of ours, or several, are there.
    """
    import wandb

    address = parse_address(source)
    with _explained():
        api = wandb.Api(timeout=_TIMEOUT_SECONDS)
        entity = address.entity or api.default_entity
        filters = {**address.filters(), "jobType": "search"}
        runs = api.runs(f"{entity}/{address.project}", filters=filters, lazy=True)
        found = [run for run in runs if run.id.startswith(address.search or "") and run.id.endswith(_SEARCH)]
    if len(found) != 1:
        known = ", ".join(f"`{source.partition('#')[0]}#{run.id.removesuffix(_SEARCH)}`" for run in found)
        raise SpecError(
            f"`{source}` names {len(found)} searches of tunesmith, and one can be published at a time"
            + (f": {known}." if known else ".")
        )
    return RunsPlace(
        entity=entity,
        project=address.project,
        group=address.group or found[0].group,
        prefix=found[0].id.removesuffix(_SEARCH),
    )


def publish(record: SearchRecord, place: RunsPlace, text: Sequence[Point]) -> Published:
    """Save the workspace and the report of a search whose runs are in W&B.

    Raises:
        SpecError: they are not there, or W&B cannot be used.
    """
    import wandb

    with _quiet(), _explained():
        api = wandb.Api(timeout=_TIMEOUT_SECONDS)
        entity = place.entity or api.default_entity
        run = _search_run(api, entity, place)
        _complete(run, record, entity, place)
        sections = panel_sections(record)
        workspace, was_there = _workspace(record, entity, place, sections, base=_base_of(run.url))
        workspace.save()
        report = _report(record, entity, place, sections, text)
        report.id = found.id if (found := _saved_report(api, entity, place)) is not None else ""
        report.save()
        return Published(workspace=workspace.url, report=report.url, is_update=was_there and found is not None)


def _search_run(api: Any, entity: str, place: RunsPlace) -> Any:
    runs = api.runs(f"{entity}/{place.project}", filters={"group": place.group}, lazy=False, per_page=500)
    try:
        found = {run.id: run for run in runs if run.id.startswith(place.prefix)}
    except ValueError:  # there is no such project
        found = {}
    if place.search_id not in found:
        raise SpecError(
            f"W&B has no run of this search in `{entity}/{place.project}`: send them first (`tunesmith sync`, or "
            "`publish --sync`)."
        )
    return found[place.search_id]


def _complete(run: Any, record: SearchRecord, entity: str, place: RunsPlace) -> None:
    """Log charts that the search's own run does not have: of a search that was interrupted, or ran before there were
    any. What it has stays as it is."""
    import wandb

    # A chart is there as the table below it.
    known = {name.removesuffix("_table") for name in dict(run.summary)}
    missing = {name: chart for name, chart in results(record).items() if name not in known}
    if not missing:
        return
    settings = wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True)
    with (
        tempfile.TemporaryDirectory(prefix="tunesmith-publish-") as folder,
        wandb.init(
            entity=entity,
            project=place.project,
            id=run.id,
            resume="must",
            reinit="create_new",
            settings=settings,
            dir=folder,  # else it writes into the folder that one stands in
        ) as resumed,
    ):
        resumed.log(missing)


# --- the workspace ---------------------------------------------------------------------------------------


def _workspace(
    record: SearchRecord, entity: str, place: RunsPlace, sections: Sequence[PanelSection], *, base: str
) -> tuple[Any, bool]:
    """The workspace, and whether it is there already. Its name in the URL follows from the search."""
    import wandb_workspaces.workspaces as ws
    from wandb_workspaces import expr

    slug = f"tunesmith{place.prefix}"
    try:
        saved = ws.Workspace.from_url(f"{base}/{entity}/{place.project}?nw={slug}")
    except ValueError:
        saved = None
    workspace = ws.Workspace(entity=entity, project=place.project)
    # What is made anew takes the place of what is there: nothing of an earlier time is left in it.
    workspace._internal_name = f"nw-{slug}-v"
    workspace._internal_id = saved._internal_id if saved else ""
    workspace.name = f"{record.name} (tunesmith)"
    workspace.sections = [
        ws.Section(name=section.name, panels=section.panels, is_open=True, layout_settings=_layout(section))
        for section in sections
    ]
    workspace.settings = ws.WorkspaceSettings(x_axis="progress/step", max_runs=100)
    workspace.runset_settings = ws.RunsetSettings(
        filters=[expr.Metric("Group") == place.group],
        order=[expr.Ordering(expr.Summary(record.metric), ascending=record.mode == "min")],
        pinned_columns=_columns(record),
    )
    return workspace, saved is not None


def _layout(section: PanelSection) -> Any:
    import wandb_workspaces.workspaces as ws

    return ws.SectionLayoutSettings(columns=1 if len(section.panels) == 1 else 2 if len(section.panels) < 5 else 3)


def _columns(record: SearchRecord) -> list[str]:
    """What the table of runs shows first: the objectives, then the parameters."""
    goals = [objective.name for objective in record.objectives] or [record.metric]
    columns = ["run:displayName", *(f"summary:{name}" for name in goals), "summary:tunesmith/state"]
    for path in parameters(record)[:_MOST_PINNED]:
        first, _, rest = path.partition(".")
        columns.append(f"config:{first}.value.{rest}" if rest else f"config:{first}.value")
    return columns


# --- the report ------------------------------------------------------------------------------------------


def _report(
    record: SearchRecord, entity: str, place: RunsPlace, sections: Sequence[PanelSection], text: Sequence[Point]
) -> Any:
    import wandb_workspaces.reports.v2 as wr

    blocks: list[Any] = [wr.TableOfContents(), wr.H1("Summary")]
    for point in text:
        blocks += [wr.H3(point.about), wr.P(point.words)]
    for section in sections:
        blocks += [wr.H1(section.name), wr.P(section.words)]
        if section.name == "Leaderboard":
            blocks.append(wr.MarkdownBlock(leaderboard_markdown(record)))
        for job_type, panels in (("search", section.of_search), ("trial", section.of_trials)):
            if panels:
                runset = _runset(record, entity, place, job_type)
                blocks.append(wr.PanelGrid(runsets=[runset], panels=list(panels)))
    return wr.Report(
        entity=entity,
        project=place.project,
        title=f"{record.name} (tunesmith)",
        description=f"What the search {record.name} has shown. {_marker(place)}",
        blocks=blocks,
        width="fluid",
    )


def _runset(record: SearchRecord, entity: str, place: RunsPlace, job_type: str) -> Any:
    import wandb_workspaces.reports.v2 as wr
    from wandb_workspaces import expr

    return wr.Runset(
        entity=entity,
        project=place.project,
        name=f"{record.name}: {'the search' if job_type == 'search' else 'its trials'}",
        filters=[expr.Metric("Group") == place.group, expr.Metric("JobType") == job_type],
        order=[wr.OrderBy(wr.SummaryMetric(record.metric), ascending=record.mode == "min")],
        pinned_columns=_columns(record),
    )


def _saved_report(api: Any, entity: str, place: RunsPlace) -> Any:
    """The report of an earlier time, known by what its description ends with: its title may have been changed."""
    reports = api.reports(f"{entity}/{place.project}", per_page=100)
    return next((report for report in reports if _marker(place) in (report.description or "")), None)


def _marker(place: RunsPlace) -> str:
    return f"(tunesmith search {place.prefix})"


def leaderboard_markdown(record: SearchRecord) -> str:
    """The first lines of the leaderboard as a table of text, which needs no panel."""
    entries = leaderboard(record)
    paths = list(dict.fromkeys(path for entry in entries for path in entry.trial.params))
    names = short_names(paths)
    goals = [objective.name for objective in record.objectives] or [record.metric]
    header = ["rank", "trial", *goals, *(["95%"] if any(entry.interval for entry in entries) else []), "state"]
    lines = [[*header, *(names[path] for path in paths)]]
    lines.append(["---"] * len(lines[0]))
    lines += [
        _cells(entry, paths, num_goals=len(goals), has_interval="95%" in header) for entry in entries[:_ROWS_IN_REPORT]
    ]
    shown = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    hidden = len(entries) - _ROWS_IN_REPORT
    return f"{shown}\n\n... and {hidden} more" if hidden > 0 else shown


def _cells(entry: Entry, paths: Sequence[str], *, num_goals: int, has_interval: bool) -> list[str]:
    trial = entry.trial
    value = trial.value if trial.state == "COMPLETE" else trial.last_value
    values = list(trial.values) if num_goals > 1 else [value]
    shown = [show_metric(each) if each is not None else "" for each in values]
    interval = f"{show_metric(entry.interval[0])} to {show_metric(entry.interval[1])}" if entry.interval else ""
    cells = [
        str(entry.rank or ""),
        str(trial.number),
        *(shown + [""] * (num_goals - len(shown))),
        *([interval] if has_interval else []),
        trial.state,
        *(show_value(trial.params[path]) if path in trial.params else "" for path in paths),
    ]
    return [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]


# --- details ---------------------------------------------------------------------------------------------


def _base_of(url: str) -> str:
    """`https://host` of a page of W&B's."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """W&B prints what it saves; the command says it once, at the end."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """What goes wrong on the way to W&B, in words."""
    import wandb

    try:
        yield
    except SpecError:
        raise
    except (wandb.errors.Error, ConnectionError, TimeoutError, ValueError) as error:
        raise SpecError(f"W&B cannot be used: {str(error).strip() or type(error).__name__}") from error
