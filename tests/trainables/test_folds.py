"""Several trainings in one trial: what is reported, what each one sees, and how it goes on after an interruption."""

import json
from itertools import pairwise
from pathlib import Path
from statistics import mean

import pytest
from tiny_trials import TINY_BERT, labelled, run

from spaces.folds import fold_values, is_of_a_fold
from trainables.config import DataConfig, ModelConfig
from trainables.fold_sections import FoldConfig, FoldsConfig
from trainables.folds import data_of_folds
from trainables.preparation import load_test_split, prepare
from trainables.trial import parse_document

STRONG = TINY_BERT | {"initializer_range": 0.2}


def in_folds(folder: Path, **folds: int) -> dict[str, object]:
    return labelled(folder, config=STRONG) | {"folds": folds}


def test_a_trial_is_worth_the_mean_of_its_folds(tmp_path: Path) -> None:
    ran = run(in_folds(tmp_path, folds=3))
    last = ran.metrics[-1]
    values = fold_values(last, "eval/loss")
    assert len(values) == 3
    assert len(set(values)) == 3, "each fold has its own data"
    assert last["eval/loss"] == pytest.approx(mean(values))


def test_a_report_is_the_mean_of_folds_that_ended_and_the_one_that_runs(tmp_path: Path) -> None:
    reports = run(in_folds(tmp_path, folds=3)).reports
    assert [report.folds_ended for report in reports] == [0, 1, 1, 2, 2, 3]
    third = reports[2].metrics
    assert third["eval/loss"] == pytest.approx(
        mean([reports[1].metrics["fold/0/eval/loss"], third["fold/1/eval/loss"]])
    )


def test_amounts_of_training_go_on_from_fold_to_fold(tmp_path: Path) -> None:
    reports = run(in_folds(tmp_path, folds=3)).reports
    assert [report.progress.epoch for report in reports] == [1, 2, 3, 4, 5, 6]
    assert [report.progress.evaluation for report in reports] == [1, 2, 3, 4, 5, 6]
    assert [report.progress.is_final for report in reports] == [False] * 5 + [True]
    assert all(a.progress.step < b.progress.step for a, b in pairwise(reports))
    assert reports[-1].seconds >= reports[-2].seconds
    rows = [row for report in reports for row in report.rows]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    assert {row["fold"] for row in rows} == {0, 1, 2}


def test_each_fold_is_what_it_would_be_alone(tmp_path: Path) -> None:
    document = in_folds(tmp_path, folds=3)
    together = run(document).metrics[-1]
    del document["folds"]
    document["data"]["splits"]["fold"] = {"index": 1, "of": 3}  # type: ignore[index]
    alone = run(document).metrics[-1]
    assert together["fold/1/eval/loss"] == alone["eval/loss"]


def test_seeds_train_on_the_same_data_and_differ(tmp_path: Path) -> None:
    document = in_folds(tmp_path, seeds=2)
    last = run(document).metrics[-1]
    first, second = fold_values(last, "eval/loss")
    assert first != second
    del document["folds"]
    assert run(document).metrics[-1]["eval/loss"] == first
    document["training"]["seed"] = 43  # type: ignore[index]  # the one after the default
    assert run(document).metrics[-1]["eval/loss"] == second


@pytest.mark.parametrize("stopped_at", [1, 2, 3, 5])
@pytest.mark.quick("2", "5")
def test_an_interrupted_trial_goes_on_in_its_fold(tmp_path: Path, stopped_at: int) -> None:
    document = in_folds(tmp_path, folds=3)
    whole = run(document).metrics
    folder = tmp_path / "trial"
    first = run(document, folder, stop_after=stopped_at)
    rest = run(document, folder)
    assert rest.failure is None
    # Of each fold that it has begun, its last evaluation comes again.
    repeated = [report.progress.evaluation for report in rest.reports if report.progress.evaluation <= stopped_at]
    assert repeated == [*range(2, stopped_at, 2), stopped_at]
    new = [report.metrics for report in rest.reports if report.progress.evaluation > stopped_at]
    assert first.metrics + new == whole


def test_a_report_says_what_the_checkpoints_of_all_folds_take(tmp_path: Path) -> None:
    reports = run(in_folds(tmp_path, folds=2), tmp_path / "trial").reports
    first, last = reports[1].checkpoint_bytes, reports[-1].checkpoint_bytes
    assert last == pytest.approx(2 * first, rel=0.1)
    folders = (tmp_path / "trial" / "checkpoints").glob("fold-*/*/**/*")
    assert last >= sum(file.stat().st_size for file in folders if file.is_file())


def test_what_learns_from_data_sees_only_what_a_fold_trains_on(tmp_path: Path) -> None:
    """A word of one document only: the tokenizer of the fold that holds it out has not learnt it."""
    file = tmp_path / "texts.jsonl"
    words = ["zyxwvutsrq" if n == 0 else f"plain words number {n}" for n in range(30)]
    file.write_text("\n".join(json.dumps({"text": f"{word} {word} {word} {word}"}) for word in words))
    data = DataConfig.model_validate(
        {"source": {"files": str(file)}, "tokenizer": {"train": "bpe", "vocab_size": 400}, "max_length": 16,
         "splits": {"validation": 0.2, "test": 0.0, "leakage_check": "off"}}
    )  # fmt: skip
    model = ModelConfig(architecture="gpt2")
    knows, holds_out = [], []
    for fold in data_of_folds(data, FoldsConfig(folds=3)):
        prepared = prepare("causal_lm", model, fold)
        decoded = prepared.tokenizer.decode([token for ids in prepared.validation["input_ids"] for token in ids])
        holds_out.append("zyxwvutsrq" in decoded)
        knows.append(any("zyxwv" in token for token in prepared.tokenizer.get_vocab()))
    assert sorted(holds_out) == [False, False, True]
    assert knows == [not held for held in holds_out]


def test_the_test_split_is_the_same_in_all_folds(tmp_path: Path) -> None:
    trial = parse_document(labelled(tmp_path))
    splits = trial.data.splits.model_copy(update={"test": 0.2})
    data = trial.data.model_copy(update={"splits": splits})
    folds = [prepare(trial.task, trial.model, fold) for fold in data_of_folds(data, FoldsConfig(folds=4))]
    tests = [sorted(fold.tokenizer.batch_decode(load_test_split(fold)["input_ids"][:])) for fold in folds]
    assert all(other == tests[0] for other in tests)
    held_out = [text for fold in folds for text in fold.tokenizer.batch_decode(fold.validation["input_ids"][:])]
    assert len(held_out) == len(set(held_out)) == 96 - len(tests[0])
    assert not set(held_out) & set(tests[0])


def test_outer_folds_take_turns_as_the_test_split(tmp_path: Path) -> None:
    trial = parse_document(labelled(tmp_path))
    seen = []
    for index in range(3):
        splits = trial.data.splits.model_copy(update={"test_fold": FoldConfig(index=index, of=3)})
        prepared = prepare(trial.task, trial.model, trial.data.model_copy(update={"splits": splits}))
        seen += prepared.tokenizer.batch_decode(load_test_split(prepared)["input_ids"][:])
        assert len(prepared.train) + len(prepared.validation) == 64
    assert len(seen) == len(set(seen)) == 96


def test_repeats_divide_the_documents_anew() -> None:
    folds = [run.fold for run in FoldsConfig(folds=2, repeats=2, seeds=2).runs]
    assert [(fold.repeat, fold.index) for fold in folds if fold] == [(0, 0), (0, 1), (1, 0), (1, 1)] * 2
    assert [run.seed for run in FoldsConfig(folds=2, seeds=2).runs] == [0, 0, 1, 1]


def test_a_users_function_is_told_its_fold_and_seed(tmp_path: Path) -> None:
    (tmp_path / "folded_function.py").write_text(
        "def train(config, report):\n    report({'loss': config['fold']['index'] + config['seed'] / 100}, epoch=1)\n"
    )
    document = {
        "trainable": f"{tmp_path}/folded_function.py:train", "config": {"seed": 7}, "folds": {"folds": 2, "seeds": 2},
    }  # fmt: skip
    last = run(document, tmp_path / "trial", metric="loss").metrics[-1]
    assert fold_values(last, "loss") == [0.07, 1.07, 0.08, 1.08]
    assert last["loss"] == pytest.approx(0.575)


def test_a_fold_that_fails_fails_the_trial(tmp_path: Path) -> None:
    (tmp_path / "failing_function.py").write_text(
        "def train(config, report):\n    report({'loss': 1.0 / (1 - config['fold']['index'])})\n"
    )
    document = {"trainable": f"{tmp_path}/failing_function.py:train", "folds": {"folds": 3}}
    ran = run(document, tmp_path / "trial", metric="loss")
    assert ran.failure == "error"
    assert len([report for report in ran.reports if report.folds_ended]) == 1


def test_names_of_folds_are_told_from_others() -> None:
    assert is_of_a_fold("fold/3/eval/loss")
    assert is_of_a_fold("seed/0/eval/loss")
    assert not is_of_a_fold("eval/loss")
    assert not is_of_a_fold("fold/best")
