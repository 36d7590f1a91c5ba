"""Running one trial: exact repetition, exact resume, cadence, and failures as results."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_trials
import torch
from patience import HANG_SECONDS
from tiny_trials import Document, labelled, prose, run, weights

from spaces.reports import TrialReport
from trainables import trial as trial_module
from trainables.trial import classify

# --- nothing is left behind ------------------------------------------------------------------------------


def start_alone(document: Document, folder: Path) -> "subprocess.Popen[str]":
    """The same trial in a process of its own."""
    folder.mkdir()
    (folder / "document.json").write_text(json.dumps(document))
    paths = os.pathsep.join([str(Path(tiny_trials.__file__).parents[1]), str(Path(tiny_trials.__file__).parent)])
    command = [sys.executable, tiny_trials.__file__, str(folder / "document.json"), str(folder / "trial")]
    return subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_trials_in_one_process_give_what_each_gives_alone(tmp_path: Path) -> None:
    documents = {"first": labelled(tmp_path), "second": prose(tmp_path, seed=7, max_grad_norm=0.1)}
    processes = {name: start_alone(document, tmp_path / f"{name}-alone") for name, document in documents.items()}
    together = {name: run(document, tmp_path / name) for name, document in documents.items()}
    for name, process in processes.items():
        output, errors = process.communicate(timeout=HANG_SECONDS)
        assert process.returncode == 0, errors
        expected = json.loads(output.splitlines()[-1])
        assert together[name].rows == expected["rows"]
        assert weights(together[name]) == expected["weights"]


@pytest.mark.parametrize(
    "between",
    [
        {"bf16": True, "use_cpu": True},
        {"seed": 3, "max_grad_norm": 0.01},
        {"full_determinism": True},
        {"gradient_accumulation_steps": 2, "optim": "sgd"},
        {"learning_rate": 1e30},
        {"label_smoothing_factor": 0.2, "lr_scheduler_type": "cosine"},
    ],
    ids=lambda training: "-".join(training),
)
def test_a_trial_in_between_changes_nothing(tmp_path: Path, between: Document) -> None:
    document = labelled(tmp_path, num_train_epochs=1)
    before = run(document, tmp_path / "before")
    assert run(labelled(tmp_path, num_train_epochs=1, **between)).failure in {None, "diverged"}
    after = run(document, tmp_path / "after")
    assert after.rows == before.rows
    assert weights(after) == weights(before)


@pytest.mark.parametrize(
    "between", [{"full_determinism": True}, {"bf16": True, "use_cpu": True}], ids=lambda training: "-".join(training)
)
def test_switches_of_a_trial_are_off_after_it(tmp_path: Path, between: Document) -> None:
    environment = dict(os.environ)
    assert run(labelled(tmp_path, max_steps=1, **between)).failure is None
    assert dict(os.environ) == environment
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic
    assert torch.backends.fp32_precision == "none"


def test_a_failed_trial_leaves_no_model_in_memory(tmp_path: Path) -> None:
    from transformers import PreTrainedModel

    def fail(_: TrialReport) -> None:
        raise ValueError

    run(labelled(tmp_path, max_steps=1), on_report=fail)
    assert not [thing for thing in gc.get_objects() if isinstance(thing, PreTrainedModel)]


def test_same_seed_same_numbers(tmp_path: Path) -> None:
    assert run(labelled(tmp_path, seed=5)).rows == run(labelled(tmp_path, seed=5)).rows


def test_other_seed_other_numbers(tmp_path: Path) -> None:
    assert run(labelled(tmp_path, seed=5)).metrics != run(labelled(tmp_path, seed=6)).metrics


def test_checkpoints_change_no_number(tmp_path: Path) -> None:
    document = labelled(tmp_path)
    assert run(document, tmp_path / "trial").rows == run(document, save_checkpoints=False).rows


# --- resume ----------------------------------------------------------------------------------------------

RESUMED = {
    "epochs": ({"num_train_epochs": 3}, 2),
    "inside the first epoch": ({"eval_strategy": "steps", "eval_steps": 4}, 1),
    "inside a later epoch": ({"eval_strategy": "steps", "eval_steps": 4}, 3),
    "at the end of an epoch by steps": ({"eval_strategy": "steps", "eval_steps": 3}, 3),
    "accumulation": ({"eval_strategy": "steps", "eval_steps": 2, "gradient_accumulation_steps": 2}, 3),
    "rows between": ({"eval_strategy": "steps", "eval_steps": 5, "logging_steps": 3}, 2),
    "evaluated at the start": ({"eval_on_start": True, "num_train_epochs": 2}, 2),
    "plateau": ({"lr_scheduler_type": "reduce_lr_on_plateau", "eval_strategy": "steps", "eval_steps": 5}, 2),
    "bf16": ({"bf16": True, "use_cpu": True, "eval_strategy": "steps", "eval_steps": 5}, 2),
    "smoothing": ({"label_smoothing_factor": 0.1, "eval_strategy": "steps", "eval_steps": 5}, 2),
    "other data seed": ({"data_seed": 11, "eval_strategy": "steps", "eval_steps": 5}, 2),
}


@pytest.mark.parametrize(("training", "stopped_at"), RESUMED.values(), ids=RESUMED)
def test_a_resumed_trial_equals_an_uninterrupted_one(tmp_path: Path, training: Document, stopped_at: int) -> None:
    document = labelled(tmp_path, **training)
    whole = run(document, tmp_path / "whole")
    begun = run(document, tmp_path / "resumed", stop_after=stopped_at)
    run(prose(tmp_path, max_steps=1))  # the process does something else in between
    resumed = run(document, tmp_path / "resumed")
    assert len(whole.reports) > stopped_at
    assert begun.rows + resumed.rows[len(resumed.reports[0].rows) :] == whole.rows
    assert resumed.metrics == whole.metrics[stopped_at - 1 :]
    assert weights(resumed) == weights(whole)


def test_a_language_model_resumes_exactly(tmp_path: Path) -> None:
    document = prose(tmp_path, eval_strategy="steps", eval_steps=4, num_train_epochs=2)
    whole = run(document, tmp_path / "whole")
    run(document, tmp_path / "resumed", stop_after=2)
    assert run(document, tmp_path / "resumed").metrics == whole.metrics[1:]


def test_a_resumed_trial_first_reports_its_checkpoint_again(tmp_path: Path) -> None:
    document = labelled(tmp_path)
    begun = run(document, tmp_path / "trial", stop_after=1)
    again = run(document, tmp_path / "trial").reports[0]
    assert again.progress == begun.reports[-1].progress
    assert again.metrics == begun.reports[-1].metrics
    assert (again.attempt, again.checkpoint) == (2, begun.reports[-1].checkpoint)


def test_a_finished_trial_only_reports_its_end_again(tmp_path: Path) -> None:
    document = labelled(tmp_path, num_train_epochs=1)
    run(document, tmp_path / "trial")
    again = run(document, tmp_path / "trial")
    assert [report.progress.is_final for report in again.reports] == [True]
    assert again.failure is None


def test_seconds_of_a_resumed_trial_include_the_first_attempt(tmp_path: Path) -> None:
    document = labelled(tmp_path)
    begun = run(document, tmp_path / "trial", stop_after=1)
    resumed = run(document, tmp_path / "trial")
    assert resumed.reports[-1].seconds > begun.reports[-1].seconds


def test_checkpoints_do_not_grow_with_the_history(tmp_path: Path) -> None:
    document = labelled(tmp_path, num_train_epochs=3, logging_steps=1)
    sizes: list[int] = []

    def measure(report: TrialReport) -> None:
        sizes.append((Path(str(report.checkpoint)) / "trainer_state.json").stat().st_size)

    run(document, tmp_path / "trial", on_report=measure)
    assert sizes[-1] < sizes[0] + 50


# --- the same training, said in another way ---------------------------------------------------------------


@pytest.mark.parametrize("make", [labelled, prose])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_accumulated_batches_train_like_one_large_batch(tmp_path: Path, make: Any, smoothing: float) -> None:
    config = tiny_trials.TINY_BERT | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if make is prose:
        config = tiny_trials.TINY_GPT2 | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    same = {"logging_steps": 1, "optim": "sgd", "learning_rate": 0.5, "label_smoothing_factor": smoothing}
    whole = run(make(tmp_path, config=config, per_device_train_batch_size=8, **same))
    parts = run(make(tmp_path, config=config, per_device_train_batch_size=4, gradient_accumulation_steps=2, **same))
    for one, other in zip(whole.rows, parts.rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_label_smoothing_leaves_the_evaluation_loss_as_it_is(tmp_path: Path) -> None:
    # With nothing learned the two differ by the factor's share alone, so they must not differ at all.
    plain, smooth = (
        run(labelled(tmp_path, eval_on_start=True, max_steps=1, label_smoothing_factor=factor)).metrics[0]
        for factor in (0.0, 0.4)
    )
    assert smooth == plain


# --- cadence ---------------------------------------------------------------------------------------------

CADENCES = {
    "epochs": ({"num_train_epochs": 2}, [9, 18]),
    "max_steps in mid-epoch": ({"max_steps": 13}, [9, 13]),
    "max_steps at the end of an epoch": ({"max_steps": 9}, [9]),
    "part of an epoch": ({"num_train_epochs": 0.5}, [5]),
    "steps": ({"eval_strategy": "steps", "eval_steps": 3, "max_steps": 6}, [3, 6]),
    "last step off the cadence": ({"eval_strategy": "steps", "eval_steps": 4, "max_steps": 6}, [4, 6]),
    "cadence beyond the end": ({"eval_strategy": "steps", "eval_steps": 100, "max_steps": 3}, [3]),
    "share of all steps": ({"eval_strategy": "steps", "eval_steps": 0.5, "max_steps": 6}, [3, 6]),
    "uneven share of all steps": ({"eval_strategy": "steps", "eval_steps": 0.3, "max_steps": 10}, [3, 6, 9, 10]),
    "delay": ({"eval_delay": 2, "num_train_epochs": 3}, [18, 27]),
    "delay beyond the end": ({"eval_delay": 100, "max_steps": 3}, [3]),
    "at the start": ({"eval_on_start": True, "num_train_epochs": 1}, [0, 9]),
    "accumulation": ({"gradient_accumulation_steps": 2, "num_train_epochs": 2}, [5, 10]),
}


@pytest.mark.parametrize(("training", "steps"), CADENCES.values(), ids=CADENCES)
def test_evaluations_follow_the_cadence_and_the_last_step_has_one(
    tmp_path: Path, training: Document, steps: list[int]
) -> None:
    ran = run(labelled(tmp_path, **training))
    assert ran.steps == steps
    assert [report.progress.is_final for report in ran.reports] == [False] * (len(steps) - 1) + [True]
    assert [report.progress.evaluation for report in ran.reports] == list(range(1, len(steps) + 1))


LOGGED = {
    "every two": ({"logging_steps": 2}, [2, 4, 6]),
    "share of all steps": ({"logging_steps": 0.5}, [3, 6]),
    "first step too": ({"logging_steps": 3, "logging_first_step": True}, [1, 3, 6]),
    "each evaluation": ({"logging_steps": 100, "eval_strategy": "steps", "eval_steps": 4}, [4, 6]),
    "each epoch": ({"logging_strategy": "epoch"}, [6]),
    "no other": ({"logging_strategy": "no"}, [6]),
}


@pytest.mark.parametrize(("training", "steps"), LOGGED.values(), ids=LOGGED)
def test_the_training_loss_has_a_row_at_its_cadence_and_each_evaluation(
    tmp_path: Path, training: Document, steps: list[int]
) -> None:
    rows = run(labelled(tmp_path, max_steps=6, **training)).rows
    assert [row["step"] for row in rows if "train/loss" in row] == steps


def test_tokens_are_counted_whatever_the_spec_says(tmp_path: Path) -> None:
    ran = run(labelled(tmp_path, max_steps=1, include_num_input_tokens_seen="no"))
    assert ran.reports[-1].progress.tokens > 0


# --- failures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [labelled, prose])
def test_a_diverged_trial_ends_at_once_and_says_where(tmp_path: Path, make: Any) -> None:
    ran = run(make(tmp_path, learning_rate=1e30, logging_steps=1, max_steps=8))
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert ran.failure == "diverged"
    assert ran.outcome.failure.message in {f"train/loss became {value} at step 2" for value in ("nan", "inf")}
    assert [row["step"] for row in ran.rows] == [1]


def test_a_trial_that_diverges_at_its_evaluation_names_it(tmp_path: Path) -> None:
    ran = run(labelled(tmp_path, learning_rate=1e30, max_steps=1))
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert ran.outcome.failure.message == "eval/loss became nan at step 1"
    assert [row["step"] for row in ran.outcome.rows] == [1]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("no such thing"), "error"),
        (RuntimeError("shapes do not fit"), "error"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "out_of_memory"),
        (SystemExit(2), "error"),
    ],
)
def test_an_exception_is_a_failure_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, kind: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("trainables.training.TrialTrainer.training_step", fail)
    ran = run(labelled(tmp_path, max_steps=1))
    assert ran.failure == kind
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    assert type(error).__name__ in ran.outcome.failure.message
    assert "Traceback" in ran.outcome.failure.details


def test_a_message_of_many_lines_is_told_in_one() -> None:
    assert classify(ValueError("first\nsecond")).message == "ValueError: first"


def test_a_failed_trial_is_followed_by_a_good_one(tmp_path: Path) -> None:
    run(labelled(tmp_path, learning_rate=1e30, max_steps=4))
    assert run(labelled(tmp_path, max_steps=1)).failure is None


def test_a_trial_without_a_folder_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(trial_module.tempfile, "tempdir", str(scratch))
    run(labelled(tmp_path, max_steps=1))
    assert list(scratch.iterdir()) == []
