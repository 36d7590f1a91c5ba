"""Which lines of a leaderboard to show, and in what order: `--where`, `--state`, `--sort`. Ranks stay what they are."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.leaderboard import Entry
from analysis.wording import short_names
from spaces.errors import SpecError, did_you_mean
from spaces.expressions import Expression, MissingPathError

STATES = {"finished": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL", "unfinished": "RUNNING"}
_LISTS = ("fold_values", "interval", "lineage")


def select(
    entries: Sequence[Entry],
    *,
    where: Sequence[str] = (),
    states: Sequence[str] = (),
    sort: str | None = None,
    top: int | None = None,
) -> list[Entry]:
    """The entries that all of `where` and one of `states` hold for.

    Args:
        entries: Of `leaderboard`.
        where: Expressions over columns and parameters, such as `training.learning_rate < 1e-3`; a parameter's short
            name will do. A trial without that parameter is left out.
        states: Of STATES.
        sort: A column, a parameter or a metric; with `-` before it the largest come first. Entries without it come
            last.
        top: So many of what is left.

    Raises:
        SpecError: there is no such state, column or parameter, or an expression is none.
    """
    for state in states:
        if state not in STATES:
            raise SpecError(
                f"there is no state `{state}`.{did_you_mean(state, STATES)} Known: {', '.join(STATES)}.", path="--state"
            )
    paths = list(dict.fromkeys(path for entry in entries for path in entry.trial.params))
    short = {name: path for path, name in short_names(paths).items()}
    found = [entry for entry in entries if not states or entry.trial.state in {STATES[state] for state in states}]
    for text in where:
        found = _matching(found, Expression(text), {**{path: path for path in paths}, **short}, entries)
    if sort is not None:
        found = _sorted(found, sort, short, entries)
    return found[:top]


def _matching(
    entries: Sequence[Entry], expression: Expression, params: Mapping[str, str], all_entries: Sequence[Entry]
) -> list[Entry]:
    columns = all_entries[0].to_json() if all_entries else {}
    for name in expression.names:
        if all_entries and name not in params and name not in columns:
            known = [*columns, *params]
            raise SpecError(
                f"`{expression.text}` uses `{name}`, which no trial has.{did_you_mean(name, known)}", path="--where"
            )
    return [entry for entry in entries if _holds(expression, _document(entry, params))]


def _holds(expression: Expression, document: Mapping[str, Any]) -> bool:
    try:
        return bool(expression.evaluate(document))
    except MissingPathError:
        return False


def _document(entry: Entry, params: Mapping[str, str]) -> dict[str, Any]:
    """All that an expression can name, as the nested document that expressions read."""
    document = {
        name: value
        for name, value in entry.to_json().items()
        if value is not None and name not in _LISTS and not isinstance(value, Mapping)
    }
    for name, path in params.items():
        if path in entry.trial.params:
            *way, last = name.split(".")
            section = document
            for key in way:
                section = section.setdefault(key, {})
            section.setdefault(last, entry.trial.params[path])
    return document


def _sorted(entries: Sequence[Entry], sort: str, short: Mapping[str, str], all_entries: Sequence[Entry]) -> list[Entry]:
    name = sort.removeprefix("-")
    path = short.get(name, name)

    def value_of(entry: Entry) -> Any:
        columns = entry.to_json()
        return entry.trial.params.get(path, columns.get(name, entry.trial.metrics.get(name)))

    known = [
        *(all_entries[0].to_json() if all_entries else ()),
        *dict.fromkeys(path for entry in all_entries for path in entry.trial.params),
        *dict.fromkeys(metric for entry in all_entries for metric in entry.trial.metrics),
    ]
    if all_entries and path not in known:
        raise SpecError(f"there is no column, parameter or metric `{name}`.{did_you_mean(name, known)}", path="--sort")
    having = [entry for entry in entries if value_of(entry) is not None]
    without = [entry for entry in entries if value_of(entry) is None]
    are_numbers = all(isinstance(value_of(entry), int | float) for entry in having)
    having.sort(key=lambda entry: value_of(entry) if are_numbers else str(value_of(entry)), reverse=sort != name)
    return having + without
