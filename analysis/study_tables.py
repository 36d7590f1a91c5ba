"""Optuna's tables -> a study, in one query a table: what reading 10,000 trials through Optuna's objects takes is most
of what a leaderboard takes. Knows the schema, whose version it checks, and no attribute.
"""

import json
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from analysis.distributions import widest
from analysis.stored import StoredStudy, StoredTrial
from spaces.objectives import Mode

if TYPE_CHECKING:
    from sqlalchemy import Connection

SCHEMA = ("v3.2.0.a", 12)
"""Version of the tables that is known here: Optuna's revision, and the number from before it had revisions."""
_MODES: dict[str, Mode] = {"MINIMIZE": "min", "MAXIMIZE": "max"}
_STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING")
_NOT_FINITE = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}
_METRIC_NAMES = "study:metric_names"
_WHOLE = ("IntDistribution", "IntUniformDistribution", "IntLogUniformDistribution")


def is_known_schema(connection: "Connection") -> bool:
    """Whether the tables are as this file reads them."""
    from sqlalchemy import inspect, text

    names = set(inspect(connection).get_table_names())
    if not {"alembic_version", "version_info"} <= names:
        return False
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return (revision, connection.execute(text("SELECT schema_version FROM version_info")).scalar()) == SCHEMA


def study_names(connection: "Connection") -> list[str]:
    """The studies of the database, in the order in which they were made."""
    from sqlalchemy import text

    return [name for (name,) in connection.execute(text("SELECT study_name FROM studies ORDER BY study_id"))]


def read_study(connection: "Connection", name: str) -> StoredStudy:
    """The study called `name`, which there is. Trials that only wait in a queue are left out."""
    tables = _Tables(connection, name)
    attributes = tables.of_study("study_user_attributes")
    trials = tables.trials()
    values: dict[int, dict[int, float]] = {number: {} for number in trials}
    curves: dict[int, dict[int, float]] = {number: {} for number in trials}
    user: dict[int, dict[str, Any]] = {number: {} for number in trials}
    for trial, objective, value, kind in tables.of_trials("trial_values", "objective", "value", "value_type"):
        values[trial][objective] = _NOT_FINITE.get(kind, value)
    columns = ("step", "intermediate_value", "intermediate_value_type")
    for trial, step, value, kind in tables.of_trials("trial_intermediate_values", *columns):
        curves[trial][step] = _NOT_FINITE.get(kind, value)
    for trial, key, text in tables.of_trials("trial_user_attributes", "key", "value_json"):
        user[trial][key] = json.loads(text)
    params: dict[int, dict[str, Any]] = {number: {} for number in trials}
    draws = _draws(tables)
    for trial, path, _, value in draws:
        params[trial][path] = value
    given = {number: user[number].get("assignment", params[number]) for number in trials}
    return StoredStudy(
        name=name,
        modes=tables.modes(),
        metrics=tuple(tables.of_study("study_system_attributes").get(_METRIC_NAMES, ())),
        attributes=attributes,
        space=widest((path, distribution, value, given[trial].get(path)) for trial, path, distribution, value in draws),
        trials=[
            StoredTrial(
                number=row.number,
                state=row.state,
                # Optuna gives a stopped trial its last intermediate value, which is no result.
                values=tuple(value for _, value in sorted(values[trial].items())) if row.state == "COMPLETE" else (),
                params=params[trial],
                intermediate=dict(sorted(curves[trial].items())),
                attributes=user[trial],
                started=row.datetime_start,
                ended=row.datetime_complete,
            )
            for trial, row in trials.items()
        ],
    )


class _Tables:
    """The rows of one study."""

    def __init__(self, connection: "Connection", name: str) -> None:
        from sqlalchemy import column, select, table

        self._connection = connection
        studies = table("studies", column("study_id"), column("study_name"))
        found = connection.execute(select(studies.c.study_id).where(studies.c.study_name == name))
        self._study: int = found.scalar_one()
        self._known: dict[int, Any] = {}

    def trials(self) -> dict[int, Any]:
        """Rows of trials that have begun, by their key in the database, ordered by number."""
        from sqlalchemy import DateTime, String, cast, column, select, table

        dates = [column(name, DateTime()) for name in ("datetime_start", "datetime_complete")]
        trials = table("trials", *map(column, ("trial_id", "number", "study_id", "state")), *dates)
        query = select(trials).where(trials.c.study_id == self._study, cast(trials.c.state, String).in_(_STATES))
        self._known = {row.trial_id: row for row in self._connection.execute(query.order_by(trials.c.number))}
        return self._known

    def of_trials(self, name: str, *columns: str) -> Iterator[Any]:
        """`trial_id` and `columns` of all rows that belong to those trials. One that has begun since then is none of
        them: a search may run while it is read."""
        from sqlalchemy import String, cast, column, select, table

        rows = table(name, *map(column, ("trial_id", *columns)))
        trials = table("trials", *map(column, ("trial_id", "study_id", "state")))
        # PostgreSQL compares its enumerations with nothing but themselves.
        has_begun = cast(trials.c.state, String).in_(_STATES)
        begun = select(trials.c.trial_id).where(trials.c.study_id == self._study, has_begun)
        found = self._connection.execute(select(rows).where(rows.c.trial_id.in_(begun)))
        return (row for row in found if row.trial_id in self._known)

    def of_study(self, name: str) -> dict[str, Any]:
        """Attributes of the study."""
        from sqlalchemy import column, select, table

        rows = table(name, *map(column, ("study_id", "key", "value_json")))
        found = self._connection.execute(select(rows.c.key, rows.c.value_json).where(rows.c.study_id == self._study))
        return {key: json.loads(text) for key, text in found}

    def modes(self) -> tuple[Mode, ...]:
        """Which way each objective is better."""
        from sqlalchemy import column, select, table

        rows = table("study_directions", *map(column, ("study_id", "objective", "direction")))
        query = select(rows.c.direction).where(rows.c.study_id == self._study).order_by(rows.c.objective)
        return tuple(_MODES[direction] for (direction,) in self._connection.execute(query))


def _draws(tables: _Tables) -> list[tuple[int, str, SimpleNamespace, Any]]:
    """Trial, parameter, its distribution and its value."""
    known: dict[str, tuple[SimpleNamespace, Callable[[float], Any]]] = {}
    draws = []
    for trial, name, value, text in tables.of_trials("trial_params", "param_name", "param_value", "distribution_json"):
        if text not in known:  # thousands of trials share a few distributions
            known[text] = _distribution(json.loads(text))
        distribution, read = known[text]
        draws.append((trial, name, distribution, read(value)))
    return draws


def _distribution(content: dict[str, Any]) -> tuple[SimpleNamespace, Callable[[float], Any]]:
    """What a distribution says of itself, and what makes a value of the number that is stored."""
    attributes = SimpleNamespace(**content["attributes"])
    if content["name"] == "CategoricalDistribution":
        return attributes, lambda stored: attributes.choices[int(stored)]
    return attributes, int if content["name"] in _WHOLE else float
