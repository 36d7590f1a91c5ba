"""Offline W&B runs in a folder -> the record of a search. Needs no server and no key; histories are read when they are
looked into.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from analysis.offline_wandb import NotAWandbFile, OfflineRun, read_history, read_offline_run
from analysis.records import SearchRecord
from analysis.run_records import record_of_runs
from analysis.runs import Run
from spaces.errors import SpecError
from spaces.objectives import Mode


def has_offline_runs(folder: Path) -> bool:
    """Whether `folder` is a run's, or holds folders of runs."""
    return next(_files(folder), None) is not None


def read_offline(folder: Path, *, metric: str | None, mode: Mode | None) -> SearchRecord:
    """The record of the runs in `folder`: a run that went on in another session, or is there twice, counts once.

    Raises:
        SpecError: no run can be read, or they are not ours and no metric is given.
    """
    runs: dict[str, Run] = {}
    problem = ""
    for file in _files(folder):  # by the time in their names: the last session of a run has all of it
        try:
            run = read_offline_run(file.parent)
        except NotAWandbFile as error:
            problem = str(error)
            continue
        if run.id:  # else it was killed before it said what it is
            runs[run.id.removesuffix("-off")] = _run(run)
    if not runs:
        raise SpecError(problem or f"no run in `{folder}` was written far enough to be read.")
    return record_of_runs(list(runs.values()), source=str(folder), search=None, metric=metric, mode=mode)


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    # the underscore is in the time, and keeps the links `latest-run` out
    own = folder.glob("run-*.wandb") if "run-" in folder.name else iter(())
    yield from own
    below = [*folder.glob("*run-*_*/run-*.wandb"), *folder.glob("wandb/*run-*_*/run-*.wandb")]
    yield from sorted(below, key=lambda file: file.parent.name.partition("run-")[2])


def _run(run: OfflineRun) -> Run:
    def values(key: str) -> list[dict[str, Any]]:
        return [{"_step": row["_step"], key: row[key]} for row in read_history(run.file) if key in row]

    return Run(
        id=run.id,
        name=run.name or run.id,
        state=_state(run),
        group=run.group,
        job_type=run.job_type,
        config=run.config,
        summary=run.summary,
        rows=partial(read_history, run.file),
        values=values,
    )


def _state(run: OfflineRun) -> str:
    if run.exit_code is None:
        return "running"  # or it was killed: a file does not tell
    if run.exit_code == 0:
        return "finished"
    return "preempted" if run.is_preempted else "failed"
