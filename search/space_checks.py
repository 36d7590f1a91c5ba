"""Whether each path that varies leads to something, and whether every configuration in the space makes a trial."""

import random
from collections.abc import Iterator
from types import NoneType
from typing import Any

from analysis.wording import show_value
from search.load import models_in
from search.spec import SearchSpec
from search.trial_documents import base_document, errors_in
from spaces.distributions import Choice, Distribution
from spaces.documents import get_path, has_path, overlap, set_path
from spaces.errors import SpecError, did_you_mean
from spaces.space import Space
from trainables.arguments import check_training_name
from trainables.config import DataConfig, ModelConfig, RegularizationConfig, StoppingConfig
from trainables.huggingface import architecture, training_argument_fields
from trainables.model_checks import check_pretrained_field
from trainables.task_sections import FIXED_FOR_A_SEARCH, SECTIONS, section_of

_SECTIONS = {
    "model": ModelConfig, "data": DataConfig, "stopping": StoppingConfig, "regularization": RegularizationConfig,
}  # fmt: skip
_VARYING_SECTIONS = ("model", "data", "training", "stopping", "regularization")
_EXAMPLES = {"model": "config.hidden_size", "data": "max_length", "training": "learning_rate", "config": "seed",
             "stopping": "patience", "regularization": "l1", "preference": "beta", "prompt": "shots"}  # fmt: skip
_SAMPLES_CHECKED = 50


def check_paths(spec: SearchSpec) -> None:
    """Raises SpecError for a path of the space, or of what is derived, that leads nowhere or may not vary."""
    for origin, paths in (("space", list(spec.space)), ("derive", list(spec.derive))):
        for path in paths:
            try:
                _check_path(spec, path)
            except SpecError as error:
                raise SpecError(error.message, path=f"{origin}.{path}") from None


def _check_path(spec: SearchSpec, path: str) -> None:
    section, _, rest = path.partition(".")
    own = section_of(spec.task)
    sections = ("config",) if spec.trainable else (*_VARYING_SECTIONS, *([own] if own else []))
    if section in sections and not rest:
        raise SpecError(f"a whole section cannot vary: name a field of it, such as `{section}.{_EXAMPLES[section]}`.")
    if section not in sections:
        near = did_you_mean(section, sections)
        if not near and spec.task and section in training_argument_fields():
            near = f" Did you mean `training.{path}`?"
        raise SpecError(f"a path starts with {' or '.join(f'`{name}.`' for name in sections)}.{near}")
    if path in FIXED_FOR_A_SEARCH:
        raise SpecError(f"this cannot vary: {FIXED_FOR_A_SEARCH[path]}.")
    if section == "config":
        if not has_path({"config": spec.config}, path):
            raise SpecError(f"`config` has no such entry: give it a default there.{did_you_mean(rest, spec.config)}")
    elif section == "training":
        check_training_name(rest.partition(".")[0])
    elif path.startswith("model.config."):
        _check_model_field(spec, path.removeprefix("model.config."))
    else:
        known = _SECTIONS | {name: section for name, (_, section) in SECTIONS.items()}
        _check_entries(base_document(spec), path)
        _check_typed_path(known[section], rest)


def _check_model_field(spec: SearchSpec, field: str) -> None:
    assert spec.model is not None
    if spec.model.architecture is None:
        check_pretrained_field("", field)
        return
    known = architecture(spec.model.architecture)
    if known is not None and field not in known.fields:
        raise SpecError(
            f"the configuration of `{spec.model.architecture}` has no such field.{did_you_mean(field, known.fields)}"
        )


def _check_entries(document: dict[str, Any], path: str) -> None:
    """A number names an entry of a list, and nothing else does."""
    *sections, _ = (parts := path.split("."))
    for depth, part in enumerate(parts[1:], 1):
        way = ".".join(sections[:depth])
        if not has_path(document, way):
            return  # what stands there is made by the path, or its keys are checked elsewhere
        node = get_path(document, way)
        if isinstance(node, list) and not part.isdecimal():
            raise SpecError(
                f"`{way}` is a list of {len(node)}: name an entry by its number, from 0, such as `{way}.0`."
            )
        if part.isdecimal() and not isinstance(node, list | NoneType):
            raise SpecError(f"`{way}` is no list, so it has no entry {part}.")


def _check_typed_path(model: Any, rest: str) -> None:
    candidates = [model]
    for part in rest.split("."):
        if part.isdecimal() and candidates:
            continue  # an entry of a list; whether there is one is known where the path is set
        known = {name for candidate in candidates for name in candidate.model_fields}
        if not known:
            raise SpecError(f"`{part}` leads too far: what stands before it has no keys.")
        if part not in known:
            raise SpecError(f"there is no `{part}`.{did_you_mean(part, known)} Known here: {', '.join(sorted(known))}.")
        candidates = [
            inner
            for candidate in candidates
            if part in candidate.model_fields
            for inner in models_in(candidate.model_fields[part].annotation)
        ]


def check_candidates(spec: SearchSpec, space: Space) -> None:
    """Every value that a parameter may take must make a valid document, and so must some whole configurations."""
    for parameter in space.parameters:
        for value in edge_values(parameter.distribution):
            document = base_document(spec)
            set_path(document, parameter.path, value)
            for error in errors_in(document):
                # an error elsewhere is not this parameter's: the value may be valid together with others
                if error.path == parameter.path or error.path.startswith(f"{parameter.path}."):
                    raise SpecError(
                        f"a value is not allowed: {_below(parameter.path, error)}", path=f"space.{parameter.path}"
                    )
    generator = random.Random(spec.search.seed)
    for _ in range(_SAMPLES_CHECKED if space.paths else 1):
        assignment = space.sample(generator)
        for error in errors_in(space.apply(assignment)):
            shown = ", ".join(f"{path}={show_value(value)}" for path, value in assignment.items())
            raise SpecError(
                f"the space holds a configuration that cannot work: {error} It has {shown or 'derived values only'}. "
                "Narrow the space, or forbid it by a constraint.",
                path=_blamed(space, error.path),
            )


def _below(path: str, error: SpecError) -> str:
    inside = error.path.removeprefix(path).removeprefix(".")
    return f"{inside}: {error.message}" if inside else error.message


def _blamed(space: Space, path: str) -> str:
    """Where in the spec the value at `path` comes from."""
    for section, paths in (("space", space.paths), ("derive", tuple(space.derive))):
        for known in paths:
            if overlap(known, path):
                return f"{section}.{known}"
    return "space"


def edge_values(distribution: Distribution) -> Iterator[Any]:
    """All values of a choice; the bounds of a range."""
    if isinstance(distribution, Choice):
        yield from distribution.values
        return
    for name in ("low", "high"):
        value = getattr(distribution, name)
        if value is not None:  # a normal distribution may be open
            yield value
