"""Learning-rate schedules by name: which there are and what arguments they take, read from transformers' source."""

import ast
from collections.abc import Mapping
from functools import cache
from typing import Any

from spaces.errors import SpecError, did_you_mean
from trainables.arguments import has_type, type_in_words
from trainables.huggingface import Field, transformers_directory

_GIVEN = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "self", "mode"}
# Classes whose arguments are not spelled out by transformers' function.
_PLATEAU = {
    "factor": "float", "patience": "int", "threshold": "float", "threshold_mode": "str", "cooldown": "int",
    "min_lr": "float", "eps": "float",
}  # fmt: skip
# Arguments that a schedule cannot do without: one of each group.
_NEEDED = {
    "warmup_stable_decay": ("num_decay_steps",),
    "cosine_with_min_lr": ("min_lr", "min_lr_rate"),
    "cosine_warmup_with_min_lr": ("min_lr", "min_lr_rate"),
}


@cache
def schedule_arguments() -> dict[str, dict[str, Field]]:
    """The arguments of every schedule that transformers knows, by the name in `lr_scheduler_type`."""
    tree = ast.parse((transformers_directory() / "optimization.py").read_text("utf-8"))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    names = _schedule_names()
    found = {}
    for member, function in _members_to_functions(tree).items():
        name = names[member]
        found[name] = _arguments(functions[function])
        if name == "reduce_lr_on_plateau":
            found[name] = {key: Field(name=key, annotation=kind, default=None) for key, kind in _PLATEAU.items()}
        elif name == "greedy":
            greedy = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "GreedyLR")
            init = next(n for n in greedy.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
            found[name] = _arguments(init)
        elif name == "constant_with_warmup":
            found[name] = {}  # `get_scheduler` hands it none
    return found


def check_schedule(section: Mapping[str, Any]) -> None:
    """Raise SpecError when `lr_scheduler_kwargs` does not fit `lr_scheduler_type`."""
    name = section.get("lr_scheduler_type", "linear")
    given = section.get("lr_scheduler_kwargs") or {}
    if name not in schedule_arguments():
        return  # said elsewhere
    if isinstance(given, str):
        raise SpecError("write the arguments as a mapping.", path="lr_scheduler_kwargs")
    known = schedule_arguments()[name]
    for argument, value in given.items():
        path = f"lr_scheduler_kwargs.{argument}"
        if argument not in known:
            takes = f"It takes {', '.join(sorted(known))}." if known else "It takes none."
            raise SpecError(
                f"the schedule `{name}` has no such argument.{did_you_mean(argument, known)} {takes}", path=path
            )
        if not has_type(value, known[argument].annotation):
            raise SpecError(f"expected {type_in_words(known[argument].annotation)}, but got {value!r}.", path=path)
    needed = _NEEDED.get(name, ())
    if needed and not any(argument in given for argument in needed):
        words = " or ".join(f"`{argument}`" for argument in needed)
        raise SpecError(f"the schedule `{name}` needs {words}.", path="lr_scheduler_kwargs")


def _schedule_names() -> dict[str, str]:
    """`COSINE` -> `cosine`."""
    tree = ast.parse((transformers_directory() / "trainer_utils.py").read_text("utf-8"))
    node = next(each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == "SchedulerType")
    return {
        statement.targets[0].id: str(statement.value.value)
        for statement in node.body
        if isinstance(statement, ast.Assign)
        and isinstance(statement.targets[0], ast.Name)
        and isinstance(statement.value, ast.Constant)
    }


def _members_to_functions(tree: ast.Module) -> dict[str, str]:
    """`COSINE` -> `get_cosine_schedule_with_warmup`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "TYPE_TO_SCHEDULER_FUNCTION":
            assert isinstance(node.value, ast.Dict)
            return {
                key.attr: value.id
                for key, value in zip(node.value.keys, node.value.values, strict=True)
                if isinstance(key, ast.Attribute) and isinstance(value, ast.Name)
            }
    raise AssertionError("transformers has a table of schedules")


def _arguments(function: ast.FunctionDef) -> dict[str, Field]:
    arguments = [*function.args.args, *function.args.kwonlyargs]
    return {
        each.arg: Field(
            name=each.arg, annotation=ast.unparse(each.annotation) if each.annotation else "float", default=None
        )
        for each in arguments
        if each.arg not in _GIVEN
    }
