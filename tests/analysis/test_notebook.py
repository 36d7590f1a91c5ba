"""The notebook object, over a search that was recorded on disk."""

import re
from pathlib import Path
from typing import Any

import pytest
from recorded_searches import Session, planned

from analysis import load
from spaces.errors import SpecError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of sixteen trials, recorded without training."""
    return _recorded(tmp_path_factory.mktemp("notebook"))


def _recorded(place: Path, **sections: Any) -> Path:
    session = Session(planned(place, **sections))
    for _ in range(16):
        number = session.start()
        (value,) = session.record.trials[number].params.values()
        session.train_on(number, 0.5 + value, first=1, length=4)  # the parameter matters
    return session.files.path


def test_trials_are_a_frame_with_a_row_a_trial(folder: Path) -> None:
    search = load(folder)
    frame = search.trials
    assert list(frame.index) == [trial.number for trial in search.record.trials]
    assert search.best is not None
    assert frame.loc[search.best.number, "rank"] == 1
    assert frame.loc[search.best.number, "config.x"] == search.best.params["config.x"]


def test_the_leaderboard_is_filtered_and_sorted_as_on_the_command_line(folder: Path) -> None:
    search = load(str(folder))
    frame = search.leaderboard(where="value < 10", sort="-config.x", top=2)
    assert len(frame) == 2
    assert list(frame["config.x"]) == sorted(search.trials["config.x"], reverse=True)[:2]


def test_a_history_is_a_frame_of_logged_rows(folder: Path) -> None:
    assert "loss" in load(folder).history(0).columns
    with pytest.raises(SpecError, match="no trial 99"):
        load(folder).history(99)


def test_a_search_is_shown_by_its_best_trials(folder: Path) -> None:
    assert "16 trials" in repr(load(folder))
    assert "<table" in load(folder)._repr_html_()


def test_every_plot_is_a_method_and_an_unknown_one_is_named(folder: Path) -> None:
    from analysis.plots import PLOTS

    plots = load(folder).plot
    assert set(dir(plots)) == set(PLOTS)
    with pytest.raises(AttributeError, match="Did you mean"):
        plots.importances  # noqa: B018  # the access is the test


def test_every_line_of_the_documented_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = {"config.learning_rate": {"log_uniform": [1e-4, 1e-2]}}
    for name in ("quickstart", "quickstart-2"):
        _recorded(tmp_path, name=name, config={"learning_rate": 1e-3, "length": 4}, space=space)
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "notebook.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    assert len(blocks) == 5
    names: dict[str, Any] = {}
    exec("\n".join(blocks), names)
    assert names["contrast"].verdict == "undecided"  # the two were recorded alike
