"""What a search would need, from a few real steps of chosen trials: what fits, how fast it is, how long it takes.

The steps run in a process of their own, see `trainables/probe.py`: one that is killed for its memory tells nothing
less than the sizes before it. Knows no Ray: nothing is started but that process.
"""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

import psutil

from cluster.connect import Capacity, local_cpus
from cluster.resources import concurrent_trials
from search.plan import Plan
from spaces.errors import SpecError
from spaces.space import Assignment, Space
from trainables.probe import Measured, ProbeOrder

_DRAWS = 300
_MOST_SHAPES = 4
_BATCH = "training.per_device_train_batch_size"
# What makes a trial heavy. Numbers elsewhere (a learning rate, a dropout) change neither memory nor speed.
_SIZES = (_BATCH, "training.per_device_eval_batch_size", "data.max_length", "data.max_target_length")
_NO_SIZES = ("drop", "eps", "theta", "range", "std", "decay")


class ProbeError(RuntimeError):
    """The measuring process failed for another reason than memory."""


@dataclass(frozen=True, kw_only=True)
class Probed:
    """One trial of the space and what was measured of it."""

    kind: str
    """`heaviest` or `typical`."""
    params: Assignment
    """What distinguishes it."""
    training: dict[str, Any]
    """Its training section."""
    own: Measured | None
    """At the spec's own batch, or the largest smaller one that fits; None when nothing fits."""
    largest: Measured | None
    """At the largest micro-batch that fits, where it was looked for."""
    trainings: int = 1
    """Folds and seeds that a trial trains."""

    @property
    def trial_seconds(self) -> float | None:
        """How long such a trial takes when nothing stops it."""
        seconds = None if self.own is None else _trial_seconds(self.training, self.own)
        return None if seconds is None else self.trainings * seconds


@dataclass(frozen=True, kw_only=True)
class Probe:
    """All that was measured, and what follows for the search."""

    trials: list[Probed]
    """A typical one, then the heaviest of each kind of model."""
    device: str
    """What it was measured on."""
    concurrent_trials: int
    """Trials at once on this machine."""
    num_trials: int
    """Trials of the search."""
    price_per_hour: float | None
    """Of one trial's resources."""

    @property
    def search_seconds(self) -> float | None:
        """The search when every trial were like the typical one and none were stopped early."""
        seconds = self.trials[0].trial_seconds
        return None if seconds is None else seconds * math.ceil(self.num_trials / self.concurrent_trials)

    @property
    def search_cost(self) -> float | None:
        """The same in money; None without a price."""
        if self.search_seconds is None or self.price_per_hour is None:
            return None
        return self.search_seconds / 3600 * self.price_per_hour * self.concurrent_trials

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        trials = [asdict(trial) | {"trial_seconds": trial.trial_seconds} for trial in self.trials]
        facts = {"device": self.device, "concurrent_trials": self.concurrent_trials, "trials": trials}
        return facts | {"search_seconds": self.search_seconds, "search_cost": self.search_cost}


def probe_search(plan: Plan, *, on_progress: Callable[[str], object]) -> Probe:
    """Measure the heaviest trials of the space and a typical one.

    Raises:
        SpecError: the spec has a trainable of its own, or a trial can never start here.
        ProbeError: the training failed for another reason than memory.
    """
    if plan.spec.task is None:
        raise SpecError("`--probe` measures a `task`; what a function needs only it knows.", path="trainable")
    resources = plan.spec.resources
    # The typical one first: a process seldom gives back to the system what a larger batch needed.
    chosen = [("typical", typical(plan.space)), *(("heaviest", point) for point in heaviest(plan.space))]
    budget = None
    if not resources.gpus_per_worker:
        at_once = concurrent_trials(resources, Capacity(cpus=local_cpus(), gpus=0))
        budget = psutil.virtual_memory().available // at_once
    orders = [
        ProbeOrder(
            document=plan.space.apply(point),
            finds_largest=kind == "heaviest",
            num_threads=resources.cpus_per_worker,
            gpu_share=min(resources.gpus_per_worker or 1.0, 1.0),
            memory_budget=budget,
        )
        for kind, point in chosen
    ]
    found: list[list[Measured]] = [[] for _ in orders]
    device, num_gpus = "", 0
    for index, facts, measured in _measure(orders, uses_gpu=resources.gpus_per_worker > 0):
        device, num_gpus = facts["device"], facts["num_gpus"]
        found[index].append(measured)
        on_progress(_in_words(chosen[index][0], measured))
    return Probe(
        trials=[
            _probed(kind, point, order, measured, trainings=plan.spec.search.trainings)
            for (kind, point), order, measured in zip(chosen, orders, found, strict=True)
        ],
        device=device,
        concurrent_trials=concurrent_trials(resources, Capacity(cpus=local_cpus(), gpus=num_gpus)),
        num_trials=plan.num_trials,
        price_per_hour=resources.price_per_hour,
    )


# --- which trials ----------------------------------------------------------------------------------------


def heaviest(space: Space) -> list[Assignment]:
    """For each kind of model in the space (up to four) the configuration with the largest sizes."""
    best: dict[str, tuple[float, Assignment]] = {}
    for point in _with_largest(space):
        kind = json.dumps({path: value for path, value in point.items() if _names_a_model(path, value)}, default=str)
        size = _size(point)
        if kind not in best or size > best[kind][0]:
            best[kind] = (size, point)
    by_size = sorted(best.values(), key=lambda sized: -sized[0])
    return [point for _, point in by_size[:_MOST_SHAPES]]


def typical(space: Space) -> Assignment:
    """The configuration of median size."""
    points = sorted(_drawn(space), key=_size)
    return points[len(points) // 2]


def _drawn(space: Space) -> list[Assignment]:
    random = Random(0)
    return [space.sample(random) for _ in range(_DRAWS)] if space.parameters else [{}]


def _with_largest(space: Space) -> list[Assignment]:
    drawn = _drawn(space)
    # Draws seldom hit the edges, where the largest sizes lie.
    largest = {
        parameter.path: max(edges)
        for parameter in space.parameters
        if _is_size(parameter.path) and (edges := _numbers(parameter.distribution))
    }
    raised = [point | {path: value for path, value in largest.items() if path in point} for point in drawn]
    return [*drawn, *(point for point in raised if space.contains(point))]


def _numbers(distribution: Any) -> list[float]:
    values = getattr(distribution, "values", None) or (distribution.low, distribution.high)
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def _is_size(path: str) -> bool:
    return path in _SIZES or (path.startswith("model.") and not any(word in path for word in _NO_SIZES))


def _names_a_model(path: str, value: Any) -> bool:
    return path.startswith("model.") and not isinstance(value, int | float)


def _size(point: Assignment) -> float:
    sizes = [value for path, value in point.items() if _is_size(path) and isinstance(value, int | float)]
    return sum(math.log(size) for size in sizes if size > 0)


# --- measuring -------------------------------------------------------------------------------------------


def _measure(orders: list[ProbeOrder], *, uses_gpu: bool) -> Iterator[tuple[int, dict[str, Any], Measured]]:
    """Each finding as it comes: the number of its order, facts of the device, what was found."""
    environment = dict(os.environ) | ({} if uses_gpu else {"CUDA_VISIBLE_DEVICES": ""})
    done, remaining = 0, orders
    while remaining:
        command = [sys.executable, "-m", "trainables.probe"]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps([asdict(order) for order in remaining]))
        process.stdin.close()
        last = -1
        for line in process.stdout:
            if not line.startswith("{"):
                continue  # a library that prints
            facts = json.loads(line)
            last = facts.pop("order")
            device = {name: facts.pop(name) for name in ("device", "num_gpus")}
            yield done + last, device, Measured(**facts)
        complaint = process.stderr.read()
        if process.wait() == 0:
            return
        if process.returncode != -signal.SIGKILL:
            raise ProbeError(
                complaint.strip().splitlines()[-1] if complaint.strip() else "the measuring process failed"
            )
        # Killed for its memory, within the order after the last finding or in a larger size of that one: go on.
        done, remaining = done + last + 1, remaining[last + 1 :]
        if last < 0:
            done, remaining = done + 1, remaining[1:]


def _probed(kind: str, point: Assignment, order: ProbeOrder, found: list[Measured], *, trainings: int) -> Probed:
    fitting = [measured for measured in found if measured.fits]
    training = order.document["training"]
    own = next((measured for measured in fitting if measured.micro_batch <= int(training[_BATCH.split(".")[1]])), None)
    largest = max(fitting, key=lambda measured: measured.micro_batch, default=None) if order.finds_largest else None
    return Probed(
        kind=kind, params=point, training=training, own=own or next(iter(fitting), None), largest=largest,
        trainings=trainings,
    )  # fmt: skip


def _trial_seconds(training: dict[str, Any], measured: Measured) -> float | None:
    if not measured.examples_per_second or not measured.train_examples:
        return None
    step_examples = measured.micro_batch * measured.accumulation
    steps_an_epoch = math.ceil(measured.train_examples / step_examples)
    steps = training["max_steps"] if training["max_steps"] > 0 else training["num_train_epochs"] * steps_an_epoch
    if training["eval_strategy"] == "steps":
        every = training.get("eval_steps") or training.get("logging_steps") or steps
        evaluations = steps / (every if every >= 1 else every * steps)
    else:
        evaluations = steps / steps_an_epoch
    examples = steps * measured.train_examples / steps_an_epoch
    evaluating = math.ceil(evaluations) * (measured.evaluation_seconds or 0.0)
    return (measured.setup_seconds or 0.0) + examples / measured.examples_per_second + evaluating


def _in_words(kind: str, measured: Measured) -> str:
    size = f"{kind}: micro-batch {measured.micro_batch}"
    if not measured.fits:
        return f"{size} does not fit"
    return f"{size}: {measured.examples_per_second:.3g} examples/s"
