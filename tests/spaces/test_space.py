"""The search space: what it reaches, what it refuses, what it makes of the document."""

import copy
import math
import pickle
import subprocess
import sys
from random import Random

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.distributions import Int
from spaces.errors import SpecError
from spaces.space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)

DOCUMENT = {
    "model": {"adapter": {"method": "lora", "r": 8}, "layers": 2, "freeze": None},
    "training": {"lr": 1e-3, "batch": 16, "accumulation": 1, "optim": "adamw"},
    "data": {"source": [{"weight": 1}], "packing": False},
}


def parse(space, *, constraints=(), derive=None, document=DOCUMENT):
    return Space.parse(space, constraints=constraints, derive=derive, document=document)


def key(assignment):
    return repr(sorted(assignment.items()))


# --- conditions ------------------------------------------------------------------------------------------

CHAIN = {
    "training.momentum": {"choice": [0.8, 0.9], "when": {"training.optim": "sgd"}},
    "training.nesterov": {"choice": [True, False], "when": {"training.momentum": 0.9}},
    "training.optim": {"choice": ["adamw", "sgd"]},
}


def test_parameters_come_after_those_their_conditions_need():
    assert parse(CHAIN).paths == ("training.optim", "training.momentum", "training.nesterov")


def test_declared_order_is_kept_where_nothing_forces_another():
    space = {f"a.{name}": {"int": [1, 2]} for name in "zyxw"}
    assert parse(space).paths == ("a.z", "a.y", "a.x", "a.w")


def test_conditional_branches_are_counted_once():
    space = parse(CHAIN)
    assert [dict(point) for point in space.grid()] == [
        {"training.optim": "adamw"},
        {"training.optim": "sgd", "training.momentum": 0.8},
        {"training.optim": "sgd", "training.momentum": 0.9, "training.nesterov": True},
        {"training.optim": "sgd", "training.momentum": 0.9, "training.nesterov": False},
    ]
    assert space.grid_size() == 4


def test_condition_on_an_inactive_parameter_does_not_hold_even_if_the_document_has_the_value():
    space = parse(
        {
            "training.optim": {"choice": ["adamw", "sgd"]},
            "model.layers": {"int": [2, 3], "when": {"training.optim": "sgd"}},
            "training.batch": {"choice": [8, 16], "when": {"model.layers": 2}},
        }
    )
    assert space.contains({"training.optim": "adamw"})
    assert not space.contains({"training.optim": "adamw", "training.batch": 8})


def test_condition_on_the_document_alone_decides_for_all():
    entry = {"training.batch": {"choice": [8, 16], "when": {"model.adapter.method": ["lora", "dora"]}}}
    assert parse(entry).grid_size() == 2
    other = DOCUMENT | {"model": {"adapter": {"method": "ia3"}}}
    assert list(parse(entry, document=other).grid()) == [{}]


def test_condition_below_null_does_not_hold():
    space = parse({"training.batch": {"choice": [8, 16], "when": {"model.freeze.layers": 2}}})
    assert list(space.grid()) == [{}]


def test_condition_can_look_into_a_chosen_mapping():
    space = parse(
        {
            "model.adapter": {"choice": [None, {"method": "lora"}, {"method": "ia3"}]},
            "training.lr": {"choice": [0.1, 0.2], "when": {"model.adapter.method": "lora"}},
        }
    )
    assert space.grid_size() == 4


def test_true_does_not_fulfil_a_condition_for_one():
    space = parse({"a.x": {"choice": [True, 1]}, "a.y": {"int": [1, 2], "when": {"a.x": 1}}})
    assert space.grid_size() == 3


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"a.x": {"int": [1, 2], "when": {"trainin.optim": "sgd"}}}, "Did you mean `training.optim`"),
        ({"a.x": {"int": [1, 2], "when": {"a.x": 1}}}, "cannot depend on itself"),
        (
            {"a.x": {"int": [1, 2], "when": {"a.y": 1}}, "a.y": {"int": [1, 2], "when": {"a.x": 1}}},
            "in a circle: `a.x` -> `a.y` -> `a.x`",
        ),
        ({"a.x": {"int": [1, 2], "when": {"a.y": 9}}, "a.y": {"int": [1, 2]}}, "can never be 9"),
        ({"a.x.y": {"int": [1, 2]}, "b": {"int": [1, 2], "when": {"a.x": 1}}}, "is a section that `a.x.y` varies"),
        (
            {"m": {"choice": [None, {"k": 1}]}, "b": {"int": [1, 2], "when": {"m.kk": 1}}},
            "`m.kk` is neither in the document nor searched",
        ),
        ({"model.adapter": {"choice": [None]}, "model.adapter.r": {"int": [1, 2]}}, "cannot both be searched"),
        ({"data.source.7.weight": {"int": [1, 2]}}, "name one by its number, from 0"),
        ({"training.lr.x": {"int": [1, 2]}}, "holds no keys"),
        ({"training..lr": {"int": [1, 2]}}, "keys and single dots"),
        ({"training.lr": 0.1}, "belongs into its section"),
    ],
)
def test_bad_space_is_refused_with_its_path(space, message):
    with pytest.raises(SpecError, match=message) as caught:
        parse(space)
    assert caught.value.path.startswith("space")


# --- constraints -----------------------------------------------------------------------------------------

PRODUCT = {"training.batch": {"choice": [8, 16, 32]}, "training.accumulation": {"choice": [1, 2, 4]}}


def test_constraint_cuts_the_grid():
    space = parse(PRODUCT, constraints=["training.batch * training.accumulation <= 32"])
    assert space.grid_size() == 6
    assert space.grid_size(constrained=False) == 9
    assert all(point["training.batch"] * point["training.accumulation"] <= 32 for point in space.grid())


def test_first_broken_constraint_is_named():
    space = parse(PRODUCT, constraints=["training.batch >= 8", "training.batch < 32"])
    assignment = {"training.batch": 32, "training.accumulation": 1}
    assert space.violated(assignment) == "training.batch < 32"
    assert not space.is_allowed(assignment)
    assert not space.contains(assignment)


def test_samples_meet_the_constraints():
    space = parse(PRODUCT, constraints=["training.batch * training.accumulation == 128"])
    assert space.sample(Random(0)) == {"training.batch": 32, "training.accumulation": 4}


def test_impossible_constraints_name_the_one_that_refuses_most():
    space = parse(PRODUCT, constraints=["training.batch > 8", "training.accumulation > 4"])
    with pytest.raises(SpecError, match=r"`training\.accumulation > 4` refused"):
        space.sample(Random(0))


def test_constraint_on_an_inactive_parameter_holds():
    space = parse(
        {
            "training.optim": {"choice": ["adamw", "sgd"]},
            "training.momentum": {"choice": [0.8, 0.9], "when": {"training.optim": "sgd"}},
        },
        constraints=["training.momentum < 0.85"],
    )
    assert [*space.grid()] == [
        {"training.optim": "adamw"},
        {"training.optim": "sgd", "training.momentum": 0.8},
    ]


def test_constraint_sees_derived_values():
    space = parse(PRODUCT, constraints=["training.total <= 16"], derive={"training.total": "training.batch * 2"})
    assert {point["training.batch"] for point in space.grid()} == {8}


def test_constraint_that_is_a_number_is_refused():
    space = parse(PRODUCT, constraints=["training.batch - 8"])
    with pytest.raises(SpecError, match="must be true or false"):
        space.is_allowed({"training.batch": 8, "training.accumulation": 1})


@pytest.mark.parametrize(
    ("constraints", "derive", "message", "path"),
    [
        (["training.batches > 1"], {}, "Did you mean `training.batch`", "constraints.0"),
        (["training.batch >"], {}, "is no expression", "constraints.0"),
        ([], {"training.total": "training.batches"}, "Did you mean `training.batch`", "derive.training.total"),
        ([], {"training.batch": "2"}, "is searched too", "derive.training.batch"),
        ([], {"training": "2"}, "would overwrite `training.batch`", "derive.training"),
        ([], {"a.x": "a.y", "a.y": "a.x"}, "in a circle: `a.x` -> `a.y` -> `a.x`", "derive"),
        ([], {"a.x": "a.x + 1"}, "in a circle", "derive"),
        ([], {"training.lr.x": "1"}, "holds no keys", "derive.training.lr.x"),
    ],
)
def test_bad_expression_is_refused_with_its_path(constraints, derive, message, path):
    with pytest.raises(SpecError, match=message) as caught:
        parse(PRODUCT, constraints=constraints, derive=derive)
    assert caught.value.path == path


def test_condition_on_a_derived_value_is_refused():
    with pytest.raises(SpecError, match="is derived"):
        parse({"a.x": {"int": [1, 2], "when": {"a.y": 1}}}, derive={"a.y": "1"})


# --- the document ----------------------------------------------------------------------------------------


def test_apply_sets_parameters_and_derived_values_in_order_of_need():
    space = parse(PRODUCT, derive={"training.warmup": "training.total // 4", "training.total": "training.batch * 2"})
    training = space.apply({"training.batch": 8, "training.accumulation": 1})["training"]
    assert (training["batch"], training["total"], training["warmup"]) == (8, 16, 4)


def test_apply_creates_sections_that_are_missing_or_null():
    space = parse({"model.freeze.layers": {"int": [1, 4]}, "extra.deep.x": {"int": [1, 4]}})
    document = space.apply({"model.freeze.layers": 3, "extra.deep.x": 1})
    assert document["model"]["freeze"] == {"layers": 3}
    assert document["extra"] == {"deep": {"x": 1}}


def test_apply_shares_nothing_with_document_or_choices():
    before = copy.deepcopy(DOCUMENT)
    space = parse({"model.adapter": {"choice": [None, {"method": "lora", "modules": ["q"]}]}}, document=before)
    changed = space.apply({"model.adapter": space.parameters[0].distribution.grid()[1]})
    changed["model"]["adapter"]["modules"].append("k")
    changed["data"]["source"].append("more")
    assert before == DOCUMENT
    assert space.parameters[0].distribution.grid()[1]["modules"] == ["q"]


def test_derived_value_of_an_inactive_parameter_is_not_set():
    space = parse(
        {"model.adapter": {"choice": [None, {"r": 8}]}}, derive={"model.adapter.alpha": "2 * model.adapter.r"}
    )
    assert space.apply({"model.adapter": None})["model"]["adapter"] is None
    assert space.apply({"model.adapter": {"r": 8}})["model"]["adapter"] == {"r": 8, "alpha": 16}


def test_failing_derivation_carries_its_path():
    space = parse(PRODUCT, derive={"training.total": "1 / (training.batch - 8)"})
    with pytest.raises(SpecError, match="division by zero") as caught:
        space.apply({"training.batch": 8, "training.accumulation": 1})
    assert caught.value.path == "derive.training.total"


def test_apply_refuses_a_path_that_is_not_searched():
    with pytest.raises(SpecError, match=r"Did you mean `training\.batch`"):
        parse(PRODUCT).apply({"training.batches": 8})


# --- grid, samples, membership ---------------------------------------------------------------------------


def test_empty_space_has_one_point():
    space = parse({})
    assert [*space.grid()] == [{}] == [space.sample(Random(0))]
    assert space.grid_size() == 1
    assert space.is_finite
    assert not space.is_conditional


def test_grid_of_a_continuous_parameter_is_refused_with_its_path():
    space = parse({"training.lr": {"log_uniform": [1e-5, 1e-2]}})
    assert not space.is_finite
    with pytest.raises(SpecError) as caught:
        next(space.grid())
    assert caught.value.path == "space.training.lr"


def test_huge_grid_is_counted_without_being_listed():
    space = parse({f"a.x{index}": {"int": [1, 10**6]} for index in range(10)} | CHAIN)
    assert space.grid_size() == 4 * 10**60


def test_grid_starts_without_listing_it_all():
    space = parse({f"a.x{index}": {"int": [1, 1000]} for index in range(10)})
    assert next(space.grid())["a.x0"] == 1


@pytest.mark.parametrize(
    "assignment",
    [
        {},
        {"training.batch": 8},
        {"training.batch": 8, "training.accumulation": 3},
        {"training.batch": 8, "training.accumulation": 1, "training.lr": 1},
        {"training.batch": math.nan, "training.accumulation": 1},
    ],
)
def test_assignment_that_is_not_exactly_the_active_parameters_is_not_contained(assignment):
    assert not parse(PRODUCT).contains(assignment)


def test_optuna_names_are_the_dotted_paths():
    trial = optuna.create_study().ask()
    parse(PRODUCT).suggest(trial)
    assert set(trial.params) == {"training.batch", "training.accumulation"}


def test_space_travels_by_pickle():
    space = parse(CHAIN, constraints=["training.lr < 1"], derive={"a.b": "training.lr"})
    assert pickle.loads(pickle.dumps(space)).grid_size() == 4


def test_importing_the_space_brings_no_heavy_library():
    code = "import spaces.space, sys; print([m for m in ('optuna', 'numpy', 'pydantic', 'torch') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# --- properties of any small space -----------------------------------------------------------------------

FINITE_ENTRIES = st.sampled_from(
    [
        {"int": [1, 3]},
        {"int": [0, 5], "step": 2},
        {"log_int": [1, 4]},
        {"uniform": [0, 0.3], "step": 0.1},
        {"choice": ["a", None, 2]},
        {"choice": [True, 1]},
        {"choice": [[1], {"k": 1}]},
    ]
)
ANY_ENTRIES = FINITE_ENTRIES | st.sampled_from(
    [
        {"uniform": [0, 1]},
        {"log_uniform": [1e-5, 1e-2]},
        {"log_uniform": [1e-5, 1e-2], "num": 4},
        {"log_int": [8, 100], "step": 8},
        {"normal": [0, 1]},
    ]
)


@st.composite
def spaces(draw, entries):
    """A space of up to four parameters, some of which depend on an earlier one."""
    described = {}
    for index in range(draw(st.integers(1, 4))):
        entry = dict(draw(entries))
        finite = [path for path, other in described.items() if "choice" in other or "int" in other]
        if finite and draw(st.booleans()):
            parent = draw(st.sampled_from(finite))
            values = described[parent].get("choice") or [described[parent]["int"][0]]
            # In a list: an allowed value may be a list itself.
            entry["when"] = {parent: draw(st.lists(st.sampled_from(values), min_size=1, max_size=2))}
        described[f"s.p{index}"] = entry
    shuffled = draw(st.permutations(list(described)))
    constraints = draw(st.sampled_from([(), ("s.p0 == s.p0",), ("not (s.p0 == 1 and s.limit)",)]))
    return parse({path: described[path] for path in shuffled}, constraints=constraints, document={"s": {"limit": True}})


@given(spaces(ANY_ENTRIES), st.integers(0, 1000))
@settings(max_examples=80, deadline=None)
def test_every_sample_is_contained(space, seed):
    assert space.contains(space.sample(Random(seed)))


@given(spaces(ANY_ENTRIES), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_every_suggestion_is_contained_unless_a_constraint_forbids_it(space, seed):
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    assignment = space.suggest(trial)
    assert space.contains(assignment) == space.is_allowed(assignment)
    assert space.from_optuna_params(trial.params) == assignment
    assert trial.distributions.items() <= space.to_optuna().items()


@given(spaces(ANY_ENTRIES), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_stored_assignment_is_suggested_again(space, seed):
    assignment = space.sample(Random(seed))
    again = space.suggest(optuna.trial.FixedTrial(space.to_optuna_params(assignment)))
    assert again.keys() == assignment.keys()
    assert all(
        again[path] == (pytest.approx(value) if isinstance(value, float) else value)
        for path, value in assignment.items()
    )


@given(spaces(FINITE_ENTRIES))
@settings(max_examples=60, deadline=None)
def test_grid_is_contained_distinct_and_counted(space):
    grid = [*space.grid()]
    assert all(space.contains(point) for point in grid)
    assert len({key(point) for point in grid}) == len(grid) == space.grid_size()


@given(spaces(FINITE_ENTRIES))
@settings(max_examples=60, deadline=None)
def test_counting_agrees_with_listing(space):
    unconstrained = Space(space.parameters, constraints=(), derive={}, document={"s": {}})
    assert unconstrained.grid_size() == sum(1 for _ in unconstrained.grid())


@given(spaces(FINITE_ENTRIES))
@settings(max_examples=15, deadline=None)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_exhaustive_optuna_search_reaches_exactly_the_grid(space):
    if space.grid_size(constrained=False) > 40:
        return
    study = optuna.create_study(sampler=optuna.samplers.BruteForceSampler(seed=0))
    reached = set()

    def objective(trial):
        assignment = space.suggest(trial)
        if space.is_allowed(assignment):
            reached.add(key(assignment))
        return 0.0

    study.optimize(objective, n_trials=200)
    assert reached == {key(point) for point in space.grid()}


@given(spaces(ANY_ENTRIES), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_apply_sets_the_assignment_and_changes_nothing_else(space, seed):
    assignment = space.sample(Random(seed))
    document = space.apply(assignment)
    assert document["s"] == {"limit": True} | {path.removeprefix("s."): value for path, value in assignment.items()}


def test_parameter_keeps_its_distribution_and_conditions():
    parameter = parse(CHAIN | {"model.layers": {"int": [1, 3]}}).parameters[-1]
    assert (parameter.path, parameter.distribution, parameter.when) == ("model.layers", Int(low=1, high=3), ())
