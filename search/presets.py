"""`space: {preset: NAME}` -> the preset's ranges, settings and points, where the spec does not say otherwise.

Looked up once, when the spec is loaded: what is recorded is the space that it stands for, so that a later version of a
preset changes no search that began. Knows no search, no study and no training.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from search.spec import DEFAULT_TRIALS, SearchSpec
from spaces.documents import has_path, overlap, set_path
from spaces.errors import SpecError
from spaces.parameters import parse_parameter
from spaces.presets import SCALING_LAWS, Preset, all_presets, preset_named
from spaces.space import Space
from trainables.huggingface import RECURRENT, model_types_with_head
from trainables.places import resolve_pretrained
from trainables.sizes import has_known_size

_KEY = "preset"
_WHERE = f"space.{_KEY}"
_LORA = "lora"


@dataclass(frozen=True, kw_only=True, slots=True)
class AppliedPreset:
    """What a preset has given to a spec."""

    name: str
    """Its name."""
    settings: dict[str, Any]
    """Dotted path -> the value that it set."""
    left_out: tuple[str, ...]
    """Paths of it that the spec has an own say on."""
    num_points: int
    """Points of it that are tried first."""


def apply_preset(raw: dict[str, Any]) -> AppliedPreset | None:
    """Write out the preset that `raw` names, in place; None when it names none. What `raw` says itself stays.

    An entry of its own wins over the preset's, a fixed value in a section takes its path out of the space, and so does
    null as the entry.

    Raises:
        SpecError: there is no such preset, or it is for other tasks or models.
    """
    space = raw.get("space")
    if not isinstance(space, dict) or _KEY not in space:
        return None
    try:
        preset = preset_named(space.pop(_KEY))
        _check_task(preset, raw)
        _check_model(preset, raw)
    except SpecError as error:
        raise error.at(_WHERE) from None
    own = [str(path) for path in (*space, *(raw.get("derive") or {}))]
    asked = {path: entry for path, entry in space.items() if entry is not None}
    left_out = {path for path in (*preset.settings, *preset.space, *preset.derive) if _is_own(path, own, raw)}
    for group in preset.together:
        left_out |= set(group) if left_out.intersection(group) else set()
    raw["space"] = {path: entry for path, entry in preset.space.items() if path not in left_out} | asked
    settings = {path: value for path, value in preset.settings.items() if path not in left_out}
    for path, value in settings.items():
        set_path(raw, path, value)
    derive = {path: value for path, value in preset.derive.items() if path not in left_out}
    if derive:
        raw["derive"] = derive | (raw.get("derive") or {})
    return AppliedPreset(
        name=preset.name,
        settings=settings,
        left_out=tuple(path for path in (*preset.settings, *preset.space, *preset.derive) if path in left_out),
        num_points=_add_points(preset, raw),
    )


def _is_own(path: str, own: list[str], raw: Mapping[str, Any]) -> bool:
    return has_path(raw, path) or any(overlap(path, other) for other in own)


def _add_points(preset: Preset, raw: dict[str, Any]) -> int:
    """The preset's points become `search.start_from`, unless the spec has its own, if only an empty list."""
    search = raw.setdefault("search", {})
    if not isinstance(search, dict) or "start_from" in search:
        return 0
    if preset.points == SCALING_LAWS:
        searched = "training.learning_rate" in raw["space"]
        if searched and has_known_size(str((raw.get("model") or {}).get("architecture"))):
            search["start_from"] = SCALING_LAWS
        return 0
    trials = search.get("trials")
    points = _fitting(preset, raw["space"])[: trials if isinstance(trials, int) else DEFAULT_TRIALS]
    if points:
        search["start_from"] = points
    return len(points)


def _fitting(preset: Preset, space: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Points without what does not vary; those that the space does not hold are left out."""
    try:
        distributions = {path: parse_parameter(path, entry).distribution for path, entry in space.items()}
    except SpecError:
        return []  # the check of the space says what is wrong
    fitting: list[dict[str, Any]] = []
    for point in preset.points:
        assert not isinstance(point, str)
        searched = {path: value for path, value in point.items() if path in distributions}
        is_held = all(distributions[path].contains(value) for path, value in searched.items())
        if searched and is_held and searched not in fitting:
            fitting.append(searched)
    return fitting


def without_forbidden_points(spec: SearchSpec, space: Space) -> SearchSpec:
    """`spec`, whose first points are a preset's, without those that its own constraints and conditions forbid."""
    if isinstance(spec.search.start_from, str):
        return spec
    allowed = tuple(point for point in spec.search.start_from if _is_allowed(point, space))
    return spec.model_copy(update={"search": spec.search.model_copy(update={"start_from": allowed})})


def _is_allowed(point: Mapping[str, Any], space: Space) -> bool:
    try:
        space.complete(point, Random(0))
    except SpecError:
        return False
    return True


# --- whether it fits ---------------------------------------------------------------------------------------


def _check_task(preset: Preset, raw: Mapping[str, Any]) -> None:
    if "trainable" in raw:
        raise SpecError(f"`{preset.name}` is for a `task`; what a `trainable` calls its parameters only you know.")
    task = raw.get("task")
    if isinstance(task, str) and task not in preset.tasks:
        raise SpecError(f"`{preset.name}` is for {' and '.join(preset.tasks)}, but the task is {task}.{_others(task)}")


def _others(task: str) -> str:
    names = [f"`{preset.name}`" for preset in all_presets().values() if task in preset.tasks]
    return f" For this task: {', '.join(names)}." if names else " There is none for this task."


def _check_model(preset: Preset, raw: Mapping[str, Any]) -> None:
    model = raw.get("model")
    if not isinstance(model, dict):
        return
    pretrained, architecture = model.get("pretrained"), model.get("architecture")
    given = f"pretrained `{pretrained}`" if pretrained else f"`{architecture}` from scratch"
    wanted = f"`{preset.name}` is for {preset.models_in_words}"
    if (pretrained is None) == (architecture is None):
        return  # the check of the section says what is wrong
    if (preset.start == "pretrained") != (pretrained is not None):
        raise SpecError(f"{wanted}, but the model is {given}.")
    if model.get("adapter") is not None and not preset.adapter:
        raise SpecError(
            f"`{preset.name}` trains all weights, which wants far lower learning rates than `model.adapter`: leave "
            "one of them out."
        )
    method = adapter.get("method", _LORA) if isinstance(adapter := model.get("adapter"), dict) else _LORA
    if preset.adapter and method != _LORA:
        raise SpecError(f"`{preset.name}` is for `{_LORA}`, but the method of `model.adapter` is `{method}`.")
    kind = str(architecture) if architecture is not None else _pretrained_type(str(pretrained))
    if kind and not _is_of_kind(kind, preset.models):
        raise SpecError(f"{wanted}, but {given} is a {kind}.")


def _is_of_kind(model_type: str, models: str | tuple[str, ...]) -> bool:
    if not isinstance(models, str):
        return model_type in models
    if models == "recurrent":
        return model_type in RECURRENT
    if model_type in RECURRENT:
        return False
    return model_type in model_types_with_head("MASKED_LM" if models == "encoder" else "CAUSAL_LM")


def _pretrained_type(place: str) -> str:
    """The model type of a checkpoint that lies here; empty when that is not known yet."""
    try:
        file = Path(resolve_pretrained(place)) / "config.json"
        return str(json.loads(file.read_text("utf-8")).get("model_type", ""))
    except (SpecError, OSError, ValueError):
        return ""  # a hub id, a GGUF file, or nothing at all: said elsewhere
