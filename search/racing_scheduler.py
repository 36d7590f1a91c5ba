"""A scheduler that also runs the race between folds: whichever of both wants a trial stopped, stops it."""

from collections.abc import Iterable, Sequence
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.racing import Race
from spaces.folds import fold_values
from spaces.reports import TrialReport
from trainables.trainable import REPORT, TrialOrder


class RacingScheduler(FIFOScheduler):
    """Asks another scheduler first, then the race."""

    def __init__(self, inner: TrialScheduler, race: Race, *, metric: str, kind: str, reasons: dict[int, str]) -> None:
        """
        Args:
            inner: The scheduler of the spec.
            race: The race.
            metric: The objective.
            kind: What the trainings of a trial are called.
            reasons: Where it is written why a trial was stopped, by number.
        """
        super().__init__()
        self._inner = inner
        self._race = race
        self._metric = metric
        self._kind = kind
        self._reasons = reasons

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial starts."""
        self._inner.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether the trial goes on after this evaluation."""
        decision = str(self._inner.on_trial_result(tune_controller, trial, result))
        return str(TrialScheduler.STOP) if self._is_out(trial, result) else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """The last result of a trial; it may lead from now on."""
        self._note(trial, result)
        self._inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A lost trial."""
        self._inner.on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial that never ran."""
        self._inner.on_trial_remove(tune_controller, trial)

    def replay(self, ended: Iterable[tuple[int, Sequence[float]]]) -> None:
        """What trials of an interrupted search had reached: (number, value of each fold that had ended)."""
        for number, values in ended:
            self._race.note(number, values)

    def debug_string(self) -> str:
        """For Tune's own displays."""
        return self._inner.debug_string()

    def _is_out(self, trial: Any, result: dict[str, Any]) -> bool:
        number = self._note(trial, result)
        if number is None or (beaten := self._race.judge(number)) is None:
            return False
        self._reasons[number] = beaten.in_words(self._kind)
        return True

    def _note(self, trial: Any, result: dict[str, Any]) -> int | None:
        """The trial's number when this report ends a fold."""
        if REPORT not in result:
            return None
        report = TrialReport.from_json(result[REPORT])
        number = TrialOrder.from_config(trial.config).number
        values = fold_values(report.metrics, self._metric)
        self._race.note(number, values[: report.folds_ended])
        # Within a fold its value is not final: nothing is judged before it has ended.
        return number if len(values) == report.folds_ended else None
