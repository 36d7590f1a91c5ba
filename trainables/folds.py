"""Several trainings in one trial: the folds of a cross-validation, or several seeds. The trial's value is their mean.

Folds run one after another and count as one training: every report is the mean of the folds that ended and of the one
that runs, so that two trials compare at the same amount of training. Knows no search and no training loop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from spaces.folds import FoldKind, fold_metric
from spaces.reports import Progress, ReportFunction, Row, TrialReport
from trainables.checkpoints import TrialDirectory
from trainables.config import CustomTrialConfig, DataConfig, TrialConfig
from trainables.fold_sections import FoldRun, FoldsConfig
from trainables.process_state import DEFAULT_SEED

_COUNTED = ("step", "epoch", "tokens", "evaluation")
"""Columns of a history row that go on counting from fold to fold."""


@dataclass(kw_only=True)
class TrialPart:
    """One training of a trial: all of it, or one fold."""

    trial: TrialConfig | CustomTrialConfig
    """What is trained, without folds."""
    directory: TrialDirectory | None
    """Where its checkpoints lie."""
    report: ReportFunction
    """Where its reports go."""
    row_of: "FoldReports | None" = None
    """What makes its rows rows of the trial."""

    def rows_of_trial(self, rows: Sequence[Row]) -> list[Row]:
        """History rows of this training as rows of the trial."""
        return [self.row_of.row(row) for row in rows] if self.row_of else list(rows)


def parts_of(
    trial: TrialConfig | CustomTrialConfig, report: ReportFunction, directory: TrialDirectory | None
) -> Iterator[TrialPart]:
    """The trainings of a trial in order. One that was asked for has ended before the next is."""
    if trial.folds is None:
        yield TrialPart(trial=trial, directory=directory, report=report)
        return
    runs = trial.folds.runs
    ended: list[TrialReport] = []
    for run in runs:
        reports = FoldReports(report, kind=trial.folds.kind, index=run.index, is_last=run is runs[-1], ended=ended)
        yield TrialPart(
            trial=_trial_of(trial, run),
            directory=directory.fold(run.index) if directory else None,
            report=reports,
            row_of=reports,
        )
        assert reports.last is not None, "a training that ends has reported"
        ended = [*ended, reports.last]


class FoldReports:
    """The report function of one fold: its reports become reports of the whole trial."""

    def __init__(
        self, report: ReportFunction, *, kind: FoldKind, index: int, is_last: bool, ended: Sequence[TrialReport]
    ) -> None:
        self._report = report
        self._kind = kind
        self._index = index
        self._is_last = is_last
        self._ended = ended
        self.last: TrialReport | None = None
        """The fold's own last report."""

    def __call__(self, report: TrialReport) -> None:
        """Report for the trial what this fold reports."""
        self.last = report
        self._report(self.of_trial(report))

    def of_trial(self, report: TrialReport) -> TrialReport:
        """The trial's report: amounts summed, values averaged, and each fold's own values beside them."""
        both = [*self._ended, report]
        metrics: dict[str, float] = {}
        for name in report.metrics:
            values = [each.metrics[name] for each in both if name in each.metrics]
            metrics[name] = sum(values) / len(values)
        own = {
            fold_metric(self._kind, index, name): value
            for index, each in enumerate(both)
            for name, value in each.metrics.items()
        }
        rows = [self.row(row) for row in report.rows]
        if rows and "evaluation" in rows[-1]:
            now = {fold_metric(self._kind, self._index, name): value for name, value in report.metrics.items()}
            rows[-1] |= {name: value for name, value in metrics.items() if name in rows[-1]} | now
        before = self._before
        return replace(
            report,
            progress=Progress(
                step=before.step + report.progress.step,
                epoch=before.epoch + report.progress.epoch,
                tokens=before.tokens + report.progress.tokens,
                evaluation=before.evaluation + report.progress.evaluation,
                is_final=report.progress.is_final and self._is_last,
            ),
            metrics=metrics | own,
            rows=rows,
            seconds=sum(each.seconds for each in both),
            began_at=both[0].began_at,
            folds_ended=self._index + bool(report.progress.is_final),
        )

    def row(self, row: Row) -> Row:
        """A history row of the fold as one of the trial."""
        before = self._before
        counted: dict[str, Any] = {
            name: getattr(before, name) + (row[name] or 0) for name in _COUNTED if row.get(name) is not None
        }
        return {**row, **counted, self._kind: self._index}

    @property
    def _before(self) -> Progress:
        """All the training of the folds that ended."""
        return all_progress(self._ended)


def all_progress(reports: Sequence[TrialReport]) -> Progress:
    """The training of several folds, each by its last report, as that of one trial."""
    done = [each.progress for each in reports]
    return Progress(
        step=sum(each.step for each in done),
        epoch=sum(each.epoch for each in done),
        tokens=sum(each.tokens for each in done),
        evaluation=sum(each.evaluation for each in done),
    )


def _trial_of(trial: TrialConfig | CustomTrialConfig, run: FoldRun) -> TrialConfig | CustomTrialConfig:
    """The training of one fold: its part of the data, its seed. A user's function is told both by its `config`."""
    if isinstance(trial, CustomTrialConfig):
        told: dict[str, Any] = {"seed": int(trial.config.get("seed", DEFAULT_SEED)) + run.seed}
        if run.fold is not None:
            told["fold"] = run.fold.model_dump()
        return trial.model_copy(update={"folds": None, "config": trial.config | told})
    training = trial.training | {"seed": int(trial.training.get("seed", DEFAULT_SEED)) + run.seed}
    return trial.model_copy(update={"folds": None, "training": training, "data": _data_of(trial.data, run)})


def data_of_folds(data: DataConfig, folds: FoldsConfig | None) -> list[DataConfig]:
    """What the trainings of a trial are prepared from: one division of the data, or each fold's."""
    return list({run.fold: _data_of(data, run) for run in folds.runs}.values()) if folds else [data]


def _data_of(data: DataConfig, run: FoldRun) -> DataConfig:
    if run.fold is None:
        return data
    return data.model_copy(update={"splits": data.splits.model_copy(update={"fold": run.fold})})
