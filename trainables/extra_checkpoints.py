"""A checkpoint between two evaluations: where training goes on, while the last evaluation stays what it was.

`extra.json` points to it, and names the checkpoint of the evaluation before it, which is kept. Once there is a newer
evaluation it counts no more. Knows no Trainer and no ray.
"""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from spaces.reports import Progress, Row, TrialReport, TrialStopped
from spaces.whole_text import replace_text
from trainables.checkpoints import Checkpoint, TrialDirectory
from trainables.remote_checkpoints import EXTRA, fetch_extra, push_extra


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """Where a trial goes on."""

    checkpoint: Checkpoint
    """Its folder is what training starts from. Of its report, time and usage are as of then; there was no evaluation
    yet where it counts none."""
    evaluated: Checkpoint | None
    """The checkpoint of the last evaluation; None where there was none."""
    rows: tuple[Row, ...] = ()
    """History rows since then, which nobody was told."""


def commit_extra(directory: TrialDirectory, folder: Path, *, step: int, report: TrialReport, rows: list[Row]) -> None:
    """Make `folder` the place where training goes on at `step`.

    Args:
        directory: Of the trial.
        folder: Beside its checkpoints.
        step: Optimizer steps done.
        report: What is known of the trial now; of it only time and usage count.
        rows: History rows since the last evaluation.

    Raises:
        TrialStopped: a newer attempt has taken this trial over.
    """
    if not directory.is_its_owner:
        raise TrialStopped
    evaluated = directory.latest()
    place = directory.checkpoints / f"step-{step:07d}-attempt-{directory.attempt}"
    shutil.rmtree(place, ignore_errors=True)
    folder.rename(place)
    content = {
        "folder": place.name,
        "after": evaluated.path.name if evaluated else None,
        "report": report.to_json(),
        "rows": rows,
    }
    replace_text(directory.checkpoints / EXTRA, json.dumps(content))
    kept = {place.name, content["after"]}
    for other in directory.checkpoints.iterdir():
        if other.is_dir() and other.name not in kept:
            shutil.rmtree(other, ignore_errors=True)
    push_extra(directory.path, directory.checkpoints)


def start_of(directory: TrialDirectory) -> Start | None:
    """Where the trial goes on: at its extra checkpoint, where that is newer than its last evaluation; None where it
    begins."""
    evaluated = directory.latest()
    fetch_extra(directory.path, directory.checkpoints)
    try:
        content = json.loads((directory.checkpoints / EXTRA).read_text("utf-8"))
    except FileNotFoundError:
        content = {}
    path = directory.checkpoints / content.get("folder", "none")
    if not path.is_dir() or content["after"] != (evaluated.path.name if evaluated else None):
        return Start(checkpoint=evaluated, evaluated=evaluated) if evaluated else None
    now = TrialReport.from_json(content["report"])
    before = evaluated.report if evaluated else replace(now, progress=_NOTHING)
    report = replace(before, seconds=now.seconds, usage=now.usage)
    return Start(checkpoint=Checkpoint(path=path, report=report), evaluated=evaluated, rows=tuple(content["rows"]))


_NOTHING = Progress(step=0, epoch=0.0, tokens=0, evaluation=0)
