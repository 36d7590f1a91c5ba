"""`tunesmith cache` tells what prepared data takes, and clears it without touching what somebody makes or uses."""

import json
import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from patience import HANG_SECONDS

from trainables.config import DataConfig, ModelConfig
from trainables.data.cache import make_once
from trainables.data.cache_entries import cache_entries, clear, size_in_words
from trainables.preparation import PreparedData, prepare

DAY = 86_400


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def prepared(folder: Path, *, max_length: int = 16) -> PreparedData:
    file = folder / "lines.txt"
    if not file.exists():
        file.write_text("".join(f"line number {number} of the file\n" for number in range(60)))
    data = DataConfig(source={"files": str(file)}, tokenizer={"train": "bpe", "vocab_size": 300}, max_length=max_length)
    return prepare("causal_lm", ModelConfig(architecture="gpt2"), data)


def unused_for(directory: Path, *, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(directory, (then, then))


def shown(tunesmith_here: Run, *arguments: str) -> dict[str, Any]:
    done = tunesmith_here("cache", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_empty_cache_is_no_error(tunesmith: Run, own_cache: Path) -> None:
    assert shown(tunesmith) == {"folder": str(own_cache), "bytes": 0, "entries": []}
    assert tunesmith("cache").stdout == f"{own_cache}: 0 entries, 0 B\n"
    assert "removed 0 entries" in tunesmith("cache", "clear").stdout


def test_entries_say_what_they_are_made_of_and_how_large_they_are(tunesmith_here: Run, tmp_path: Path) -> None:
    made = prepared(tmp_path)
    unused_for(made.directory, days=3.5)
    on_disk = sum(file.stat().st_size for file in made.directory.rglob("*") if file.is_file())
    found = shown(tunesmith_here)
    assert found["bytes"] == on_disk > 1000
    (entry,) = found["entries"]
    assert (entry["folder"], entry["bytes"], entry["state"]) == (str(made.directory), on_disk, "made")
    assert (entry["kind"], entry["source"]) == ("causal_lm", "lines.txt")
    words = tunesmith_here("cache").stdout
    for word in (made.fingerprint, "causal_lm", "lines.txt", "3 days ago", size_in_words(on_disk)):
        assert word in words


def test_clear_asks_first_and_then_leaves_nothing(tunesmith_here: Run, tmp_path: Path) -> None:
    made = prepared(tmp_path)
    refused = tunesmith_here("cache", "clear")
    assert refused.returncode == 2
    assert "this would remove 1 entry: `--yes`" in refused.stderr
    assert made.directory.exists()
    done = tunesmith_here("cache", "clear", "--yes")
    assert done.stdout.startswith("removed 1 entry, ")
    assert not made.directory.exists()
    again = prepared(tmp_path)
    assert len(again.train) == len(made.train)


def test_only_what_was_unused_for_so_long_goes(tunesmith_here: Run, tmp_path: Path) -> None:
    old, new = prepared(tmp_path, max_length=8), prepared(tmp_path, max_length=16)
    for made in (old, new):
        unused_for(made.directory, days=40)
    prepared(tmp_path, max_length=16)  # a trial begins with it
    found = shown(tunesmith_here, "clear", "--older-than", "30d", "--yes")
    assert [entry["folder"] for entry in found["removed"]] == [str(old.directory)]
    assert new.directory.exists()
    assert not old.directory.exists()


@pytest.mark.parametrize("text", ["30", "3y", "d", "-1d", "month"])
def test_a_time_without_a_known_unit_is_refused(tunesmith_here: Run, text: str) -> None:
    done = tunesmith_here("cache", "clear", f"--older-than={text}")
    assert done.returncode == 2
    assert f"such as `12h`, `30d` or `2w`, but got `{text}`" in done.stderr


def test_what_was_used_after_it_was_listed_stays(tmp_path: Path) -> None:
    made = prepared(tmp_path)
    unused_for(made.directory, days=40)
    listed = cache_entries()
    prepared(tmp_path)
    removed, kept = clear(listed)
    assert (removed, kept) == ([], listed)
    assert made.directory.exists()


def _make_slowly(directory: Path, has_begun: Event, may_end: Event) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("half")
        has_begun.set()
        assert may_end.wait(HANG_SECONDS)
        (folder / "card.json").write_text('{"task": "causal_lm", "source": "slow"}')

    make_once(directory, make, is_made=Path.exists, on_progress=print)


def test_clear_leaves_what_a_running_preparation_makes(tunesmith_here: Run, own_cache: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    has_begun, may_end = spawn.Event(), spawn.Event()
    directory = own_cache / "data" / "0123456789abcdef"
    maker = spawn.Process(target=_make_slowly, args=(directory, has_begun, may_end))
    maker.start()
    try:
        assert has_begun.wait(HANG_SECONDS)
        assert [entry["state"] for entry in shown(tunesmith_here)["entries"]] == ["being made"]
        found = shown(tunesmith_here, "clear", "--yes")
        assert (found["removed"], len(found["kept"])) == ([], 1)
    finally:
        may_end.set()
        maker.join(60)
    assert maker.exitcode == 0
    assert {file.name for file in directory.iterdir()} == {"half", "card.json"}


def test_what_a_killed_preparation_left_is_shown_and_removed(tunesmith_here: Run, own_cache: Path) -> None:
    left = own_cache / "data" / "0123456789abcdef.preparing"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    assert "left over" in tunesmith_here("cache").stdout
    assert len(shown(tunesmith_here, "clear", "--yes")["removed"]) == 1
    assert not left.exists()


def test_an_entry_of_another_version_can_be_shown_and_removed(tunesmith_here: Run, own_cache: Path) -> None:
    strange = own_cache / "data" / "0123456789abcdef"
    strange.mkdir(parents=True)
    (strange / "card.json").write_text('{"task": "causal_lm", "colour": "red"}')
    converted = own_cache / "models" / "tiny.Q4-0123456789abcdef"
    converted.mkdir(parents=True)
    assert {(entry["kind"], entry["source"]) for entry in shown(tunesmith_here)["entries"]} == {
        ("", ""), ("model", "tiny.Q4"),
    }  # fmt: skip
    assert len(shown(tunesmith_here, "clear", "--yes")["removed"]) == 2
    assert not strange.exists()
    assert not converted.exists()


def test_what_cannot_be_removed_is_told_without_a_traceback(tunesmith_here: Run, tmp_path: Path) -> None:
    made = prepared(tmp_path)
    lock = made.directory.with_name(made.directory.name + ".lock")
    lock.unlink()
    lock.mkdir()  # as good as no permission, also for root
    done = tunesmith_here("cache", "clear", "--yes")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: cannot remove {made.directory}: ")
    assert made.directory.exists()


@pytest.mark.ray
def test_the_doctor_says_how_large_the_cache_is(tunesmith: Run, tmp_path: Path) -> None:
    made = prepared(tmp_path)
    size = size_in_words(sum(file.stat().st_size for file in made.directory.rglob("*") if file.is_file()))
    (found,) = [one for one in json.loads(tunesmith("doctor", "--json").stdout) if one["subject"] == "data cache"]
    assert size in found["message"]


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345, "12.3 kB"), (99_960, "100 kB"), (999_700, "1.0 MB"),
     (2.5e9, "2.5 GB"), (3e12, "3.0 TB"), (4e15, "4,000.0 TB")],
)  # fmt: skip
def test_sizes_are_told_in_three_digits_or_so(num_bytes: float, words: str) -> None:
    assert size_in_words(num_bytes) == words
