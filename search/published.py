"""The baseline of a confirmation: the best point of a preset's published grid by validation, or the untuned spec.

The grid is a search of its own, in a folder beside the confirmations, and is run once. Knows no test split.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from analysis.kept import place_of
from analysis.records import SearchFiles
from search.confirmation_sections import ConfirmedConfiguration
from search.load import RECORDED, validate
from search.plan import Plan
from search.recorded_spec import resolved_spec
from search.spec import SearchSpec
from search.stages import run_stage
from search.storage import moved
from search.trial_documents import base_document
from search.yaml_text import parse_yaml
from spaces.documents import set_path
from spaces.errors import SpecError
from spaces.presets import Preset, all_presets

UNTUNED, PUBLISHED = "untuned spec", "published grid"


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What the search's winner is measured against."""

    configuration: ConfirmedConfiguration | None
    """None when it could not be made; `notes` say why."""
    notes: tuple[str, ...] = ()
    """What a reader should know of it."""
    was_interrupted: bool = False
    """Whether the user stopped it before its end."""


def make_baseline(plan: Plan, *, address: str | None, console: Console) -> Baseline:
    """The baseline of a search, which takes a search of the published grid where its spec names a preset."""
    preset = _preset_of(plan.files)
    points = published_points(preset, plan) if preset is not None else []
    if preset is None or not points:
        return Baseline(configuration=untuned(plan))
    paths = sorted({path for point in points for path in point})
    console.print(
        f"the published values of {preset.name}: {len(points)} configurations of {', '.join(paths)}",
        style="bold", highlight=False, soft_wrap=True,
    )  # fmt: skip
    outcome = run_stage(published_spec(plan, points), address=address, console=console)
    if outcome.was_interrupted:
        return Baseline(configuration=None, was_interrupted=True)
    best = outcome.record.best
    if best is None:
        note = f"none of the published configurations of `{preset.name}` came to an end: the baseline is the {UNTUNED}"
        return Baseline(configuration=untuned(plan), notes=(note,))
    values = best.values or (best.value,)
    searched = {each.name: value for each, value in zip(plan.spec.objectives, values, strict=True) if value is not None}
    fixed = [path for path in _published_paths(preset) if path not in paths]
    notes = [f"the published grid is that of `{preset.name}`; its best of {len(points)} by validation is the baseline"]
    if fixed:
        notes[0] += f" ({', '.join(fixed)} as the spec has it)"
    return Baseline(
        configuration=ConfirmedConfiguration(
            name=PUBLISHED,
            kind="published",
            params=best.params,
            searched=searched,
            document=recorded_document(outcome.files, best.number),
        ),
        notes=tuple(notes),
    )


def untuned(plan: Plan) -> ConfirmedConfiguration:
    """The spec as it stands: what one would have trained without a search."""
    return ConfirmedConfiguration(name=UNTUNED, kind="base", document=base_document(plan.spec))


def published_points(preset: Preset, plan: Plan) -> list[dict[str, Any]]:
    """All that was published: the grid, or else the points, of what the search varies. A value that the spec fixes
    itself stays."""
    if preset.grid:
        points: list[dict[str, Any]] = [{}]
        for path, values in preset.grid.items():
            if path in plan.space.paths:
                points = [point | {path: value} for point in points for value in values]
    elif isinstance(preset.points, str):
        points = [guess.point for guess in plan.first_guesses() or []]
    else:
        points = [dict(point) for point in preset.points]
    searched = [{path: value for path, value in point.items() if path in plan.space.paths} for point in points]
    return [point for index, point in enumerate(searched) if point and point not in searched[:index]]


def published_spec(plan: Plan, points: list[dict[str, Any]]) -> SearchSpec:
    """A search of `points`, each trained to its end as the trials of the search are."""
    spec = plan.spec
    values: dict[str, list[Any]] = {}
    for point in points:
        for path, value in point.items():
            if value not in values.setdefault(path, []):
                values[path].append(value)
    raw = json.loads(json.dumps(resolved_spec(spec)))
    raw |= {
        "name": f"{spec.name}-published"[-100:],
        "storage": moved(raw.get("storage"), place_of(plan.files)),
        "space": {path: {"choice": found} for path, found in values.items()},
        "search": {
            "metric": list(spec.search.metric) if isinstance(spec.search.metric, tuple) else spec.search.metric,
            "mode": list(spec.search.mode) if isinstance(spec.search.mode, tuple) else spec.search.mode,
            "algorithm": "random",
            "trials": len(points),
            "start_from": points,
            "seeds": spec.search.seeds,
        },
    }
    raw.pop("constraints", None)  # the published values as they are
    if spec.search.cross_validation is not None:
        raw["search"]["cross_validation"] = spec.search.cross_validation.model_dump(exclude_none=True)
    set_path(raw, "checkpoints.keep", 0)
    try:
        return validate(raw)
    except SpecError as error:
        raise _cannot(error) from None


def recorded_document(files: SearchFiles, number: int) -> dict[str, Any]:
    """What trial `number` was trained by."""
    document: dict[str, Any] = parse_yaml(files.trial(number).document.read_text("utf-8"))[0]["document"]
    return document


def _preset_of(files: SearchFiles) -> Preset | None:
    recorded: Mapping[str, Any] = parse_yaml(files.spec.read_text("utf-8"))[0].get(RECORDED, {})
    return all_presets().get(str(recorded.get("preset")))


def _published_paths(preset: Preset) -> list[str]:
    if preset.grid:
        return list(preset.grid)
    return [] if isinstance(preset.points, str) else sorted({path for point in preset.points for path in point})


def _cannot(error: SpecError) -> SpecError:
    return SpecError(f"the published grid cannot be run beside this search ({error}). Leave it out: `--no-baseline`.")
