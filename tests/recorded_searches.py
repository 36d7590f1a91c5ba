"""Searches recorded without training: the real plan, study, recorder and checkpoints; only reports are made by hand."""

import io
import secrets
import shutil
from pathlib import Path
from typing import Any

import optuna
from rich.console import Console

from analysis.records import SearchRecord
from analysis.sources import read_records
from analysis.study_place import write_place
from search.continuations import carry_out
from search.ledger import create_study, open_ledger, open_study
from search.load import RECORDED, load_spec
from search.mirror import Mirror
from search.plan import Plan, make_plan
from search.progress import SearchProgress
from search.recorded_spec import resolved_spec
from search.recorder import Recorder
from search.revisions import read_revisions
from search.spending import make_spending
from search.tracker import NullTracker, Tracker
from search.yaml_text import to_yaml
from spaces.reports import FailureKind, Progress, TrialFailure, TrialReport
from trainables.checkpoints import TrialDirectory

LENGTH = 4
FUNCTION = "def train(config, report):\n    raise AssertionError('nothing trains here')\n"
SPEC: dict[str, Any] = {
    "name": "walk",
    "trainable": "walking:train",
    "config": {"x": 0.5, "y": 1, "length": LENGTH},
    "space": {"config.x": {"uniform": [0.0, 1.0]}},
    "search": {"algorithm": "random", "metric": "loss", "mode": "min", "trials": 6},
    "tracking": {"wandb": {"mode": "disabled"}},
}


def write_spec(folder: Path, **sections: Any) -> Path:
    """A spec in `folder`, its function beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "walking.py").write_text(FUNCTION)
    path = folder / "spec.yaml"
    path.write_text(to_yaml({**SPEC, "storage": str(folder / "searches"), **sections}))
    return path


def planned(folder: Path, **sections: Any) -> Plan:
    """The plan of such a spec."""
    return make_plan(load_spec(write_spec(folder, **sections)))


class Session:
    """One session of a search: begins it, or goes on with it as `resume` does."""

    def __init__(self, plan: Plan, *, tracker: Tracker | None = None, mirror: Mirror | None = None) -> None:
        files = plan.files
        if not files.spec.is_file():
            files.path.mkdir(parents=True, exist_ok=True)
            files.spec.write_text(to_yaml({**resolved_spec(plan.spec), RECORDED: {"fingerprint": "f"}}))
            if (database := plan.spec.storage.database) is not None:
                write_place(files, database=database, search=plan.spec.name, fingerprint=secrets.token_hex(6))
            facts = {"num_trials": plan.num_trials, "step_unit": plan.step_unit}
            create_study(files.path, plan.spec, attributes=facts)
        else:
            plan = make_plan(load_spec(files.spec))
        self.plan = plan
        self.files = files
        self.study: optuna.Study = open_study(files.path)
        carry_out(read_revisions(files), self.study, files, step_of=plan.step_of)
        before = read_records(files.path)
        spec = plan.spec
        self.recorder = Recorder(
            files,
            open_ledger(
                self.study, spec, plan.space, step_of=plan.step_of, algorithm=plan.resolved_algorithm()
            ),
            tracker or NullTracker(),
            SearchProgress(metric=spec.metric, mode=spec.mode, num_trials=9, console=Console(file=io.StringIO())),
            objectives=spec.objectives,
            keep_checkpoints=spec.checkpoints.keep,
            is_at_end=plan.is_at_end,
            document_of=lambda proposal: plan.space.apply(proposal.assignment),
            trial_facts={"cpus": 1},
            record=before,
            spending=make_spending(spec, before, seconds_before=before.seconds, note=lambda seconds: None),
            max_checkpoint_bytes=spec.checkpoints.max_disk,
            mirror=mirror,
        )  # fmt: skip

    @property
    def record(self) -> SearchRecord:
        """What is recorded by now."""
        return read_records(self.files.path)

    def start(self) -> int:
        """A new trial begins."""
        proposal = self.recorder.ask()
        assert proposal is not None, "the space is not exhausted"
        self.recorder.start(proposal)
        return proposal.number

    def go_on(self) -> list[int]:
        """What an earlier session left runs again."""
        proposals = self.recorder.unfinished()
        for proposal in proposals:
            self.recorder.start(proposal)
        return [proposal.number for proposal in proposals]

    def report(
        self,
        number: int,
        evaluation: int,
        loss: float,
        *,
        num_bytes: int = 100,
        is_final: bool = False,
        is_seen: bool = True,
    ) -> None:
        """An evaluation with a checkpoint, ten seconds after the one before; on a disk that is seen here, or not."""
        directory = TrialDirectory(self.files.trial(number).path)
        directory.begin_attempt()
        folder = directory.checkpoints / ".incoming"
        folder.mkdir()
        (folder / "weights").write_bytes(b"w" * num_bytes)
        progress = Progress(
            step=evaluation, epoch=float(evaluation), tokens=0, evaluation=evaluation, is_final=is_final
        )
        metrics = {self.plan.spec.metric: loss}
        row = {"step": evaluation, "epoch": float(evaluation), "tokens": 0, "evaluation": evaluation, **metrics}
        made = TrialReport(progress=progress, metrics=metrics, rows=[row], seconds=10.0 * evaluation)
        checkpoint = directory.commit(folder, made)
        num_bytes_told = directory.bytes_with(checkpoint)
        if not is_seen:
            shutil.rmtree(checkpoint)
        self.recorder.report(
            number,
            TrialReport(
                progress=progress,
                metrics=made.metrics,
                rows=made.rows,
                seconds=made.seconds,
                checkpoint=str(checkpoint),
                checkpoint_bytes=num_bytes_told,
            ),
        )

    def complete(self, loss: float, *, num_bytes: int = 100, length: int = LENGTH) -> int:
        """A trial from its start to its end."""
        number = self.start()
        self.train_on(number, loss, first=1, length=length, num_bytes=num_bytes)
        return number

    def next_params(self) -> dict[str, Any]:
        """What a new trial is given, which finishes then."""
        number = self.complete(0.9)
        return self.record.trials[number].params

    def train_on(self, number: int, loss: float, *, first: int, length: int, num_bytes: int = 100) -> None:
        """A trial from evaluation `first` to its end, at which its loss is `loss`."""
        for evaluation in range(first, length + 1):
            value = loss + length - evaluation
            self.report(number, evaluation, value, num_bytes=num_bytes, is_final=evaluation == length)
        self.recorder.finish(number, is_complete=True)

    def fail(self, kind: FailureKind, *, evaluations: int = 2) -> int:
        """A trial that fails after some evaluations."""
        number = self.start()
        for evaluation in range(1, evaluations + 1):
            self.report(number, evaluation, 5.0)
        self.recorder.fail(number, TrialFailure(kind=kind, message=f"it is {kind}"), rows=[])
        return number

    def prune(self, loss: float) -> int:
        """A trial that is stopped after its first evaluation."""
        number = self.start()
        self.report(number, 1, loss)
        self.recorder.finish(number, is_complete=False)
        return number
