"""The Tune Trainable: one process that takes trial after trial. The loop runs in a thread and waits at each report.

Knows nothing of searches: what to run comes as an order, what happened goes back as results.
"""

import json
import os
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import (
    AUTO_RESULT_KEYS,
    DEBUG_METRICS,
    DONE,
    EPISODES_THIS_ITER,
    RESULT_DUPLICATE,
    SHOULD_CHECKPOINT,
    TIMESTEPS_THIS_ITER,
)

from spaces.reports import TrialCalledAway, TrialReport, TrialStopped
from spaces.store import entered
from trainables.checkpoints import TrialDirectory, entered_trial
from trainables.notice import drain_watch, this_node
from trainables.ranks import DEFAULT_COLLECTIVE_TIMEOUT_SECONDS
from trainables.remote_checkpoints import leave
from trainables.trial import TrialOutcome, classify, parse_document, run_trial

# Names in a Tune result.
REPORT, FAILURE, LAST_ROWS, FINISHED = "report", "failure", "last_rows", "finished"
CALLED_AWAY, NODE = "called_away", "node"
ORDER = "order"
# A user's metric of such a name would tell Tune to stop, to save, or how late it is.
_TUNES_OWN = frozenset({
    *AUTO_RESULT_KEYS, *DEBUG_METRICS, DONE, SHOULD_CHECKPOINT, RESULT_DUPLICATE, EPISODES_THIS_ITER,
    TIMESTEPS_THIS_ITER, FAILURE, LAST_ROWS, FINISHED, CALLED_AWAY, NODE,
})  # fmt: skip
_STOP_TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialOrder:
    """What a process needs to run one trial. Travels as one JSON text, so that Tune reads no meaning into it."""

    number: int
    """The trial's number in the study."""
    document: dict[str, Any]
    """The trial document."""
    directory: str
    """The trial's folder, or its URL in an object store."""
    num_threads: int
    """CPU threads to train with."""
    save_checkpoints: bool
    """Whether a checkpoint goes with each evaluation."""
    gpu_share: float = 1.0
    """The part of a GPU that the trial has; less than 1 where trials share one."""
    cache_directory: str | None = None
    """Where prepared data lies. Default: the user's cache."""
    metric: str | None = None
    """The search's metric: every report of a user's function must have it."""
    num_workers: int = 1
    """Processes that train the trial together."""
    gpus_per_worker: float = 0.0
    """GPUs of each process."""
    collective_timeout_seconds: float = DEFAULT_COLLECTIVE_TIMEOUT_SECONDS
    """How long a process waits for the others in one operation."""

    def to_config(self) -> dict[str, str]:
        """As the configuration of a Tune trial."""
        return {ORDER: json.dumps(asdict(self))}

    @staticmethod
    def from_config(config: dict[str, Any]) -> "TrialOrder":
        """The order in the configuration of a Tune trial."""
        return TrialOrder(**json.loads(config[ORDER]))


class WarmTrainable(tune.Trainable):
    """Runs trials one after another in its process."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take the first order. Called once in the life of the process."""
        self._run: Run | None = None
        self._order = TrialOrder.from_config(config)
        if this_node():
            drain_watch()  # what is drained is known by the time that training begins

    def step(self) -> dict[str, Any]:
        """Train until the next report, or to the end."""
        if self._run is None:
            self._run = self._start(self._order)
        return self._run.next_result() | {NODE: this_node()}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Forget the trial that ran here and take the next order."""
        self._leave()
        self._order = TrialOrder.from_config(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A pointer: the weights stay where the loop wrote them."""
        pointer = {"directory": self._order.directory}
        (Path(checkpoint_dir) / "pointer.json").write_text(json.dumps(pointer), "utf-8")

    def load_checkpoint(self, checkpoint: str) -> None:
        """Nothing to load: a trial finds its last checkpoint in its own folder when it starts."""

    def cleanup(self) -> None:
        """Stop the loop before the process ends."""
        self._leave()

    def _start(self, order: TrialOrder) -> "Run":
        return _RunInThread(order, is_called_away=self._is_called_away)

    def _is_called_away(self) -> bool:
        """Whether a machine of this trial is about to be taken back."""
        nodes = self._nodes()
        return any(nodes) and drain_watch().is_drained(nodes)

    def _nodes(self) -> tuple[str, ...]:
        return (this_node(),)

    def _leave(self) -> None:
        self._end()
        leave(entered(self._order.directory, search_levels=2))

    def _end(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.stop()


class Run(ABC):
    """One trial from its start to its end. It waits at each report until the next result is asked for."""

    _waits = False
    _has_checkpoint = False

    def __init__(self, *, is_called_away: Callable[[], bool] = lambda: False) -> None:
        self._is_called_away = is_called_away

    def next_result(self) -> dict[str, Any]:
        """The next Tune result. A final report comes together with the end of the loop."""
        if self._waits:
            self._waits = False
            if self._has_checkpoint and self._is_called_away():
                self.stop()
                return _end_result(TrialOutcome(is_called_away=True))
            self._go_on()
        event = self._next_event()
        if isinstance(event, TrialOutcome):
            return _end_result(event)
        if not event.progress.is_final:
            self._waits, self._has_checkpoint = True, event.checkpoint is not None
            return _report_result(event)
        self._go_on()
        outcome = self._wait_for_outcome()
        if outcome.failure is not None:
            return _end_result(outcome)
        return _report_result(event) | {FINISHED: True, "done": True}

    @abstractmethod
    def stop(self) -> None:
        """End the loop at its next report, and wait for it."""

    @abstractmethod
    def _next_event(self) -> TrialReport | TrialOutcome: ...

    @abstractmethod
    def _go_on(self) -> None: ...

    def _wait_for_outcome(self) -> TrialOutcome:
        while True:
            event = self._next_event()
            if isinstance(event, TrialOutcome):
                return event
            self._go_on()  # a report after the final one: nobody asks for it


class _RunInThread(Run):
    """The trial runs in a thread of this process."""

    def __init__(self, order: TrialOrder, *, is_called_away: Callable[[], bool] = lambda: False) -> None:
        super().__init__(is_called_away=is_called_away)
        self._order = order
        self._events: queue.SimpleQueue[TrialReport | TrialOutcome] = queue.SimpleQueue()
        self._may_go_on = threading.Semaphore(0)
        self._is_stopping = False
        self._thread = threading.Thread(target=self._train, name=f"trial-{order.number}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop at its next report, and wait for it."""
        self._is_stopping = True
        self._may_go_on.release()
        self._thread.join(_STOP_TIMEOUT_SECONDS)
        if self._thread.is_alive():
            # The loop is stuck in a step. Its process must not take another trial: Tune starts a fresh one.
            os._exit(1)

    def _next_event(self) -> TrialReport | TrialOutcome:
        return self._events.get()

    def _go_on(self) -> None:
        self._may_go_on.release()

    def _train(self) -> None:
        try:
            directory = TrialDirectory(entered_trial(self._order.directory))
            directory.begin_attempt()
            directory.is_called_away = self._is_called_away
            outcome = run_trial(
                parse_document(self._order.document),
                self._report,
                directory=directory,
                save_checkpoints=self._order.save_checkpoints,
                num_threads=self._order.num_threads,
                gpu_share=self._order.gpu_share,
                cache_directory=Path(self._order.cache_directory) if self._order.cache_directory else None,
                metric=self._order.metric,
            )
        except TrialStopped:
            return
        except TrialCalledAway:
            outcome = TrialOutcome(is_called_away=True)
        except BaseException as error:  # whatever ends this thread, somebody waits for its last word
            outcome = TrialOutcome(failure=classify(error))
        self._events.put(outcome)

    def _report(self, report: TrialReport) -> None:
        if self._is_stopping:
            raise TrialStopped
        self._events.put(report)
        self._may_go_on.acquire()
        if self._is_stopping:
            raise TrialStopped


def _report_result(report: TrialReport) -> dict[str, Any]:
    progress = report.progress
    return {
        **{name: value for name, value in report.metrics.items() if name not in _TUNES_OWN},
        "epochs": progress.epoch,
        "steps": progress.step,
        "tokens": progress.tokens,
        "evaluations": progress.evaluation,
        REPORT: report.to_json(),
    }


def _end_result(outcome: TrialOutcome) -> dict[str, Any]:
    """A failure is a result, not an exception: the process stays warm for the next trial."""
    if outcome.is_called_away:
        return {CALLED_AWAY: True, "done": True}
    if outcome.failure is None:
        return {FINISHED: True, "done": True}
    return {FAILURE: outcome.failure.to_json(), LAST_ROWS: json.dumps(outcome.rows), "done": True}
