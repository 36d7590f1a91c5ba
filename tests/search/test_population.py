"""Populations: who waits for whom, who hands over to whom, what is changed, and a whole search by PBT and PB2."""

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conftest import Run

from analysis.records import SearchFiles, TrialRecord
from analysis.sources import read_records
from search.exploring import Bandit, Perturbation
from search.load import load_spec
from search.plan import make_plan
from search.population import Observation, Population
from search.rules import CONTINUE, PAUSE, STOP, HandOver
from search.stopping import SchedulerConfig
from search.yaml_text import parse_yaml
from spaces.errors import SpecError
from spaces.space import Assignment, Space

DOCUMENT = {"config": {"rate": 0.1, "size": 4, "kind": "a", "share": 0.5}}
SPACE = Space.parse(
    {
        "config.rate": {"log_uniform": [1e-3, 1.0]},
        "config.share": {"uniform": [0.0, 1.0]},
        "config.size": {"choice": [1, 2, 4, 8]},
    },
    document=DOCUMENT,
)
PATHS = ("config.rate", "config.share", "config.size")


class _Doubled:
    """Changes `config.rate` to twice the donor's."""

    def observe(self, observation: Observation) -> None: ...

    def adopt(self, hand_over: HandOver, *, score: float) -> None: ...

    def explore(self, donor: Observation, *, seed: int, is_first: bool) -> Assignment:
        return {"config.rate": 2 * donor.assignment["config.rate"]}  # type: ignore[operator]  # a number


def _population(size: int = 8, *, quantile: float = 0.25, max_resource: float | None = 4.0) -> Population:
    population = Population(
        SchedulerConfig(name="pbt", quantile=quantile),
        explorer=_Doubled(),
        first_assignment=lambda number: {"config.rate": 10.0**number},
        sign=1.0,
        seed=0,
        max_resource=max_resource,
    )
    for number in range(size):
        population.add(number)
    population.has_all_trials = True
    return population


def _round(population: Population, numbers: range, resource: float) -> list[HandOver]:
    """Members come to wait, the one with number n with a loss of n; then all go on."""
    for number in numbers:
        assert population.next_paused() is None
        assert population.decide(number, resource=resource, value=float(number)) == PAUSE
    order = []
    while (number := population.next_paused()) is not None:
        population.go_on(number)
        order.append(number)
    assert order == list(numbers)
    return population.hand_overs()


def test_the_worst_quarter_takes_over_from_the_best_quarter() -> None:
    handed = _round(_population(8), range(8), 1.0)
    assert {one.receiver for one in handed} == {6, 7}
    assert {one.donor for one in handed} <= {0, 1}
    assert all(one.assignment == {"config.rate": 2 * 10.0**one.donor} for one in handed)


@pytest.mark.parametrize(("size", "quantile", "receivers"), [(2, 0.25, 1), (3, 0.5, 1), (5, 0.25, 2), (8, 0.5, 4)])
def test_never_more_than_half_give_up_their_weights(size: int, quantile: float, receivers: int) -> None:
    assert len(_round(_population(size, quantile=quantile), range(size), 1.0)) == receivers


def test_members_that_are_as_good_as_their_donor_keep_their_weights() -> None:
    population = _population(4)
    for number in range(4):
        population.decide(number, resource=1.0, value=0.5)
    assert population.next_paused() == 0
    assert population.hand_overs() == []


def test_between_rounds_and_at_the_planned_end_nobody_waits() -> None:
    population = _population(2)
    assert population.decide(0, resource=0.5, value=1.0) == CONTINUE
    assert population.decide(0, resource=1.0, value=1.0) == PAUSE
    assert population.decide(1, resource=4.0, value=1.0) == STOP


def test_a_member_that_has_failed_is_not_waited_for_and_gives_nothing() -> None:
    population = _population(4)
    for number in (1, 2, 3):
        population.decide(number, resource=1.0, value=float(number))
    assert population.next_paused() is None
    population.end(0)
    assert population.next_paused() == 1
    assert [(one.receiver, one.donor) for one in population.hand_overs()] == [(3, 1)]


def test_a_receiver_is_observed_with_what_it_went_on_with() -> None:
    population = _population(4)
    (handed,) = _round(population, range(4), 1.0)
    population.decide(3, resource=2.0, value=0.0)  # now the best
    for number in (0, 1, 2):
        population.decide(number, resource=2.0, value=float(number + 1))
    population.next_paused()
    (again,) = population.hand_overs()
    assert (handed.receiver, again.donor) == (3, 3)
    assert again.assignment == {"config.rate": 2 * handed.assignment["config.rate"]}


# --- how values change ---


def _observation(number: int = 0, **values: Any) -> Observation:
    assignment = {"config.rate": 0.1, "config.share": 0.5, "config.size": 4} | {
        f"config.{k}": v for k, v in values.items()
    }
    return Observation(number=number, resource=1.0, score=0.0, assignment=assignment)


def test_a_perturbed_number_is_four_fifths_or_six_fifths_and_a_choice_moves_to_its_neighbour() -> None:
    config = SchedulerConfig(name="pbt", resample_probability=0.0)
    perturbation = Perturbation(SPACE, config, mutate=PATHS)
    seen = [perturbation.explore(_observation(), seed=seed, is_first=True) for seed in range(60)]
    assert {round(float(one["config.rate"]), 6) for one in seen} == {0.08, 0.12}  # type: ignore[arg-type]  # a number
    assert {one["config.size"] for one in seen} == {2, 8}


def test_values_stay_within_the_space_and_what_is_not_mutated_stays_as_it_is() -> None:
    config = SchedulerConfig(name="pbt", resample_probability=0.0, factors=(3.0, 0.1))
    perturbation = Perturbation(SPACE, config, mutate=("config.rate",))
    seen = [perturbation.explore(_observation(rate=0.9), seed=seed, is_first=True) for seed in range(30)]
    assert {round(float(one["config.rate"]), 6) for one in seen} == {1.0, 0.09}  # type: ignore[arg-type]  # a number
    assert {(one["config.share"], one["config.size"]) for one in seen} == {(0.5, 4)}


@pytest.mark.parametrize(
    ("distribution", "start", "reached"),
    [
        ({"uniform": [0.0, 0.55]}, 0.5, {0.4, 0.55}),
        ({"uniform": [0.0, 1.0], "step": 0.25}, 0.5, {0.25, 0.75}),
        ({"normal": [0.5, 0.1]}, 0.5, {0.4, 0.6}),
        ({"normal": [0.5, 0.1], "high": 0.5}, 0.5, {0.4, 0.5}),
        ({"log_int": [1, 5000]}, 1000, {800, 1200}),
        ({"int": [1, 9]}, 5, {4, 6}),
        ({"choice": ["a", "b", "c"]}, "a", {"a", "b"}),
    ],
)
def test_every_kind_of_range_is_changed_within_itself(distribution: Any, start: Any, reached: set[Any]) -> None:
    space = Space.parse({"config.rate": distribution}, document=DOCUMENT)
    perturbation = Perturbation(space, SchedulerConfig(name="pbt", resample_probability=0.0), mutate=("config.rate",))
    donor = Observation(number=0, resource=1.0, score=0.0, assignment={"config.rate": start})
    seen = [perturbation.explore(donor, seed=s, is_first=True)["config.rate"] for s in range(20)]
    assert {round(value, 9) if isinstance(value, float) else value for value in seen} == reached
    assert all(type(value) is type(start) for value in seen)


def test_a_resampled_value_is_drawn_from_its_range() -> None:
    perturbation = Perturbation(SPACE, SchedulerConfig(name="pbt", resample_probability=1.0), mutate=PATHS)
    seen = {float(perturbation.explore(_observation(), seed=s, is_first=True)["config.rate"]) for s in range(40)}  # type: ignore[arg-type]  # a number
    assert len(seen) > 35
    assert min(seen) < 0.01
    assert max(seen) > 0.2


def test_what_a_constraint_forbids_is_not_taken() -> None:
    space = Space.parse(
        {"config.rate": {"log_uniform": [1e-3, 1.0]}}, document=DOCUMENT, constraints=["config.rate <= 0.1"]
    )
    perturbation = Perturbation(space, SchedulerConfig(name="pbt", resample_probability=0.0), mutate=("config.rate",))
    donor = Observation(number=0, resource=1.0, score=0.0, assignment={"config.rate": 0.1})
    assert {perturbation.explore(donor, seed=s, is_first=True)["config.rate"] for s in range(20)} == {0.1 * 0.8}


@pytest.mark.parametrize("kind", [Perturbation, Bandit])
def test_equal_seeds_change_alike_and_leave_the_global_generators_as_they_were(kind: Any) -> None:
    import random

    import numpy as np

    made = []
    for _ in range(2):
        explorer = kind(SPACE, SchedulerConfig(name="pb2"), mutate=("config.rate", "config.share"))
        for round_ in range(3):
            for number in range(4):
                rate = 0.01 * (number + 1)
                reached = Observation(
                    number=number, resource=round_ + 1.0, score=rate * round_,
                    assignment={"config.rate": rate, "config.share": 0.5, "config.size": 4},
                )  # fmt: skip
                explorer.observe(reached)
        before = random.getstate(), np.random.get_state()[1].tolist()
        made.append([explorer.explore(_observation(rate=0.02), seed=5, is_first=first) for first in (True, False)])
        assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    assert made[0] == made[1]
    assert all(0.001 <= float(one["config.rate"]) <= 1 for one in made[0])


def test_the_bandit_goes_where_scores_have_grown_fastest() -> None:
    explorer = Bandit(SPACE, SchedulerConfig(name="pb2"), mutate=("config.share",))
    generator = Random(0)
    for number in range(12):
        share, score = generator.random(), 0.0
        for step in range(1, 5):
            score += 1 - (share - 0.8) ** 2 * 4
            assignment = {"config.rate": 0.1, "config.share": share, "config.size": 4}
            explorer.observe(Observation(number=number, resource=float(step), score=score, assignment=assignment))
    donor = Observation(number=3, resource=4.0, score=score, assignment=assignment)
    wanted = [float(explorer.explore(donor, seed=seed, is_first=True)["config.share"]) for seed in range(3)]  # type: ignore[arg-type]  # a number
    assert all(abs(share - 0.8) < 0.25 for share in wanted)


# --- what is refused ---

SPEC = """
name: walk
trainable: walking:train
config: {rate: 0.1, start: 10.0, kind: a}
space: {config.rate: {log_uniform: [0.001, 0.9]}}
search:
  algorithm: random
  metric: loss
  trials: 6
  seed: 3
  scheduler: {name: pbt, unit: evaluations, interval: 2, max: 6}
resources: {concurrent_trials: 2}
tracking: {wandb: {mode: disabled}}
"""
FUNCTION = """
import json, tempfile, pathlib

def train(config, report):
    '''Weights are a number that moves to 0 by `rate` of its distance at each step. They remember all that they saw.'''
    state = {"step": 0, "weight": config["start"], "seen": []}
    if report.checkpoint:
        state = json.loads((report.checkpoint / "state.json").read_text())
    for step in range(state["step"] + 1, 7):
        seen = [*state["seen"], [step, state["weight"], config["rate"]]]
        state = {"step": step, "weight": state["weight"] * (1 - config["rate"]), "seen": seen}
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "state.json").write_text(json.dumps(state))
        report({"loss": state["weight"]}, checkpoint=folder, is_final=step == 6)
"""


@pytest.fixture
def walk(tmp_path: Path) -> Path:
    (tmp_path / "spec.yaml").write_text(SPEC)
    (tmp_path / "walking.py").write_text(FUNCTION)
    return tmp_path


@pytest.mark.parametrize(
    ("override", "path", "says"),
    [
        ("checkpoints.save=false", "search.scheduler.name", "`checkpoints.save` is false"),
        ("search.trials=1", "search.trials", "a population has 2 or more"),
        ("search.scheduler.mutate=[config.rat]", "search.scheduler.mutate.0", "Did you mean `config.rate`?"),
        ("search.scheduler.quantile=0.6", "search.scheduler.quantile", "<= 0.5"),
        ("search.scheduler.interval=6", "search.scheduler.interval", "interval=6"),
        ("search.scheduler.grace=2", "search.scheduler.grace", "only `asha`"),
        ("search.scheduler={name: asha, interval: 2, unit: evaluations, max: 6}", "search.scheduler.interval", "`pb2`"),
    ],
)
def test_a_population_that_cannot_work_is_refused(walk: Path, override: str, path: str, says: str) -> None:
    with pytest.raises(SpecError) as refused:
        make_plan(load_spec(walk / "spec.yaml", overrides=[override]))
    assert path in str(refused.value)
    assert says in str(refused.value)


TASK = """
name: task
task: causal_lm
model: {architecture: gpt2, config: {n_embd: 16, n_layer: 1, n_head: 2}}
data: {source: {builtin: stdlib-docs}, max_length: 32}
training: {num_train_epochs: 4}
space: {training.learning_rate: {log_uniform: [0.001, 0.9]}}
search: {scheduler: {name: pbt}}
"""


@pytest.mark.parametrize(
    ("overrides", "path", "says"),
    [
        (["space.training.per_device_train_batch_size={choice: [4, 8]}",
          "search.scheduler.mutate=[training.per_device_train_batch_size]"],
         "search.scheduler.mutate.0", "place in the data is counted in batches"),
        (["training.lr_scheduler_type=reduce_lr_on_plateau", "training.eval_strategy=epoch"],
         "training.lr_scheduler_type", "would have no effect"),
        (["resources.workers=2"], "resources.workers", "Use one worker"),
        (["derive.training.per_device_train_batch_size=int(8 * training.learning_rate) + 1"],
         "derive.training.per_device_train_batch_size", "follows from `training.learning_rate`"),
        (["search.scheduler={name: pb2, mutate: [training.weight_decay]}",
          "space.training.weight_decay={choice: [0.0, 0.1]}"], "search.scheduler.mutate.0", "Use `pbt`"),
        (["space={model.config.n_layer: {int: [1, 2]}}"], "space", "nothing can be changed then"),
    ],
)  # fmt: skip
def test_what_cannot_change_in_the_middle_of_training_is_refused_with_the_reason(
    tmp_path: Path, overrides: list[str], path: str, says: str
) -> None:
    (tmp_path / "spec.yaml").write_text(TASK)
    make_plan(load_spec(tmp_path / "spec.yaml"))
    with pytest.raises(SpecError) as refused:
        make_plan(load_spec(tmp_path / "spec.yaml", overrides=overrides))
    assert path in str(refused.value)
    assert says in str(refused.value)


# --- a whole search ---


@pytest.mark.ray
@pytest.mark.parametrize("name", ["pbt", pytest.param("pb2", marks=pytest.mark.slow)])
def test_a_search_hands_weights_over_and_its_record_says_so(walk: Path, tunesmith: Run, name: str) -> None:
    done = tunesmith("run", "spec.yaml", "--set", f"search.scheduler.name={name}", "--set", "checkpoints.keep=6")
    assert done.returncode == 0, done.stderr
    assert "* went on from another trial's checkpoint" in done.stdout
    files = SearchFiles(walk / "searches" / "walk")
    record = read_records(files.path)
    assert [trial.state for trial in record.trials] == ["COMPLETE"] * 6
    received = [trial for trial in record.trials if trial.lineage]
    assert len(received) >= 2
    for trial in record.trials:
        seen = json.loads((Path(str(trial.checkpoint)) / "state.json").read_text())["seen"]
        _assert_weights_and_rates(trial, seen, files)


def _assert_weights_and_rates(trial: TrialRecord, seen: list[list[float]], files: SearchFiles) -> None:
    """What the weights remember is what the record says: whose they were, and what they were trained with."""
    trials = read_records(files.path).trials
    began = parse_yaml(files.trial(trial.number).document.read_text())[0]
    assert began.get("lineage", []) == list(trial.lineage)
    if trial.lineage:
        assert trial.params == trial.lineage[-1]["params"]
    for step, weight, rate in seen:
        row = _history(files, _owner(trials, trial.number, step))[int(step)]
        assert rate == row["params/config.rate"]
        assert weight * (1 - rate) == pytest.approx(row["loss"])


def _owner(trials: list[TrialRecord], number: int, step: float, until: float = math.inf) -> int:
    """The trial in which the weights were trained at `step` that trial `number` had just before `until`."""
    taken = [each for each in trials[number].lineage if step <= each["at"] < until]
    return _owner(trials, taken[-1]["from_trial"], step, taken[-1]["at"]) if taken else number


def _history(files: SearchFiles, number: int) -> dict[int, Any]:
    return {int(row["evaluation"]): row for row in files.trial(number).read_history()}


@pytest.mark.ray
def test_a_function_without_checkpoints_fails_with_the_reason(walk: Path, tunesmith: Run) -> None:
    (walk / "walking.py").write_text(FUNCTION.replace("checkpoint=folder, ", ""))
    done = tunesmith("run", "spec.yaml", "--set", "search.trials=2")
    assert done.returncode == 3
    assert "reported without a checkpoint" in done.stdout
