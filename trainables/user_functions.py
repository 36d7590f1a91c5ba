"""Which function `trainable` names, and how it wants to be called. Reads its source; runs nothing of the user's.

A function of one parameter is a Ray Train loop, `train_loop_per_worker(config)`; one of two is ours,
`train(config, report)`. The source alone decides, so that `tunesmith check` stays quick: importing a training module
mostly imports torch. What the source leaves open (a decorator, a name from elsewhere) is decided when a trial starts.
"""

import ast
import importlib.machinery
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spaces.errors import SpecError, did_you_mean

FunctionKind = Literal["own_loop", "ray_train_loop"]
"""`own_loop`: `function(config, report)`. `ray_train_loop`: `function(config)`, which calls `ray.train.report`."""

_CALLED = "A trainable is `function(config, report)`, or a Ray Train loop `function(config)`"
_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True, slots=True)
class UserFunction:
    """What a `trainable` names."""

    module: str
    """Name to import it by."""
    name: str
    """Name of the function in it."""
    file: Path | None = None
    """Where the module lies, when it was given as a file."""

    @staticmethod
    def parse(trainable: str) -> "UserFunction":
        """From `module:function` or `folder/file.py:function`."""
        place, _, name = trainable.rpartition(":")
        if not place.endswith(".py"):
            return UserFunction(module=place, name=name)
        file = Path(place).expanduser()
        return UserFunction(module=file.stem, name=name, file=file)


def kind_of(signature: inspect.Signature) -> FunctionKind:
    """How a function with this signature is called.

    Raises:
        SpecError: it can be called neither way.
    """
    given = signature.parameters.values()
    by_place = [one for one in given if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    needed = [one for one in by_place if one.default is one.empty]
    by_name = [one.name for one in given if one.kind is one.KEYWORD_ONLY and one.default is one.empty]
    is_own = len(needed) == 2 or (len(needed) < 2 <= len(by_place) and by_place[1].name == "report")
    if is_own and not by_name:
        return "own_loop"
    if len(needed) == 1 and not by_name:
        return "ray_train_loop"
    raise SpecError(f"{_CALLED}, but this one takes `{signature}`.")


def check_trainable(trainable: str) -> FunctionKind | None:
    """Find the function in its source. Gives its kind, or None when the source does not tell.

    Raises:
        SpecError: there is no such module or function, it cannot be parsed, or it cannot be called as a trial.
    """
    wanted = UserFunction.parse(trainable)
    source = _source_of(wanted)
    if source is None:
        return None  # a compiled module
    tree = _parsed(source)
    _check_imports(tree, source)
    bound = dict(_bindings(tree.body))
    if wanted.name not in bound:
        if "*" in bound or "__getattr__" in bound:
            return None
        near = did_you_mean(wanted.name, bound)
        raise SpecError(f"module `{wanted.module}` has no function `{wanted.name}`.{near}")
    node = bound[wanted.name]
    if isinstance(node, ast.ClassDef):
        raise SpecError(f"{_CALLED}, but `{wanted.name}` is a class.")
    if isinstance(node, ast.AsyncFunctionDef):
        raise SpecError(f"{_CALLED}, but `{wanted.name}` is asynchronous.")
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return None
    return kind_of(_signature_of(node))


def beside(trainable: str, folder: Path) -> str:
    """`trainable` as a file, where its module lies in `folder`; else as it is."""
    wanted = UserFunction.parse(trainable)
    if wanted.file is not None or not wanted.module.isidentifier():
        return trainable
    file = folder / f"{wanted.module}.py"
    return f"{file.absolute()}:{wanted.name}" if file.is_file() else trainable


def check_name_is_free(wanted: UserFunction) -> None:
    """Whether the file can be imported by its own name.

    Raises:
        SpecError: another module of that name is in use here.
    """
    loaded = sys.modules.get(wanted.module)
    place = getattr(loaded, "__file__", None)
    if wanted.file is None or loaded is None or (place and Path(place).resolve() == wanted.file.resolve()):
        return
    raise SpecError(
        f"`{wanted.file.name}` has the name of another module that is in use ({place or 'built in'}): rename the file."
    )


# --- the module ------------------------------------------------------------------------------------------


def _source_of(wanted: UserFunction) -> Path | None:
    """The module's file, None when it is no Python text. No package above it is imported."""
    if wanted.file is not None:
        if not wanted.file.is_file():
            near = did_you_mean(wanted.file.name, [path.name for path in wanted.file.parent.glob("*.py")])
            raise SpecError(f"there is no file `{wanted.file}`.{near}")
        check_name_is_free(wanted)
        return wanted.file
    found = _find(wanted.module)
    if found is None:
        near = did_you_mean(wanted.module, [path.stem for path in Path.cwd().glob("*.py")])
        raise SpecError(
            f"there is no module `{wanted.module}` beside the spec or in this folder, nor is it installed.{near}"
        )
    return Path(found.origin) if found.origin and found.origin.endswith(".py") else None


def _find(module: str) -> importlib.machinery.ModuleSpec | None:
    top, *inner = module.split(".")
    if not all(part.isidentifier() for part in (top, *inner)):
        return None
    found = importlib.util.find_spec(top)
    for count in range(1, len(inner) + 1):
        if found is None or found.submodule_search_locations is None:
            return None
        # importlib.util.find_spec would import the packages on the way, and with them all that they import.
        name = ".".join((top, *inner[:count]))
        found = importlib.machinery.PathFinder.find_spec(name, found.submodule_search_locations)
    return found


def _parsed(source: Path) -> ast.Module:
    try:
        return ast.parse(source.read_bytes(), filename=str(source))
    except SyntaxError as error:
        raise SpecError(f"`{source.name}` is no valid Python: line {error.lineno}: {error.msg}.") from None
    except ValueError as error:  # null bytes
        raise SpecError(f"`{source.name}` is no valid Python: {error}.") from None


def _check_imports(tree: ast.Module, source: Path) -> None:
    """What the module imports whatever happens must be installed: else every trial would fail."""
    for node in tree.body:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        for top in dict.fromkeys(name.partition(".")[0] for name in names):
            if not (_is_beside(top, source) or top in sys.modules or importlib.util.find_spec(top)):
                raise SpecError(f"`{source.name}` imports `{top}` in line {node.lineno}, which is not installed here.")


def _is_beside(name: str, source: Path) -> bool:
    return (source.parent / f"{name}.py").is_file() or (source.parent / name).is_dir()


# --- the function ----------------------------------------------------------------------------------------


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """The names that a module's statements bind, and what binds them; `*` for a star import."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                yield from ((one.id, node) for one in ast.walk(target) if isinstance(one, ast.Name))
        else:  # if, try, with, for: what stands in them is bound here, too
            for inner in ast.iter_child_nodes(node):
                if isinstance(inner, ast.stmt):
                    yield from _bindings([inner])
                elif isinstance(inner, ast.ExceptHandler):
                    yield from _bindings(inner.body)


def _signature_of(node: _FunctionNode) -> inspect.Signature:
    """The signature as `inspect` would give it; any default stands for all."""
    arguments = node.args
    by_place = [*arguments.posonlyargs, *arguments.args]
    first_default = len(by_place) - len(arguments.defaults)
    parameters = [
        inspect.Parameter(
            one.arg,
            inspect.Parameter.POSITIONAL_ONLY if index < len(arguments.posonlyargs)
            else inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=... if index >= first_default else inspect.Parameter.empty,
        )
        for index, one in enumerate(by_place)
    ]  # fmt: skip
    if arguments.vararg:
        parameters.append(inspect.Parameter(arguments.vararg.arg, inspect.Parameter.VAR_POSITIONAL))
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters.append(
            inspect.Parameter(
                one.arg, inspect.Parameter.KEYWORD_ONLY, default=inspect.Parameter.empty if default is None else ...
            )
        )
    if arguments.kwarg:
        parameters.append(inspect.Parameter(arguments.kwarg.arg, inspect.Parameter.VAR_KEYWORD))
    return inspect.Signature(parameters)
