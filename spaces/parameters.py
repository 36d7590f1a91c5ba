"""One entry of `space`: YAML form -> Parameter. Knows no other parameters and no document."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spaces.distributions import DISTRIBUTIONS, Choice, Distribution
from spaces.documents import Value
from spaces.errors import SpecError, did_you_mean
from spaces.priors import Prior

_OPTIONS = {
    "uniform": ("step", "num"),
    "log_uniform": ("step", "num"),
    "int": ("step", "num"),
    "log_int": ("step", "num"),
    "choice": (),
    "normal": ("low", "high", "step"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One path that varies."""

    path: str
    """Where its value goes in the trial document."""
    distribution: Distribution
    """What it may be."""
    prior: Prior | None = None
    """Where the best value is believed to lie."""
    when: tuple[tuple[str, tuple[Value, ...]], ...] = ()
    """Paths and the values they must have for this parameter to exist; all must hold."""


def parse_parameter(path: str, entry: Any) -> Parameter:
    """The parameter that an entry of `space` describes."""
    where = f"space.{path}"
    entry, belief = _without_belief(entry)
    distribution, when = parse_distribution(entry, where)
    try:
        prior = Prior(distribution=distribution, **belief) if belief else None
    except SpecError as error:
        raise error.at(where) from None
    return Parameter(path=path, distribution=distribution, prior=prior, when=tuple(when.items()))


def _without_belief(entry: Any) -> tuple[Any, dict[str, Any]]:
    """An entry of `space` without its prior, and the prior's arguments."""
    if not isinstance(entry, Mapping) or "prior" not in entry:
        return entry, {}
    belief = {"value": entry["prior"], "confidence": entry.get("confidence", "medium")}
    return {key: value for key, value in entry.items() if key not in ("prior", "confidence")}, belief


def parse_distribution(value: Any, path: str) -> tuple[Distribution, dict[str, tuple[Value, ...]]]:
    """What an entry of `space` says: `{log_uniform: [1e-5, 1e-2], when: {model.adapter.method: lora}}`.

    Args:
        value: The entry, as YAML holds it.
        path: The searched path, which messages begin with.

    Returns:
        The distribution, and for each path under `when` the values it may have.

    Raises:
        SpecError: with `path`.
    """
    try:
        kind, arguments, when = _taken_apart(value, path)
        return _build(kind, arguments), when
    except SpecError as error:
        raise error.at(path) from None


def _taken_apart(value: Any, path: str) -> tuple[str, dict[str, Any], dict[str, tuple[Value, ...]]]:
    known = ", ".join(DISTRIBUTIONS)
    if isinstance(value, list | tuple):
        raise SpecError(
            f"a list is no distribution. To search these values, write `{{choice: {json.dumps(value, default=str)}}}`."
        )
    if not isinstance(value, Mapping):
        section = path.removeprefix("space.").partition(".")[0]
        raise SpecError(
            f"`space` holds what varies, but got the fixed value {value!r}. It belongs into its section `{section}`; "
            f"to search it, write a distribution such as `{{uniform: [0.0, 0.1]}}`."
        )
    kinds = [key for key in value if key in DISTRIBUTIONS]
    if len(kinds) > 1:
        raise SpecError(f"one kind of distribution is needed, but got {' and '.join(f'`{kind}`' for kind in kinds)}.")
    if not kinds:
        unknown = next(
            (str(key) for key in value if key not in ("step", "num", "when", "low", "high", "confidence")), ""
        )
        given = f"but got `{unknown}`.{did_you_mean(unknown, DISTRIBUTIONS)}" if unknown else "but none is given."
        raise SpecError(f"a kind of distribution is needed, {given} Known kinds: {known}.")
    kind = kinds[0]
    options = {str(key): option for key, option in value.items() if key != kind}
    when = _parse_when(options.pop("when", None))
    for name in options:
        if name not in _OPTIONS[kind]:
            if name == "confidence":
                raise SpecError("`confidence` is that of a `prior`, which is not given.")
            allowed = (*_OPTIONS[kind], "prior", "when")
            raise SpecError(
                f"`{kind}` has no option `{name}`.{did_you_mean(name, allowed)} Known: {', '.join(allowed)}."
            )
    return (
        kind,
        {kind: value[kind]} | {name: option for name, option in options.items() if option is not None},
        when,
    )


def _build(kind: str, arguments: dict[str, Any]) -> Distribution:
    given = arguments.pop(kind)
    if kind == "choice":
        return Choice(values=given)
    first, second = ("mean", "std") if kind == "normal" else ("low", "high")
    if not isinstance(given, list | tuple) or len(given) != 2:
        raise SpecError(f"`{kind}` needs two numbers, `{{{kind}: [{first}, {second}]}}`, but got {given!r}.")
    # The kind decides which fields there are, so the type checker cannot follow.
    build: Any = DISTRIBUTIONS[kind]
    distribution: Distribution = build(**{first: given[0], second: given[1]}, **arguments)
    return distribution


def _parse_when(when: Any) -> dict[str, tuple[Value, ...]]:
    if when is None:
        return {}
    if not isinstance(when, Mapping) or not when:
        raise SpecError(
            f"`when` needs paths and the values they must have, such as `{{model.adapter.method: lora}}`, but got "
            f"{when!r}."
        )
    allowed = {str(path): tuple(value) if isinstance(value, list | tuple) else (value,) for path, value in when.items()}
    for path, values in allowed.items():
        if not values:
            raise SpecError(f"`when` needs at least one value of `{path}`, but got an empty list.")
    return allowed
