"""Safe arithmetic for `constraints` and `derive`: text -> value, given a document. Knows no distributions.

An expression is read once and checked against a short list of what it may hold; simpleeval then walks it. Dotted
paths become plain names before that, so there is no attribute access to be clever with, and no `eval`.
"""

import ast
import math
import operator
import reprlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

from simpleeval import EvalWithCompoundTypes, InvalidExpression

from spaces.documents import all_paths, get_path, has_path, same_value
from spaces.errors import SpecError, did_you_mean

_MAX_POWER_BITS = 4096
_MAX_TEXT = 2000
_CONSTANTS = {"true": True, "false": False, "null": None}
"""As YAML writes them; Python's own `True`, `False`, `None` are understood too."""


class MissingPathError(SpecError):
    """An expression needed a path that the document does not have."""


class Expression:
    """One line of arithmetic over dotted paths. Equal texts are equal expressions."""

    def __init__(self, text: str) -> None:
        """Read `text`.

        Raises:
            SpecError: it is no expression, or uses something that is not allowed.
        """
        self.text = text
        reader = _Reader(text)
        self._tree = _read(text, reader)
        self.names: tuple[str, ...] = tuple(dict.fromkeys(reader.names))
        """The dotted paths it uses, in order of appearance."""
        self._evaluator = EvalWithCompoundTypes(operators=_OPERATORS, functions=dict(_FUNCTIONS), names={})
        # The evaluator holds the names of the evaluation that is going on.
        self._lock = threading.Lock()

    def evaluate(self, document: Mapping[str, Any]) -> Any:
        """The value, with paths looked up in `document`. Only the branch taken by and, or, if is looked at.

        Raises:
            MissingPathError: the document lacks a path that is needed.
            SpecError: the arithmetic fails (division by zero, null or text in arithmetic, too large a number).
        """
        with self._lock:
            self._evaluator.names = _Names(document, self.text)
            try:
                value = self._evaluator.eval(self.text, previously_parsed=self._tree)
            except SpecError:
                raise
            except (InvalidExpression, ArithmeticError, ValueError, TypeError, RecursionError) as error:
                raise SpecError(f"`{self.text}` cannot be computed: {error}{self._values(document)}.") from None
            finally:
                self._evaluator.names = {}
        if isinstance(value, float) and math.isnan(value):
            raise SpecError(f"`{self.text}` is not a number{self._values(document)}.")
        return value

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type["Expression"], tuple[str]]:
        return Expression, (self.text,)

    def _values(self, document: Mapping[str, Any]) -> str:
        shown = [
            f"{name}={reprlib.repr(get_path(document, name))}" if has_path(document, name) else f"{name} missing"
            for name in self.names
        ]
        return f", with {', '.join(shown)}" if shown else ""


class _Names:
    """What simpleeval looks names up in: each name is a whole dotted path."""

    def __init__(self, document: Mapping[str, Any], text: str) -> None:
        self._document = document
        self._text = text

    def __getitem__(self, name: str) -> Any:
        if not has_path(self._document, name):
            raise MissingPathError(
                f"`{self._text}` uses `{name}`, which the document does not have."
                f"{did_you_mean(name, all_paths(self._document))}"
            )
        return get_path(self._document, name)


def _read(text: str, reader: "_Reader") -> ast.AST:
    if not isinstance(text, str):
        raise SpecError(
            f"an expression is a text such as `training.max_steps >= 10`, but got {text!r}. Put it in quotes."
        )
    if not text.strip():
        raise SpecError("an expression is a text such as `training.max_steps >= 10`, but got an empty one.")
    if len(text) > _MAX_TEXT:
        raise SpecError(f"an expression may have {_MAX_TEXT} characters, but got {len(text)}. Split it.")
    try:
        tree: ast.AST = reader.visit(ast.parse(text.strip(), mode="eval").body)
        return tree
    except SpecError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        hint = " Equality is written `==`." if "=" in text and "==" not in text else ""
        raise SpecError(f"`{text}` is no expression: {reason}.{hint}") from None


class _Reader(ast.NodeTransformer):
    """Refuses all but arithmetic, turns dotted paths into single names and collects them."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.names: list[str] = []

    def visit(self, node: ast.AST) -> Any:
        """`node` made ready for simpleeval."""
        if isinstance(node, ast.Name | ast.Attribute):
            return self._path(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Constant):
            if not isinstance(node.value, bool | int | float | str | None):
                raise self._refusal(f"`{ast.unparse(node)}`")
            return node
        if not isinstance(node, _ALLOWED):
            raise self._refusal(f"`{ast.unparse(node)}`" if isinstance(node, ast.expr) else type(node).__name__)
        return self.generic_visit(node)

    def _path(self, node: ast.Name | ast.Attribute) -> ast.AST:
        keys: list[str] = []
        base: ast.AST = node
        while isinstance(base, ast.Attribute):
            keys.append(base.attr)
            base = base.value
        if not isinstance(base, ast.Name):
            raise self._refusal(f"`{ast.unparse(node)}`")
        path = ".".join([base.id, *reversed(keys)])
        if path in _CONSTANTS:
            return ast.copy_location(ast.Constant(_CONSTANTS[path]), node)
        self.names.append(path)
        return ast.copy_location(ast.Name(id=path, ctx=ast.Load()), node)

    def _call(self, node: ast.Call) -> ast.AST:
        if not isinstance(node.func, ast.Name) or node.func.id not in _FUNCTIONS:
            name = ast.unparse(node.func)
            raise SpecError(
                f"`{self._text}` calls `{name}`, which is not known.{did_you_mean(name, _FUNCTIONS)} "
                f"Known functions: {', '.join(_FUNCTIONS)}."
            )
        if node.keywords:
            raise self._refusal("named arguments")
        node.args = [self.visit(argument) for argument in node.args]
        return node

    def _refusal(self, what: str) -> SpecError:
        return SpecError(
            f"`{self._text}` uses {what}, but an expression may hold only numbers, texts, dotted paths, arithmetic, "
            f"comparisons, `and`, `or`, `not`, `in`, `a if b else c` and the functions {', '.join(_FUNCTIONS)}."
        )


_ALLOWED = (
    ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.List, ast.Tuple, ast.Load,
    ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow, ast.USub, ast.UAdd,
    ast.And, ast.Or, ast.Not, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot,
)  # fmt: skip


# --- operators and functions -----------------------------------------------------------------------------


def _need_number(value: Any) -> None:
    if not isinstance(value, int | float):
        shown = "null" if value is None else repr(value)
        raise TypeError(f"arithmetic needs numbers, but one of them is {shown}")


def _arithmetic(compute: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*values: Any) -> Any:
        for value in values:
            _need_number(value)
        return compute(*values)

    return checked


def _power(base: float, exponent: float) -> Any:
    # Floats overflow by themselves; whole numbers would grow until the memory is full.
    if isinstance(base, int) and isinstance(exponent, int) and abs(exponent) * base.bit_length() > _MAX_POWER_BITS:
        raise OverflowError(f"{base} ** {exponent} is too large")
    value = base**exponent
    if isinstance(value, complex):
        raise ValueError(f"{base} ** {exponent} is no real number")
    return value


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def checked(left: Any, right: Any) -> bool:
        if left is None or right is None:
            raise TypeError("null cannot be compared by size; ask `== null` first (`a == null or a < b`)")
        try:
            return compare(left, right)
        except TypeError:
            raise TypeError(f"{left!r} and {right!r} cannot be compared by size") from None

    return checked


def _differ(left: Any, right: Any) -> bool:
    return not same_value(left, right)


def _contains(item: Any, collection: Any) -> bool:
    if collection is None or isinstance(collection, bool | int | float):
        raise TypeError(f"`in` needs a list on its right, such as `in [1, 2]`, but got {collection!r}")
    if isinstance(collection, str):
        return item in collection
    return any(same_value(item, one) for one in collection)


def _round(value: float, digits: int = 0) -> float:
    if abs(digits) > 100:
        raise ValueError(f"round to {digits} digits is out of reach")
    # Python's `round(x)` gives an int, `round(x, 0)` a float.
    return round(value, digits) if digits else round(value)


def _int(value: Any) -> int:
    if value is None:
        raise TypeError("int needs a number, but got null")
    return int(value)


def _float(value: Any) -> float:
    if value is None:
        raise TypeError("float needs a number, but got null")
    return float(value)


def _extreme(choose: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*values: Any) -> Any:
        found = values[0] if len(values) == 1 and isinstance(values[0], list | tuple) else values
        for value in found:
            _need_number(value)
        return choose(found)

    return checked


_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: _arithmetic(operator.add),
    ast.Sub: _arithmetic(operator.sub),
    ast.Mult: _arithmetic(operator.mul),
    ast.Div: _arithmetic(operator.truediv),
    ast.FloorDiv: _arithmetic(operator.floordiv),
    ast.Mod: _arithmetic(operator.mod),
    ast.Pow: _arithmetic(_power),
    ast.USub: _arithmetic(operator.neg),
    ast.UAdd: _arithmetic(operator.pos),
    ast.Not: operator.not_,
    ast.Eq: same_value,
    ast.NotEq: _differ,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: _contains,
    ast.NotIn: lambda item, collection: not _contains(item, collection),
    # `x is None`; for numbers, identity would be a trap.
    ast.Is: same_value,
    ast.IsNot: _differ,
}

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": _extreme(min),
    "max": _extreme(max),
    "abs": _arithmetic(abs),
    "round": _arithmetic(_round),
    "floor": _arithmetic(math.floor),
    "ceil": _arithmetic(math.ceil),
    "sqrt": _arithmetic(math.sqrt),
    "log": _arithmetic(math.log),
    "log2": _arithmetic(math.log2),
    "exp": _arithmetic(math.exp),
    "int": _int,
    "float": _float,
}
