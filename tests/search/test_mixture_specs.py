"""A list of sources in a spec: shown in the plan, searched by its weights, and refused by the entry that is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from tiny_trials import run

from search.load import load_spec
from search.plan import Plan, make_plan
from spaces.documents import get_path
from spaces.errors import SpecError
from trainables.config import TrialConfig
from trainables.preparation import prepare

MIXTURE = """\
name: mixture
task: causal_lm
model:
  architecture: gpt2
  config: {n_embd: 16, n_layer: 1, n_head: 2}
data:
  source:
    - {files: left.txt}
    - {files: right.txt, weight: 2}
  tokenizer: {train: bpe, vocab_size: 300}
  max_length: 16
training: {max_steps: 3, per_device_train_batch_size: 4}
space:
  data.source.0.weight: {choice: [0.5, 1, 2]}
search: {metric: eval/bits_per_byte}
"""
WEIGHT = "data.source.0.weight: {choice: [0.5, 1, 2]}"


@pytest.fixture(autouse=True)
def _two_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("left", "right"):
        (tmp_path / f"{name}.txt").write_text("".join(f"{name} line {number:03d}\n" for number in range(200)))
    monkeypatch.chdir(tmp_path)


def plan_of(text: str, *overrides: str) -> Plan:
    Path("spec.yaml").write_text(text)
    return make_plan(load_spec(Path("spec.yaml"), overrides=overrides))


def refusal(text: str, *overrides: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        plan_of(text, *overrides)
    return caught.value


def test_check_shows_every_source_with_its_weight(tunesmith_here: Run, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(MIXTURE)
    done = tunesmith_here("check", "spec.yaml")
    assert done.returncode == 0, done.stderr
    shown = "".join(done.stdout.split())  # long paths are broken into lines
    assert f"1x{tmp_path}/left.txt+2x{tmp_path}/right.txt:willbeprepared" in shown
    assert "data.source.0.weight  0.5 | 1 | 2" in done.stdout


def test_a_weight_is_searched_like_any_other_path() -> None:
    plan = plan_of(MIXTURE)
    assert plan.grid_size == 3
    few, many = (plan.space.apply({"data.source.0.weight": weight}) for weight in (0.5, 2))
    assert (get_path(few, "data.source.0.weight"), get_path(many, "data.source.0.weight")) == (0.5, 2)
    cards = []
    for document in (few, many):
        assert json.loads(json.dumps(document)) == document
        ran = run(document)
        assert (ran.failure, ran.steps) == (None, [3])
        assert ran.metrics[-1]["eval/bits_per_byte"] > 0
        trial = TrialConfig.model_validate(document)
        cards.append(prepare(trial.task, trial.model, trial.data).card)
    assert cards[0].text_bytes["validation"] == cards[1].text_bytes["validation"]
    assert cards[0].text_bytes["train"] != cards[1].text_bytes["train"]


@pytest.mark.parametrize(
    ("choices", "path"),
    [
        ("[[{files: left.txt}, {files: right.txt}], {files: left.txt}]", "data.source"),
        ("[{files: left.txt, weight: 3}, {builtin: stdlib-docs}]", "data.source.0"),
        ("[stdlib-docs, stdlib-docstrings]", "data.source.1.builtin"),
    ],
)
def test_whole_sources_can_be_searched(choices: str, path: str) -> None:
    text = MIXTURE.replace("{files: right.txt, weight: 2}", "{builtin: stdlib-docs}")
    plan = plan_of(text.replace(WEIGHT, f"{path}: {{choice: {choices}}}"))
    assert plan.grid_size == 2


WRONG_PATHS = [
    ("data.source.2.weight", ("`data.source`, which has 2 entries", "by its number, from 0")),
    ("data.source.weight", ("`data.source` is a list of 2", "`data.source.0`")),
    ("data.source.left.weight", ("`data.source` is a list of 2", "`data.source.0`")),
    ("data.source.0.wieght", ("there is no `wieght`", "Did you mean `weight`?")),
    ("data.source.0.weight.1", ("`data.source.0.weight` is no list",)),
    ("data.max_length.0", ("`data.max_length` is no list",)),
    ("data.source.0", ("a source is a mapping", "but got 0.5")),
]


@pytest.mark.parametrize(("path", "says"), WRONG_PATHS)
def test_a_path_that_leads_to_no_entry_is_refused(path: str, says: tuple[str, ...]) -> None:
    error = refusal(MIXTURE.replace("data.source.0.weight", path))
    assert (error.path, error.line) == (f"space.{path}", 14)
    assert all(words in error.message for words in says), error.message


def test_a_number_names_no_entry_of_a_single_source() -> None:
    error = refusal(MIXTURE, "data.source={files: left.txt}")
    assert error.path == "space.data.source.0.weight"
    assert "`data.source` is no list" in error.message


WRONG_ENTRIES = [
    ("{file: right.txt}", "data.source.1", "exactly one of `builtin`, `hub`, `files`"),
    ("{builtin: stdlib-doc}", "data.source.1.builtin", "Did you mean `stdlib-docs`?"),
    ("{files: right.txt, wieght: 2}", "data.source.1.wieght", "Did you mean `weight`? Known here: files, weight."),
    ("{files: right.txt, weight: -1}", "data.source.1.weight", "expected a number >= 0, but got -1"),
    ("{files: {train: right.txt, valid: left.txt}}", "data.source.1.files.valid", "Did you mean `validation`?"),
    ("right.txt", "data.source.1", "a source is a mapping, such as `{builtin: stdlib-docs}`, but got 'right.txt'"),
    ("{builtin: stdlib-code}", "data.source.1.builtin", "`stdlib-code` has no texts for this task"),
    ("{files: gone.txt}", "data.source.1.files", "no file matches"),
]


@pytest.mark.parametrize(("entry", "path", "says"), WRONG_ENTRIES)
def test_a_wrong_entry_is_named_by_its_number(entry: str, path: str, says: str) -> None:
    text = MIXTURE.replace("{files: right.txt, weight: 2}", entry)
    with pytest.raises(SpecError) as caught:
        plan_of(text).cached_data()
    (error,) = getattr(caught.value, "errors", (caught.value,))
    assert error.path == path
    assert says in error.message


def test_an_entry_that_cannot_be_read_is_named_when_data_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "right.txt").write_bytes(b"\xff\xfe\x00")
    document: dict[str, Any] = plan_of(MIXTURE).document
    trial = TrialConfig.model_validate(document)
    with pytest.raises(SpecError, match="files must be UTF-8") as caught:
        prepare(trial.task, trial.model, trial.data)
    assert caught.value.path == "data.source.1.files"


@pytest.mark.parametrize("by", ["group", "time"])
@pytest.mark.parametrize("source", ["{builtin: stdlib-docs}", "[{files: left.txt}, {builtin: stdlib-docs}]"])
def test_a_builtin_source_has_nothing_to_split_by(by: str, source: str) -> None:
    text = MIXTURE.replace(WEIGHT, "training.weight_decay: {choice: [0.0, 0.1]}")
    error = refusal(text, f"data.source={source}", f"data.splits={{by: {by}, {by}: column}}")
    assert error.path == f"data.splits.{by}"
    assert f"`stdlib-docs` has no column to split by {by}. Use your own files." in error.message
