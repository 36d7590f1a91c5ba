"""What a space must be before anything is drawn: known paths, no overlaps, no circles. Knows no drawing."""

from collections.abc import Mapping, Sequence
from typing import Any

from spaces.conditions import order_by_dependency
from spaces.distributions import Choice, Distribution
from spaces.documents import Value, all_paths, has_path, is_below_null, overlap, split_path, with_paths
from spaces.errors import SpecError, did_you_mean
from spaces.expressions import Expression
from spaces.parameters import Parameter


class KnownPaths:
    """The paths that conditions and expressions may name."""

    def __init__(self, document: Mapping[str, Any], by_path: Mapping[str, Parameter], derived: tuple[str, ...]) -> None:
        self.document = document
        self._by_path = by_path
        self._derived = derived

    def has(self, path: str) -> bool:
        """Whether `path` is in the document, searched, derived, or in reach of one of these."""
        if has_path(self.document, path) or is_below_null(self.document, path):
            return True
        if self.is_derived(path):
            return True
        for searched, parameter in self._by_path.items():
            if path == searched or searched.startswith(f"{path}."):
                return True
            if path.startswith(f"{searched}."):
                return _is_inside(path.removeprefix(f"{searched}."), parameter.distribution)
        return False

    def is_derived(self, path: str) -> bool:
        """Whether a derived value is at, in or around `path`."""
        return any(overlap(path, target) for target in self._derived)

    def suggestion(self, path: str) -> str:
        """The nearest known path, as a sentence."""
        return did_you_mean(path, [*self._by_path, *self._derived, *all_paths(self.document)])

    def check_names(self, expression: Expression, path: str) -> None:
        """Refuse an expression that names an unknown path."""
        for name in expression.names:
            if not self.has(name):
                raise SpecError(
                    f"`{expression.text}` uses `{name}`, which is neither in the document nor searched."
                    f"{self.suggestion(name)}",
                    path=path,
                )


def _is_inside(rest: str, distribution: Distribution) -> bool:
    return isinstance(distribution, Choice) and any(
        isinstance(value, Mapping) and has_path(value, rest) for value in distribution.values
    )


def parse_expression(text: str, path: str) -> Expression:
    """The expression `text`; errors carry `path`."""
    try:
        return Expression(text)
    except SpecError as error:
        raise error.at(path) from None


def check_parameter(parameter: Parameter, by_path: Mapping[str, Parameter], known: KnownPaths) -> None:
    """Refuse a path that cannot be set, that contains another one, or whose conditions can never be decided."""
    place = f"space.{parameter.path}"
    _check_settable(parameter.path, known.document, place)
    for other in by_path:
        if other.startswith(f"{parameter.path}."):
            raise SpecError(
                f"`{parameter.path}` and `{other}` inside it cannot both be searched. Put the variants of `{other}` "
                f"into the choices of `{parameter.path}`, or search its keys one by one.",
                path=place,
            )
    for path, allowed in parameter.when:
        _check_condition(parameter.path, path, allowed, by_path, known)


def _check_condition(
    parameter_path: str,
    path: str,
    allowed: tuple[Value, ...],
    by_path: Mapping[str, Parameter],
    known: KnownPaths,
) -> None:
    place = f"space.{parameter_path}.when"
    if path == parameter_path:
        raise SpecError(f"`{path}` cannot depend on itself.", path=place)
    if known.is_derived(path):
        raise SpecError(
            f"`{path}` is derived, and derived values are computed after the parameters. Use what it is derived from.",
            path=place,
        )
    if not known.has(path):
        raise SpecError(f"`{path}` is neither in the document nor searched.{known.suggestion(path)}", path=place)
    inner = next((searched for searched in by_path if searched.startswith(f"{path}.")), None)
    if inner is not None:
        raise SpecError(f"`{path}` is a section that `{inner}` varies. Name the key in it that decides.", path=place)
    if path in by_path:
        distribution = by_path[path].distribution
        for value in allowed:
            if not distribution.contains(value):
                raise SpecError(
                    f"`{path}` can never be {value!r}: it is not among what `space.{path}` allows.",
                    path=place,
                )


def check_derived(target: str, expression: Expression, by_path: Mapping[str, Parameter], known: KnownPaths) -> None:
    """Refuse a target that cannot be set or is searched itself, and unknown names."""
    place = f"derive.{target}"
    _check_settable(target, known.document, place)
    if target in by_path:
        raise SpecError(f"`{target}` is searched too. Remove it from `space` or from `derive`.", path=place)
    for searched in by_path:
        if searched.startswith(f"{target}."):
            raise SpecError(
                f"`{target}` would overwrite `{searched}`, which is searched. Derive single keys.", path=place
            )
    known.check_names(expression, place)


def _check_settable(path: str, document: Mapping[str, Any], place: str) -> None:
    try:
        split_path(path)
        with_paths(document, {path: None})
    except SpecError as error:
        raise error.at(place) from None


def drawing_order(parameters: Sequence[Parameter]) -> list[Parameter]:
    """Each parameter after those that its conditions need, otherwise as declared."""
    by_path = {parameter.path: parameter for parameter in parameters}
    needs = {
        parameter.path: {
            other for path, _ in parameter.when for other in by_path if path == other or path.startswith(f"{other}.")
        }
        for parameter in parameters
    }
    try:
        return [by_path[path] for path in order_by_dependency(needs)]
    except SpecError as error:
        raise SpecError(f"the `when` conditions go in a circle: {error.message}.", path="space") from None


def derivation_order(derived: Mapping[str, Expression]) -> list[str]:
    """Each target after those that its expression needs, otherwise as declared."""
    needs = {
        target: {other for name in expression.names for other in derived if overlap(name, other)}
        for target, expression in derived.items()
    }
    try:
        return order_by_dependency(needs)
    except SpecError as error:
        raise SpecError(f"the derived values go in a circle: {error.message}.", path="derive") from None
