"""Sources: every format gives the same documents, and every mistake an error that says what to do."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest

from spaces.errors import SpecError
from trainables.config import DataConfig, TaskName
from trainables.data.cleaning import Cleaner
from trainables.data.sources import Documents, load_documents, sort_labels
from trainables.tasks.registry import TASKS

ROWS = [
    {"text": 'a, "quoted" text', "label": "yes"},
    {"text": "two\nlines", "label": "no"},
    {"text": "NA", "label": "no"},
    {"text": "naïve ☃", "label": "yes"},
]


def load(
    source: dict[str, Any], tmp_path: Path, *, task: TaskName = "sequence_classification", **data: Any
) -> Documents:
    config = DataConfig(source=source, **data)
    columns = TASKS[task].columns(config)
    (only,) = config.sources
    return load_documents(only, config, columns, scratch=tmp_path / "scratch", cleaner=Cleaner(config.clean, columns))


def rows_of(documents: Documents, part: str = "train") -> list[dict[str, str]]:
    return documents.parts[part].to_list()


WRITERS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "csv": lambda frame, file: frame.to_csv(file, index=False),
    "tsv": lambda frame, file: frame.to_csv(file, index=False, sep="\t"),
    "json": lambda frame, file: frame.to_json(file, orient="records"),
    "jsonl": lambda frame, file: frame.to_json(file, orient="records", lines=True),
    "parquet": lambda frame, file: frame.to_parquet(file),
}


@pytest.mark.parametrize("extension", WRITERS)
def test_every_format_gives_back_what_was_written(extension: str, tmp_path: Path) -> None:
    file = tmp_path / f"data.{extension}"
    WRITERS[extension](pd.DataFrame(ROWS), file)
    assert rows_of(load({"files": str(file)}, tmp_path)) == ROWS


def test_a_json_file_may_hold_one_object_a_line(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text("\n".join(json.dumps(row) for row in ROWS))
    assert rows_of(load({"files": str(tmp_path / "data.json")}, tmp_path)) == ROWS


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\ntwo\n\nthree\n", ["one\ntwo", "three"]),
        ("\n\none\ntwo\n\n\n", ["one", "two"]),
    ],
    ids=["lines", "groups", "blank ends are no groups"],
)
def test_a_text_document_is_a_group_of_lines_or_a_line(content: str, texts: list[str], tmp_path: Path) -> None:
    (tmp_path / "data.txt").write_text(content)
    documents = load({"files": str(tmp_path / "*.txt")}, tmp_path, task="causal_lm")
    assert [row["text"] for row in rows_of(documents)] == texts


def test_files_of_a_glob_are_read_in_sorted_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(name)
    documents = load({"files": str(tmp_path / "*.txt")}, tmp_path, task="causal_lm")
    assert [row["text"] for row in rows_of(documents)] == ["a", "b"]


def test_parts_given_as_files_are_used_as_they_are(tmp_path: Path) -> None:
    for part in ("train", "validation"):
        (tmp_path / f"{part}.txt").write_text(part)
    files = {part: str(tmp_path / f"{part}.txt") for part in ("train", "validation")}
    documents = load({"files": files}, tmp_path, task="causal_lm")
    assert {part: rows_of(documents, part)[0]["text"] for part in documents.parts} == {
        "train": "train",
        "validation": "validation",
    }


def test_blank_documents_are_left_out_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "data.jsonl").write_text('{"text": "one"}\n{"text": "  "}\n')
    with caplog.at_level(logging.WARNING):
        documents = load({"files": str(tmp_path / "data.jsonl")}, tmp_path, task="causal_lm")
    assert len(rows_of(documents)) == 1
    assert "left out 1 blank" in caplog.text


ERRORS = [
    ("nothing.csv", None, "data.source.files", "no file matches"),
    ("data.pkl", b"x", "data.source.files", "can run code"),
    ("data.docx", b"x", "data.source.files", "Known: csv, tsv, json"),
    ("data.csv", b"txt,label\nhello,a\n", "data.text", "Did you mean `txt`"),
    ("data.csv", b"text,kind\nhello,a\n", "data.label", "Its columns: `text`, `kind`"),
    ("data.csv", b"", "data.text", "Its columns: none"),
    ("data.csv", b"text,label\n", "data.source", "no documents"),
    ("data.csv", b"text,label\n,a\nb,b\n", "data.text", "row 1 of"),
    ("data.csv", b"text,label\na,a\nb,\n", "data.label", "row 2 of"),
    ("data.csv", b"text,label\na,a\nb,a\n", "data.label", "at least two labels"),
    ("data.csv", b"text,label\na,b,c\n", "data.source.files", "line 2: expected 2 cells, but got 3"),
    ("data.csv", b"text,label\n\xff\xfe,a\n", "data.source.files", "UTF-8"),
    ("data.jsonl", b'{"text": "a", "label": 1}\n{"text": \n', "data.source.files", "line 2: not valid JSON"),
    ("data.jsonl", b'{"text": "a", "label": 1}\n{"label": 2}\n', "data.text", "row 2 of"),
    ("data.jsonl", b'{"text": 5, "label": 1}\n', "data.text", "must hold text, but row 1"),
    ("data.jsonl", b'{"text": "a", "label": 0.5}\n', "data.label", "float"),
    ("data.jsonl", b'["a"]\n', "data.source.files", "expected an object"),
    ("data.json", b"[{", "data.source.files", "not valid JSON"),
    ("data.parquet", b"x", "data.source.files", "not a readable parquet"),
    ("data.txt", b"hello", "data.source.files", "needs a label too"),
]


@pytest.mark.parametrize(("name", "content", "path", "says"), ERRORS, ids=[f"{e[0]}: {e[3]}" for e in ERRORS])
def test_a_mistake_is_named_with_its_place(
    name: str, content: bytes | None, path: str, says: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError, match=says) as caught:
        load({"files": str(tmp_path / name)}, tmp_path)
    assert caught.value.path == path


def test_mixed_formats_and_folders_are_refused(tmp_path: Path) -> None:
    for name in ("a.txt", "b.csv"):
        (tmp_path / name).write_text("text\nhello\n")
    with pytest.raises(SpecError, match="one format"):
        load({"files": str(tmp_path / "*.*")}, tmp_path, task="causal_lm")
    with pytest.raises(SpecError, match="is a folder"):
        load({"files": str(tmp_path)}, tmp_path, task="causal_lm")


def test_one_file_cannot_be_in_two_parts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    files = {"train": str(tmp_path / "*.txt"), "test": str(tmp_path / "a.txt")}
    with pytest.raises(SpecError, match="both train and test"):
        load({"files": files}, tmp_path, task="causal_lm")


def test_a_label_that_train_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\nx,a\ny,b\n")
    (tmp_path / "test.csv").write_text("text,label\nz,c\n")
    files = {"train": str(tmp_path / "train.csv"), "test": str(tmp_path / "test.csv")}
    with pytest.raises(SpecError, match="`c` is a label in test but never in train"):
        load({"files": files}, tmp_path)


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["10", "9", "-1"], ("-1", "9", "10")),
        (["b", "10", "9"], ("10", "9", "b")),
        (["True", "False"], ("False", "True")),
    ],
)
def test_labels_sort_as_numbers_when_all_are(labels: list[str], order: tuple[str, ...]) -> None:
    assert sort_labels(labels) == order


# --- datasets in a local folder, as the hub would give them ----------------------------------------------


def saved_dataset(tmp_path: Path, **splits: dict[str, list[Any]]) -> str:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "amb", "pos"])}
    )
    made = {name: datasets.Dataset.from_dict(columns, features=features) for name, columns in splits.items()}
    datasets.DatasetDict(made).save_to_disk(str(tmp_path / "saved"))
    return str(tmp_path / "saved")


def test_class_names_keep_the_order_of_the_dataset(tmp_path: Path) -> None:
    folder = saved_dataset(tmp_path, train={"text": ["a", "b"], "label": [2, 0]})
    documents = load({"hub": folder}, tmp_path)
    assert documents.label_order == ("neg", "pos")
    assert [row["label"] for row in rows_of(documents)] == ["pos", "neg"]


def test_a_test_split_whose_labels_are_hidden_is_not_used(tmp_path: Path) -> None:
    folder = saved_dataset(tmp_path, train={"text": ["a", "b"], "label": [2, 0]}, test={"text": ["c"], "label": [-1]})
    assert set(load({"hub": folder}, tmp_path).parts) == {"train"}


def test_a_folder_of_csv_files_is_a_dataset(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for part in ("train", "test"):
        (tmp_path / "folder" / f"{part}.csv").write_text(f"text,label\n{part} one,1\n{part} two,0\n")
    documents = load({"hub": str(tmp_path / "folder")}, tmp_path)
    assert rows_of(documents, "test")[0] == {"text": "test one", "label": "1"}


def test_a_dataset_that_cannot_be_loaded_says_which(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SpecError, match="cannot load the dataset") as caught:
        load({"hub": str(tmp_path / "empty")}, tmp_path)
    assert caught.value.path == "data.source.hub"
