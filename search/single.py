"""One trial here and now, without Ray and without a record: the spec as it stands, or a recorded trial again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.leaderboard import show_metric
from analysis.records import SearchFiles
from cluster.connect import local_cpus, quiet_ray, set_environment
from search.load import load_spec
from search.plan import base_document, make_plan
from search.yaml_text import parse_yaml
from spaces.documents import set_path
from spaces.errors import SpecError
from spaces.reports import TrialReport
from trainables.trial import parse_document, run_trial


def run_single(source: Path, *, overrides: Sequence[str], number: int | None, console: Console) -> dict[str, Any]:
    """Train one trial to its end and print its evaluations.

    Returns:
        `state` (COMPLETE or FAIL), `evaluations` (a list of progress and metrics), `error`, and the `document`.

    Raises:
        SpecError: there is no such spec or trial.
    """
    document, num_threads, metric = (
        _recorded(source, number, overrides) if source.is_dir() else _from_spec(source, number, overrides)
    )
    set_environment()  # a Ray Train loop imports ray, though nothing of it starts
    quiet_ray()
    evaluations: list[dict[str, Any]] = []

    def show(report: TrialReport) -> None:
        progress = report.progress
        if evaluations and evaluations[-1]["evaluation"] == progress.evaluation:
            return  # the end of a custom function repeats its last report
        evaluations.append(
            {"evaluation": progress.evaluation, "step": progress.step, "epoch": progress.epoch,
             "tokens": progress.tokens, "metrics": report.metrics}
        )  # fmt: skip
        shown = "  ".join(f"{name} {show_metric(value)}" for name, value in report.metrics.items())
        console.print(f"epoch {progress.epoch:g}  step {progress.step}  {shown}", highlight=False, soft_wrap=True)

    def say(message: str) -> None:
        console.print(message, style="dim", highlight=False)

    outcome = run_trial(
        parse_document(document), show, num_threads=num_threads, on_progress=say, metric=metric
    )  # fmt: skip
    if outcome.failure is not None:
        console.print(f"failed ({outcome.failure.kind}): {outcome.failure.message}", style="red", highlight=False)
    return {
        "state": "FAIL" if outcome.failure else "COMPLETE",
        "error": outcome.failure.message if outcome.failure else None,
        "evaluations": evaluations,
        "document": document,
    }


def _from_spec(source: Path, number: int | None, overrides: Sequence[str]) -> tuple[dict[str, Any], int, str]:
    if number is not None:
        raise SpecError(f"`--number` picks a recorded trial of a search's folder, but `{source}` is a spec.")
    plan = make_plan(load_spec(source, overrides=overrides))
    return base_document(plan.spec), min(plan.spec.resources.cpus_per_worker, local_cpus()), plan.spec.metric


def _recorded(source: Path, number: int | None, overrides: Sequence[str]) -> tuple[dict[str, Any], int, str | None]:
    files = SearchFiles(source)
    if not files.spec.is_file():
        raise SpecError(f"`{source}` is no search: it has no {files.spec.name}.")
    if number is None:
        raise SpecError("say which trial to run again: `--number N`.")
    recorded = files.trial(number).document
    if not recorded.is_file():
        known = sorted(int(path.name) for path in (source / "trials").glob("*") if path.name.isdigit())
        last = f" It has trials 0 to {known[-1]}." if known else ""
        raise SpecError(f"`{source}` has no trial {number}.{last}")
    content, _ = parse_yaml(recorded.read_text("utf-8"))
    document: dict[str, Any] = content["document"]
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise SpecError(f"`--set` takes PATH=VALUE, but got `{override}`.")
        set_path(document, path, parse_yaml(text)[0])
    return document, int(content["cpus"]), content.get("metric")
