"""The search space: which paths of a trial document vary, under which conditions, and what they imply.

Knows no algorithm and no section of the document: it draws, lists and checks assignments and turns one into a document.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from random import Random
from typing import Any

from spaces.checks import KnownPaths, check_derived, check_parameter, derivation_order, drawing_order, parse_expression
from spaces.conditions import Condition, resolve_condition
from spaces.documents import Value, get_path, has_path, with_paths
from spaces.errors import SpecError, did_you_mean
from spaces.expressions import Expression, MissingPathError
from spaces.parameters import Parameter, parse_parameter

Assignment = dict[str, Value]
"""Dotted path -> value, active parameters only, in the space's order."""

_MAX_REJECTIONS = 10_000


class Space:
    """Parameters, constraints and derived values over a base document.

    A parameter is active when all its conditions hold; a condition on another parameter holds only while that one is
    active itself. A constraint or derived value that needs the path of an inactive parameter, and finds none in the
    document either, has nothing to say: the constraint holds, the derived value is not set.
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        *,
        constraints: Sequence[Expression],
        derive: Mapping[str, Expression],
        document: Mapping[str, Any],
    ) -> None:
        """Parts that were checked already; `Space.parse` checks them."""
        self.parameters: tuple[Parameter, ...] = tuple(parameters)
        """In the order in which they are drawn: as declared, but after the parameters that their conditions need."""
        self.constraints = tuple(constraints)
        self.derive = dict(derive)
        """In an order in which each needs earlier ones only."""
        self._document = document
        self._by_path = {parameter.path: parameter for parameter in self.parameters}
        self._conditions: dict[str, tuple[Condition, ...]] = {
            parameter.path: tuple(
                resolve_condition(path, allowed, searched=self._by_path, document=document)
                for path, allowed in parameter.when
            )
            for parameter in self.parameters
        }
        self._draws = tuple(
            (parameter.path, parameter.distribution, self._conditions[parameter.path]) for parameter in self.parameters
        )
        self._believed = tuple(
            (parameter.path, parameter.prior or parameter.distribution, self._conditions[parameter.path])
            for parameter in self.parameters
        )

    @classmethod
    def parse(
        cls,
        space: Mapping[str, Any],
        *,
        constraints: Sequence[str] = (),
        derive: Mapping[str, str] | None = None,
        document: Mapping[str, Any],
    ) -> "Space":
        """The space that a spec describes.

        Args:
            space: Dotted path -> distribution, in its YAML form.
            constraints: Expressions that must be true.
            derive: Dotted path -> expression that computes its value.
            document: The base document: what does not vary.

        Raises:
            SpecError: with a path below `space`, `constraints` or `derive`.
        """
        parameters = [parse_parameter(str(path), entry) for path, entry in space.items()]
        by_path = {parameter.path: parameter for parameter in parameters}
        rules = [parse_expression(text, f"constraints.{index}") for index, text in enumerate(constraints)]
        derived = {str(path): parse_expression(text, f"derive.{path}") for path, text in (derive or {}).items()}

        known = KnownPaths(document, by_path, tuple(derived))
        for parameter in parameters:
            check_parameter(parameter, by_path, known)
        for target, expression in derived.items():
            check_derived(target, expression, by_path, known)
        for index, rule in enumerate(rules):
            known.check_names(rule, f"constraints.{index}")
        return cls(
            drawing_order(parameters),
            constraints=rules,
            derive={target: derived[target] for target in derivation_order(derived)},
            document=document,
        )

    # --- what is in it ---

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that vary, in order."""
        return tuple(self._by_path)

    @property
    def is_conditional(self) -> bool:
        """Whether some parameter exists only under conditions."""
        return any(parameter.when for parameter in self.parameters)

    @property
    def is_finite(self) -> bool:
        """Whether a grid can list all assignments."""
        return all(parameter.distribution.num_values is not None for parameter in self.parameters)

    @property
    def has_priors(self) -> bool:
        """Whether the user believes something of where the best values lie."""
        return any(parameter.prior is not None for parameter in self.parameters)

    def to_optuna(self) -> dict[str, Any]:
        """Path -> Optuna distribution, for all parameters, active or not."""
        return {path: parameter.distribution.to_optuna() for path, parameter in self._by_path.items()}

    # --- all of it ---

    def grid(self) -> Iterator[Assignment]:
        """Every allowed assignment once, the last parameter varying fastest.

        Raises:
            SpecError: a parameter is continuous.
        """
        grids = {parameter.path: _grid_of(parameter) for parameter in self.parameters}
        for assignment in self._branches(0, {}, grids):
            if self.is_allowed(assignment):
                yield assignment

    def grid_size(self, *, constrained: bool = True) -> int:
        """How many assignments `grid` yields. Lists them all when there are constraints, unless `constrained` is false.

        Raises:
            SpecError: a parameter is continuous.
        """
        if constrained and self.constraints:
            return sum(1 for _ in self.grid())
        deciding = {condition.searched for conditions in self._conditions.values() for condition in conditions}
        return self._count(0, {}, deciding)

    # --- one of it ---

    def sample(self, rng: Random, *, believing: bool = False) -> Assignment:
        """An allowed assignment drawn at random. Its lists and mappings are shared: copy before changing them.

        Args:
            rng: Draws.
            believing: Draw parameters that have a prior from it.

        Raises:
            SpecError: 10,000 draws in a row broke a constraint.
        """
        broken: Counter[str] = Counter()
        for _ in range(_MAX_REJECTIONS):
            assignment: Assignment = {}
            for path, distribution, conditions in self._believed if believing else self._draws:
                if not conditions or _hold(conditions, assignment):
                    assignment[path] = distribution.sample(rng)
            if (constraint := self.violated(assignment)) is None:
                return assignment
            broken[constraint] += 1
        worst, times = broken.most_common(1)[0]
        raise SpecError(
            f"none of {_MAX_REJECTIONS:,} random configurations meets all constraints; `{worst}` refused {times:,} of "
            "them. Loosen it, or narrow the space to where it holds.",
            path="constraints",
        )

    def complete(self, given: Mapping[str, Any], rng: Random, *, only_active: bool = False) -> Assignment:
        """An allowed assignment with the values of `given`; the other parameters are drawn at random.

        Args:
            given: Path -> value.
            rng: Draws the rest.
            only_active: Leave out given parameters whose conditions do not hold, instead of refusing them.

        Raises:
            SpecError: a path or value is not of this space, a parameter is inactive, or no draw met all constraints.
        """
        self._check_known(given)
        for path, value in given.items():
            if not self._by_path[path].distribution.contains(value):
                raise SpecError(f"the space does not hold {value!r} here.", path=path)
        num_attempts = _MAX_REJECTIONS if len(given) < len(self.parameters) else 1
        broken, inactive = "", set(given)
        for _ in range(num_attempts):
            assignment: Assignment = {}
            for path, distribution, conditions in self._draws:
                if not conditions or _hold(conditions, assignment):
                    assignment[path] = (
                        distribution.from_optuna_value(distribution.to_optuna_value(given[path]))
                        if path in given
                        else distribution.sample(rng)
                    )
            inactive = {path for path in given if path not in assignment}
            if inactive and not only_active:
                continue
            violated = self.violated(assignment)
            if violated is None:
                return assignment
            broken = violated
        if broken:
            raise SpecError(f"no configuration with these values meets all constraints; they break `{broken}`.")
        path = min(inactive)
        raise SpecError("this parameter exists only under conditions that the other values do not meet.", path=path)

    def suggest(self, trial: Any) -> Assignment:
        """Ask an Optuna trial for an assignment, active parameters only. Constraints are not looked at."""
        assignment: Assignment = {}
        for path, distribution, conditions in self._draws:
            if not conditions or _hold(conditions, assignment):
                assignment[path] = distribution.suggest(trial, path)
        return assignment

    def to_optuna_params(self, assignment: Mapping[str, Any]) -> dict[str, Any]:
        """What Optuna stores for `assignment`; what `enqueue_trial` and `FixedTrial` want."""
        self._check_known(assignment)
        return {
            parameter.path: parameter.distribution.to_optuna_value(assignment[parameter.path])
            for parameter in self.parameters
            if parameter.path in assignment
        }

    def from_optuna_params(self, params: Mapping[str, Any]) -> Assignment:
        """The assignment that Optuna stored as `params`. Paths that are not of this space are left out."""
        return {
            parameter.path: parameter.distribution.from_optuna_value(params[parameter.path])
            for parameter in self.parameters
            if parameter.path in params
        }

    # --- checks ---

    def contains(self, assignment: Mapping[str, Any]) -> bool:
        """Whether it has exactly the active parameters, each with a value it can have, and meets all constraints."""
        num_active = 0
        for path, distribution, conditions in self._draws:
            if conditions and not _hold(conditions, assignment):
                continue
            if path not in assignment or not distribution.contains(assignment[path]):
                return False
            num_active += 1
        return num_active == len(assignment) and self.is_allowed(assignment)

    def holds(self, path: str, value: Any) -> bool:
        """Whether the parameter at `path` can have `value`."""
        return path in self._by_path and self._by_path[path].distribution.contains(value)

    def assignment_of(self, document: Mapping[str, Any]) -> Assignment | None:
        """The assignment that makes exactly `document`; None when there is none in this space."""
        assignment: Assignment = {}
        for path, distribution, conditions in self._draws:
            if conditions and not _hold(conditions, assignment):
                continue
            if not has_path(document, path) or not distribution.contains(get_path(document, path)):
                return None
            value = distribution.to_optuna_value(get_path(document, path))
            assignment[path] = distribution.from_optuna_value(value)
        return assignment if self.is_allowed(assignment) and self._completed(assignment) == document else None

    def is_allowed(self, assignment: Mapping[str, Any]) -> bool:
        """Whether all constraints hold."""
        return self.violated(assignment) is None

    def violated(self, assignment: Mapping[str, Any]) -> str | None:
        """The text of the first constraint that does not hold, or None."""
        if not self.constraints:
            return None
        document = self._completed(assignment)
        for constraint in self.constraints:
            if not _is_true(constraint, document):
                return constraint.text
        return None

    # --- the document ---

    def apply(self, assignment: Mapping[str, Any]) -> dict[str, Any]:
        """The trial document: a copy of the base document with `assignment` and the derived values set.

        Raises:
            SpecError: a path is not of this space, or a derived value cannot be computed.
        """
        self._check_known(assignment)
        return deepcopy(self._completed(assignment))

    def _completed(self, assignment: Mapping[str, Any]) -> dict[str, Any]:
        document = with_paths(self._document, assignment)
        for target, expression in self.derive.items():
            try:
                value = expression.evaluate(document)
            except MissingPathError:
                # All names were checked in `parse`: this one belongs to an inactive parameter.
                continue
            except SpecError as error:
                raise error.at(f"derive.{target}") from None
            document = with_paths(document, {target: value})
        return document

    def _check_known(self, assignment: Mapping[str, Any]) -> None:
        for path in assignment:
            if path not in self._by_path:
                raise SpecError(
                    f"`{path}` is not searched.{did_you_mean(path, self._by_path)} Searched: "
                    f"{', '.join(self._by_path) or 'nothing'}."
                )

    def _branches(
        self, index: int, assignment: Assignment, grids: Mapping[str, tuple[Value, ...]]
    ) -> Iterator[Assignment]:
        if index == len(self._draws):
            yield assignment
            return
        path, _, conditions = self._draws[index]
        if conditions and not _hold(conditions, assignment):
            yield from self._branches(index + 1, assignment, grids)
            return
        for value in grids[path]:
            yield from self._branches(index + 1, {**assignment, path: value}, grids)

    def _count(self, index: int, assignment: Assignment, deciding: set[str | None]) -> int:
        if index == len(self._draws):
            return 1
        path, distribution, conditions = self._draws[index]
        if conditions and not _hold(conditions, assignment):
            return self._count(index + 1, assignment, deciding)
        if path in deciding:
            values = _grid_of(self._by_path[path])
            return sum(self._count(index + 1, {**assignment, path: value}, deciding) for value in values)
        # Nothing depends on its value: count the rest once.
        num_values = distribution.num_values
        if num_values is None:
            num_values = len(_grid_of(self._by_path[path]))
        return num_values * self._count(index + 1, assignment, deciding)


def _hold(conditions: tuple[Condition, ...], assignment: Mapping[str, Any]) -> bool:
    return all(condition.holds(assignment) for condition in conditions)


def _grid_of(parameter: Parameter) -> tuple[Value, ...]:
    try:
        return parameter.distribution.grid()
    except SpecError as error:
        raise error.at(f"space.{parameter.path}") from None


def _is_true(constraint: Expression, document: Mapping[str, Any]) -> bool:
    try:
        value = constraint.evaluate(document)
    except MissingPathError:
        # All names were checked in `parse`: this one belongs to an inactive parameter.
        return True
    except SpecError as error:
        raise error.at("constraints") from None
    if not isinstance(value, bool):
        raise SpecError(
            f"a constraint must be true or false, but `{constraint.text}` is {value!r}. Compare it with something, "
            "such as `... <= 8`.",
            path="constraints",
        )
    return value
