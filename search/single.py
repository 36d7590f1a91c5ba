"""One trial here and now, without Ray and without a record: the spec as it stands, or a recorded trial again.

Under `torchrun` its processes train the trial together, and the first one speaks for all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.kept import brought_here
from analysis.records import SearchFiles
from analysis.wording import show_metric
from cluster.connect import local_cpus, quiet_ray, set_environment
from search.load import load_spec
from search.plan import make_plan
from search.trial_documents import base_document
from search.yaml_text import parse_yaml
from spaces.documents import set_path
from spaces.errors import SpecError
from spaces.folds import is_of_a_fold
from spaces.reports import TrialReport
from trainables.ranks import Ranks, launched_ranks
from trainables.trial import parse_document, run_trial


def run_single(source: Path, *, overrides: Sequence[str], number: int | None, console: Console) -> dict[str, Any]:
    """Train one trial to its end and print its evaluations.

    Returns:
        `state` (COMPLETE or FAIL), `evaluations` (a list of progress and metrics), `error`, and the `document`; and
        `rank`, which is 0 for the process that speaks.

    Raises:
        SpecError: there is no such spec or trial.
    """
    source = brought_here(source)
    document, num_threads, num_workers, metric = (
        _recorded(source, number, overrides) if source.is_dir() else _from_spec(source, number, overrides)
    )
    set_environment()  # a Ray Train loop imports ray, though nothing of it starts
    quiet_ray()
    with launched_ranks() as ranks:
        if not ranks.is_first:
            console.quiet = True
        if ranks.world_size != num_workers:
            console.print(_other_batch(num_workers, ranks.world_size), style="yellow", highlight=False, soft_wrap=True)
        return _run(document, ranks, num_threads=num_threads, metric=metric, console=console)


def _run(
    document: dict[str, Any], ranks: Ranks, *, num_threads: int, metric: str | None, console: Console
) -> dict[str, Any]:
    evaluations: list[dict[str, Any]] = []

    def show(report: TrialReport) -> None:
        progress = report.progress
        if evaluations and evaluations[-1]["evaluation"] == progress.evaluation:
            return  # the end of a custom function repeats its last report
        evaluations.append(
            {"evaluation": progress.evaluation, "step": progress.step, "epoch": progress.epoch,
             "tokens": progress.tokens, "metrics": report.metrics}
        )  # fmt: skip
        shown = "  ".join(
            f"{name} {show_metric(value)}" for name, value in report.metrics.items() if not is_of_a_fold(name)
        )
        console.print(f"epoch {progress.epoch:g}  step {progress.step}  {shown}", highlight=False, soft_wrap=True)

    def say(message: str) -> None:
        console.print(message, style="dim", highlight=False)

    outcome = run_trial(
        parse_document(document), show, num_threads=num_threads, on_progress=say, metric=metric, ranks=ranks
    )
    if outcome.failure is not None:
        console.print(f"failed ({outcome.failure.kind}): {outcome.failure.message}", style="red", highlight=False)
    return {
        "state": "FAIL" if outcome.failure else "COMPLETE",
        "error": outcome.failure.message if outcome.failure else None,
        "evaluations": evaluations,
        "document": document,
        "rank": ranks.rank,
    }


def _other_batch(recorded: int, here: int) -> str:
    words = f"{recorded} worker{'s' if recorded > 1 else ''} there, {here} here: the effective batch is another"
    if recorded > 1:
        words += f"; `torchrun --nproc_per_node {recorded} -m search.cli.main trial ...` repeats it exactly"
    return words


def _from_spec(source: Path, number: int | None, overrides: Sequence[str]) -> tuple[dict[str, Any], int, int, str]:
    if number is not None:
        raise SpecError(f"`--number` picks a recorded trial of a search's folder, but `{source}` is a spec.")
    plan = make_plan(load_spec(source, overrides=overrides))
    resources = plan.spec.resources
    num_threads = min(resources.cpus_per_worker, local_cpus())
    return base_document(plan.spec), num_threads, resources.workers, plan.spec.metric


def _recorded(
    source: Path, number: int | None, overrides: Sequence[str]
) -> tuple[dict[str, Any], int, int, str | None]:
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
    return document, int(content["cpus"]), int(content.get("workers", 1)), content.get("metric")
