"""Published ranges and starting points by kind of model and task, each with its source. Knows no spec and no trial.

A preset is a file in the folder `presets` beside this one. What is practice, and no paper's, is marked so there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from spaces.errors import SpecError, did_you_mean

SCALING_LAWS: Final = "scaling_laws"
"""In place of points: first guesses are computed from the size of the model and of its data."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where something in a preset comes from."""

    says: str
    """What was taken from it."""
    paper: str = ""
    """Authors, year and title. Empty: it is practice, and no paper's."""
    place: str = ""
    """Section or table of the paper."""

    def to_json(self) -> dict[str, str]:
        """As `presets --json` has it."""
        if not self.paper:
            return {"practice": self.says}
        return {"paper": self.paper, "place": self.place, "says": self.says}


@dataclass(frozen=True, kw_only=True, slots=True)
class Preset:
    """A space that others have published for a kind of training."""

    name: str
    """As in `space: {preset: NAME}`."""
    summary: str
    """What it is for, in one sentence."""
    tasks: tuple[str, ...]
    """The tasks that it fits."""
    start: Literal["pretrained", "scratch"]
    """What the model starts from."""
    models: str | tuple[str, ...]
    """`encoder`, `causal` or `recurrent`, or names of model types."""
    adapter: bool
    """Whether an adapter is trained instead of all weights."""
    sources: tuple[Source, ...]
    """Where it comes from."""
    settings: Mapping[str, Any]
    """Dotted path -> the value that goes with the ranges."""
    together: tuple[tuple[str, ...], ...]
    """Settings that make sense together only: who sets one, leaves out the others of its group."""
    space: Mapping[str, Any]
    """Dotted path -> distribution, as in a spec."""
    derive: Mapping[str, str]
    """Dotted path -> expression, as in a spec."""
    grid: Mapping[str, tuple[Any, ...]]
    """Dotted path -> the values that were published."""
    points: tuple[Mapping[str, Any], ...] | Literal["scaling_laws"]
    """What is tried first: the default point, then others."""

    def to_json(self) -> dict[str, Any]:
        """The documented form of `presets --json`."""
        return {
            "name": self.name,
            "summary": self.summary,
            "tasks": list(self.tasks),
            "start": self.start,
            "models": self.models if isinstance(self.models, str) else list(self.models),
            "adapter": self.adapter,
            "sources": [source.to_json() for source in self.sources],
            "set": dict(self.settings),
            "space": dict(self.space),
            "derive": dict(self.derive),
            "grid": {path: list(values) for path, values in self.grid.items()},
            "points": self.points if isinstance(self.points, str) else [dict(point) for point in self.points],
        }

    @property
    def models_in_words(self) -> str:
        """What kind of model it is for."""
        kinds = {"encoder": "an encoder such as BERT", "causal": "a decoder such as GPT-2 or Llama",
                 "recurrent": "an rnn, lstm or gru"}  # fmt: skip
        kind = kinds[self.models] if isinstance(self.models, str) else " or ".join(self.models)
        origin = "pretrained" if self.start == "pretrained" else "from scratch"
        return f"{kind}, {origin}{', with an adapter' if self.adapter else ''}"


@cache
def all_presets() -> dict[str, Preset]:
    """Name -> preset, by name."""
    found = files("spaces").joinpath("presets")
    names = sorted(Path(entry.name).stem for entry in found.iterdir() if entry.name.endswith(".yaml"))
    return {name: _read(name, found.joinpath(f"{name}.yaml").read_text("utf-8")) for name in names}


def preset_named(name: Any) -> Preset:
    """The preset called `name`.

    Raises:
        SpecError: there is none.
    """
    known = all_presets()
    if isinstance(name, list | tuple):
        raise SpecError("one preset makes one space: name one, and write further entries beside it.")
    if not isinstance(name, str) or name not in known:
        raise SpecError(
            f"there is no preset `{name}`.{did_you_mean(str(name), known)} Known: {', '.join(known)}. "
            "`tunesmith presets` explains them."
        )
    return known[name]


def _read(name: str, text: str) -> Preset:
    given = yaml.safe_load(text)
    models, points = given["models"], given["points"]
    return Preset(
        name=name,
        summary=given["summary"],
        tasks=tuple(given["tasks"]),
        start=given["start"],
        models=models if isinstance(models, str) else tuple(models),
        adapter=given.get("adapter", False),
        sources=tuple(_source(entry) for entry in given["sources"]),
        settings=given.get("set", {}),
        together=tuple(tuple(group) for group in given.get("together", ())),
        space=given["space"],
        derive=given.get("derive", {}),
        grid={path: tuple(values) for path, values in given.get("grid", {}).items()},
        points=SCALING_LAWS if points == SCALING_LAWS else tuple(points),
    )


def _source(entry: Mapping[str, str]) -> Source:
    if "practice" in entry:
        return Source(says=entry["practice"])
    return Source(paper=entry["paper"], place=entry["place"], says=entry["says"])
