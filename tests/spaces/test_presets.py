"""Presets: each is a space by itself, its points lie in it and on the published grid, and each thing has a source."""

import pytest

from spaces.documents import set_path
from spaces.errors import SpecError
from spaces.parameters import parse_parameter
from spaces.presets import Preset, all_presets, preset_named
from spaces.space import Space

PRESETS = list(all_presets().values())
NAMES = [preset.name for preset in PRESETS]


def space_of(preset: Preset) -> Space:
    document: dict[str, object] = {}
    for path in (*preset.space, *preset.derive, *preset.settings):
        set_path(document, path, None)
    return Space.parse(preset.space, derive=preset.derive, document=document)


@pytest.mark.parametrize("preset", PRESETS, ids=NAMES)
def test_the_points_of_a_preset_lie_in_its_space(preset: Preset) -> None:
    space = space_of(preset)
    assert isinstance(preset.points, str) or all(space.contains(dict(point)) for point in preset.points)


@pytest.mark.parametrize("preset", PRESETS, ids=NAMES)
def test_the_points_of_a_preset_are_values_that_were_published(preset: Preset) -> None:
    points = () if isinstance(preset.points, str) else preset.points
    assert all(value in preset.grid[path] for point in points for path, value in point.items())


@pytest.mark.parametrize("preset", PRESETS, ids=NAMES)
def test_the_published_values_lie_in_the_ranges(preset: Preset) -> None:
    for path, values in preset.grid.items():
        distribution = parse_parameter(path, preset.space[path]).distribution
        assert all(distribution.contains(value) for value in values)


@pytest.mark.parametrize("preset", PRESETS, ids=NAMES)
def test_a_preset_names_a_paper_and_the_place_in_it(preset: Preset) -> None:
    papers = [source for source in preset.sources if source.paper]
    assert papers
    assert all("arXiv" in source.paper and source.place and source.says for source in papers)


@pytest.mark.parametrize("preset", PRESETS, ids=NAMES)
def test_nothing_in_a_preset_is_both_set_and_searched(preset: Preset) -> None:
    assert not {*preset.settings} & {*preset.space}
    assert not {*preset.derive} & {*preset.space, *preset.settings}


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(SpecError, match=r"no preset `bert-finetun`.*Did you mean `bert-finetune`"):
        preset_named("bert-finetun")


def test_a_list_of_presets_is_refused() -> None:
    with pytest.raises(SpecError, match="name one"):
        preset_named(["bert-finetune", "lora-finetune"])
