"""Studies in Optuna storages: read by SQL as by Optuna itself, and what is said where nothing can be read."""

import functools
import math
import sqlite3
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial
from patience import HANG_SECONDS
from sqlalchemy import create_engine, event

from analysis import study_source
from analysis.leaderboard import leaderboard
from analysis.sources import read_records
from analysis.stored import StoredStudy
from analysis.study_source import stored_study
from analysis.study_tables import is_known_schema, read_study, study_names
from spaces.errors import SpecError

optuna.logging.set_verbosity(optuna.logging.ERROR)

VALUES = st.floats(allow_nan=False)
CURVES = st.dictionaries(st.integers(0, 50), st.floats(), max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
CHOICES = (None, True, 2, 3.5, "four")


@st.composite
def trials(draw: st.DrawFn, num_objectives: int) -> optuna.trial.FrozenTrial:
    state = draw(st.sampled_from(list(TrialState)))
    space = {
        "lr": (FloatDistribution(1e-6, 1.0, log=True), st.floats(1e-6, 1.0)),
        "steps": (FloatDistribution(0.0, 1.0, step=0.25), st.sampled_from([0.0, 0.25, 0.5, 1.0])),
        "layers": (IntDistribution(1, 64, log=True), st.integers(1, 64)),
        "kind": (CategoricalDistribution(CHOICES), st.sampled_from(CHOICES)),
    }
    names = draw(st.sets(st.sampled_from(list(space))))
    has_values = state == TrialState.COMPLETE or (state == TrialState.PRUNED and draw(st.booleans()))
    return create_trial(
        state=state,
        values=draw(st.lists(VALUES, min_size=num_objectives, max_size=num_objectives)) if has_values else None,
        params={name: draw(space[name][1]) for name in sorted(names)},
        distributions={name: space[name][0] for name in sorted(names)},
        intermediate_values=draw(CURVES),
        user_attrs=draw(st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=3)),
    )


@st.composite
def studies(draw: st.DrawFn) -> tuple[list[str], list[optuna.trial.FrozenTrial], dict[str, Any]]:
    directions = draw(st.lists(st.sampled_from(["minimize", "maximize"]), min_size=1, max_size=3))
    found = draw(st.lists(trials(len(directions)), max_size=4))
    return directions, found, draw(st.dictionaries(st.text(min_size=1, max_size=5), JSON, max_size=2))


@functools.cache
def in_memory() -> optuna.storages.RDBStorage:
    """One for all examples: to make its tables takes longer than an example."""
    return optuna.storages.RDBStorage("sqlite:///:memory:")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(studies(), st.booleans())
def test_a_study_read_by_sql_is_the_one_that_optuna_reads(described: Any, is_named: bool) -> None:
    directions, found, attributes = described
    storage = in_memory()
    others = [each.study_name for each in storage.get_all_studies()]  # of earlier examples
    name = f"study {len(others)}"
    study = optuna.create_study(storage=storage, study_name=name, directions=directions)
    study.add_trials(found)
    for key, value in attributes.items():
        study.set_user_attr(key, value)
    if is_named:
        name_metrics(study, [f"metric {index}" for index in range(len(directions))])
    with storage.engine.connect() as connection:
        assert is_known_schema(connection)
        assert study_names(connection) == [*others, name]
        read = read_study(connection, name)
    again = optuna.load_study(study_name=name, storage=storage)
    by_optuna = stored_study(again, again.get_trials(deepcopy=False))
    assert read.space == by_optuna.space
    assert repr(replace(read, space={})) == repr(replace(by_optuna, space={}))  # texts: NaN is NaN there
    assert [dict(trial.params) for trial in read.trials] == [
        trial.params for trial in again.get_trials() if trial.state != TrialState.WAITING
    ]


def name_metrics(study: optuna.Study, names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(names)


def foreign_study(url: Any, name: str = "theirs") -> optuna.Study:
    study = optuna.create_study(storage=url, study_name=name, direction="maximize")

    def objective(trial: optuna.Trial) -> float:
        value = trial.suggest_float("lr", 1e-5, 1e-1, log=True) * trial.suggest_int("layers", 1, 4)
        trial.set_user_attr("f1", value / 2)
        trial.set_user_attr("note", "a text")
        for step in (1, 2, 3):
            trial.report(value * step, step)
        if trial.number == 1:
            raise optuna.TrialPruned
        if trial.number == 2:
            raise ZeroDivisionError
        return value * 3

    study.optimize(objective, n_trials=5, catch=[ZeroDivisionError])
    return study


def test_a_trial_that_begins_while_its_study_is_read_comes_with_the_next_reading(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(storage=url, study_name="running")
    space = {"x": FloatDistribution(0.0, 1.0)}

    def begin() -> None:
        trial = study.ask(space)
        trial.set_user_attr("assignment", dict(trial.params))
        trial.report(0.5, step=1)

    begin()
    engine = create_engine(url)
    begun = []

    @event.listens_for(engine, "before_cursor_execute")
    def _begin_another(*told: Any) -> None:
        if not begun and "FROM trial_user_attributes" in told[2]:  # its trials are known by then
            begun.append(True)
            begin()

    with engine.connect() as connection:
        first, second = read_study(connection, "running"), read_study(connection, "running")
    engine.dispose()
    assert [len(first.trials), len(second.trials)] == [1, 2]
    assert first.trials[0] == second.trials[0]


def test_a_study_of_others_is_ranked_by_its_url(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/theirs.db"
    study = foreign_study(url)
    record = read_records(url, metric="score")
    assert (record.metric, record.mode, record.directory) == ("score", "max", None)
    assert [trial.state for trial in record.trials] == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE", "COMPLETE"]
    best = leaderboard(record)[0].trial
    assert (best.number, best.value, best.params) == (study.best_trial.number, study.best_value, study.best_params)
    assert best.metrics == {"f1": study.best_trial.user_attrs["f1"], "score": study.best_value}
    assert record.trials[1].value is None
    assert dict(record.trials[1].intermediate) == study.trials[1].intermediate_values
    duration = study.best_trial.duration
    assert duration is not None
    assert best.seconds == duration.total_seconds()


def test_a_database_file_can_be_named_by_its_path(tmp_path: Path) -> None:
    foreign_study(f"sqlite:///{tmp_path}/theirs.db")
    assert len(read_records(tmp_path / "theirs.db").trials) == 5
    assert len(read_records(f"{tmp_path}/theirs.db#theirs").trials) == 5


def test_a_journal_is_read(tmp_path: Path) -> None:
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.log"))
    study = foreign_study(optuna.storages.JournalStorage(backend))
    record = read_records(f"journal:{tmp_path}/optuna.log")
    assert record.best is not None
    assert (record.best.number, record.best.value) == (study.best_trial.number, study.best_value)


def test_one_of_several_studies_is_named_behind_the_hash(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    foreign_study(url, "first")
    foreign_study(url, "second")
    assert read_records(f"{url}#second").name == "second"
    with pytest.raises(SpecError, match=r"holds 2 studies: name one by `.*s\.db#first`. It has `first`, `second`"):
        read_records(url)
    with pytest.raises(SpecError, match=r"holds no study `secnd`\. Did you mean `second`"):
        read_records(f"{url}#secnd")


def test_tables_of_another_version_are_read_by_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/theirs.db"
    foreign_study(url)
    by_sql = read_records(url)
    monkeypatch.setattr("analysis.study_tables.SCHEMA", ("v9.0.0.a", 12))
    monkeypatch.setattr(study_source, "read_study", _refuse)
    assert read_records(url).trials == by_sql.trials


def _refuse(*_: Any) -> StoredStudy:
    raise AssertionError("unknown tables are not to be read directly")


def test_what_cannot_be_read_is_explained_and_left_as_it_was(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE notes (text)").connection.commit()
    (tmp_path / "junk.db").write_bytes(b"this is no database, but it is long enough to have a header" * 9)
    foreign_study(f"sqlite:///{tmp_path}/studies.db")
    foreign_study(f"sqlite:///{tmp_path}/new.db")
    sqlite3.connect(tmp_path / "new.db").execute("DELETE FROM alembic_version").connection.commit()
    untouched = {name: (tmp_path / name).read_bytes() for name in ("other.db", "new.db")}
    for source, message in [
        (f"sqlite:///{tmp_path}/study.db", r"there is no database .* Did you mean `studies.db`"),
        (f"sqlite:///{tmp_path}/other.db", "holds no Optuna studies"),
        (f"sqlite:///{tmp_path}/new.db", "is just being made"),
        (f"sqlite:///{tmp_path}/junk.db", "file is not a database"),
        (f"journal:{tmp_path}/none.log", "there is no journal"),
        ("nix://host/name", "is no database that can be read"),
    ]:
        with pytest.raises(SpecError, match=message):
            read_records(source)
    assert {name: (tmp_path / name).read_bytes() for name in untouched} == untouched
    assert not (tmp_path / "study.db").exists()


def test_a_password_is_not_shown() -> None:
    with pytest.raises(SpecError) as refused:
        read_records("mysql+nix://me:hush@host/studies")
    assert "hush" not in str(refused.value)


def test_what_a_source_says_itself_is_not_overruled(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/theirs.db"
    name_metrics(foreign_study(url), ["accuracy"])
    with pytest.raises(SpecError, match="says itself what was optimised, accuracy, but got the metric `loss`"):
        read_records(url, metric="loss")
    with pytest.raises(SpecError, match="better when it is large"):
        read_records(url, mode="min")
    assert read_records(url, metric="accuracy", mode="max").metric == "accuracy"


def test_the_leaderboard_of_a_folder_needs_neither_optuna_nor_pandas_nor_wandb(tmp_path: Path) -> None:
    foreign_study(f"sqlite:///{tmp_path}/study.db")
    script = """
import sys
from analysis.leaderboard import leaderboard
from analysis.sources import read_records
assert len(leaderboard(read_records(sys.argv[1]))) == 5
heavy = {"optuna", "pandas", "wandb", "ray", "torch"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=HANG_SECONDS)


def test_values_that_are_not_finite_survive(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=url)
    study.add_trial(create_trial(value=-math.inf, intermediate_values={1: math.inf, 2: math.nan}))
    (trial,) = read_records(url).trials
    assert trial.value == -math.inf
    assert [str(value) for value in trial.intermediate.values()] == ["inf", "nan"]
