"""Out of memory: smaller pieces of the same effective batch, found by real limits, with the same training."""

import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tiny_trials
import torch
from patience import HANG_SECONDS
from tiny_trials import TINY_BERT, TINY_GPT2, Document, labelled, prose, run, texts, weights

from trainables.memory import Batches, is_out_of_memory, smaller_micro_batch

VOCABULARY = 300
STILL = TINY_BERT | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
STILL_GPT2 = TINY_GPT2 | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


@contextmanager
def room_for(examples: int, *, evaluation: int = 10**9, from_call: int = 0) -> Iterator[list[int]]:
    """A device on which no more than so many examples fit in one training or evaluation pass. Gives the sizes tried."""
    tried: list[int] = []

    def limit(module: Any, inputs: Any) -> None:
        if not isinstance(module, torch.nn.Embedding) or module.num_embeddings != VOCABULARY:
            return
        size = inputs[0].shape[0]
        tried.append(size)
        if size > (examples if module.training else evaluation) and len(tried) > from_call:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    hook = torch.nn.modules.module.register_module_forward_pre_hook(limit)
    try:
        yield tried
    finally:
        hook.remove()


def used(ran: tiny_trials.Ran) -> Batches:
    usage = ran.reports[-1].usage
    batches = Batches.used(usage) if usage else None
    assert batches is not None
    return batches


# --- what is decided -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("micro", "pieces"), [(64, (32, 2)), (6, (3, 2)), (3, (1, 3)), (9, (3, 3)), (15, (5, 3)), (7, (1, 7)), (2, (1, 2))]
)
def test_the_next_smaller_pieces_make_the_same_batch(micro: int, pieces: tuple[int, int]) -> None:
    smaller = smaller_micro_batch(Batches(micro=micro, accumulation=5, evaluation=4), num_examples=99, drop_last=False)
    assert smaller == Batches(micro=pieces[0], accumulation=5 * pieces[1], evaluation=4)


def test_one_example_has_no_smaller_piece() -> None:
    assert smaller_micro_batch(Batches(micro=1, accumulation=4, evaluation=1), num_examples=9, drop_last=False) is None


@pytest.mark.parametrize(("num_examples", "micro"), [(16, 4), (17, 4), (18, 4), (22, None), (21, None)])
def test_pieces_that_would_drop_other_examples_are_not_taken(num_examples: int, micro: int | None) -> None:
    before = Batches(micro=8, accumulation=1, evaluation=8)
    found = smaller_micro_batch(before, num_examples=num_examples, drop_last=True)
    assert (found.micro if found else None) == micro


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [(OSError(12, "Cannot allocate memory"), True), (OSError(2, "No such file"), False),
     (RuntimeError("std::bad_alloc"), True), (ValueError("out of memory"), False)],
)  # fmt: skip
def test_what_counts_as_out_of_memory(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


# --- the training is the same ----------------------------------------------------------------------------


@pytest.mark.parametrize("make", [labelled, prose])
def test_a_trial_that_was_made_smaller_trains_as_the_large_one_would(tmp_path: Path, make: Any) -> None:
    config = STILL if make is labelled else STILL_GPT2
    document = make(tmp_path, config=config, per_device_train_batch_size=8, logging_steps=1, optim="sgd",
                    learning_rate=0.5)  # fmt: skip
    large = run(document, tmp_path / "large")
    with room_for(3) as tried:
        small = run(document, tmp_path / "small")
    assert {8, 4, 2} <= set(tried)
    assert small.steps == large.steps
    rows = [row for row in small.rows if "train/micro_batch_size" not in row]
    for one, other in zip(rows, large.rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3)
    for name, values in weights(small).items():
        assert values == pytest.approx(weights(large)[name], rel=1e-2, abs=1e-4)


def test_made_smaller_in_the_middle_it_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    document = labelled(tmp_path, config=STILL, per_device_train_batch_size=6, num_train_epochs=3, logging_steps=4)
    small = labelled(tmp_path, config=STILL, per_device_train_batch_size=3, gradient_accumulation_steps=2,
                     per_device_eval_batch_size=6, num_train_epochs=3, logging_steps=4)  # fmt: skip
    with room_for(3, from_call=20) as tried:
        ran = run(document, tmp_path / "trial")
    assert [report.progress.evaluation for report in ran.reports] == [1, 2, 3]
    assert tried.count(6) >= 12 + 4, "the first epoch trained with the large batch"
    note = next(row for row in ran.rows if "train/micro_batch_size" in row)
    assert (note["step"], note["train/micro_batch_size"], note["train/gradient_accumulation_steps"]) == (12, 3, 2)
    for one, other in zip(ran.metrics, run(small).metrics, strict=True):
        assert one == pytest.approx(other, rel=2e-2)


def test_it_is_the_trial_that_asked_for_the_smaller_batch(tmp_path: Path) -> None:
    """Bit for bit, dropout included: nothing of the failed start is left."""
    with room_for(2):
        found = run(labelled(tmp_path, per_device_train_batch_size=8), tmp_path / "found")
    asked = labelled(tmp_path, per_device_train_batch_size=2, gradient_accumulation_steps=4,
                     per_device_eval_batch_size=8)  # fmt: skip
    assert found.rows[1:] == run(asked, tmp_path / "asked").rows
    assert weights(found) == weights(run(asked, tmp_path / "again"))


def test_a_resumed_trial_starts_with_what_fitted_before(tmp_path: Path) -> None:
    with room_for(2):
        run(labelled(tmp_path, per_device_train_batch_size=8), tmp_path / "trial", stop_after=1)
    with room_for(2) as tried:
        resumed = run(labelled(tmp_path, per_device_train_batch_size=8), tmp_path / "trial")
    assert resumed.failure is None
    assert used(resumed) == Batches(micro=2, accumulation=4, evaluation=8)
    assert max(tried[:3]) == 2


@pytest.mark.parametrize("workers", [0, 1])
def test_an_evaluation_that_does_not_fit_is_done_in_smaller_batches(tmp_path: Path, workers: int) -> None:
    document = labelled(tmp_path, per_device_eval_batch_size=12, dataloader_num_workers=workers)
    expected = run(document)
    with room_for(10**9, evaluation=5) as tried:
        ran = run(document)
    assert 3 in tried
    assert used(ran) == Batches(micro=8, accumulation=1, evaluation=3)
    for one, other in zip(ran.rows, expected.rows, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    assert [row["train/loss"] for row in ran.rows if "train/loss" in row] == [
        row["train/loss"] for row in expected.rows if "train/loss" in row
    ]


# --- when nothing helps ----------------------------------------------------------------------------------


def failure_of(ran: tiny_trials.Ran) -> Any:
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    return ran.outcome.failure


def test_a_single_example_that_does_not_fit_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    with room_for(0) as tried:
        failure = failure_of(run(labelled(tmp_path, max_steps=1)))
    assert sorted(set(tried), reverse=True) == [8, 4, 2, 1]
    assert failure.kind == "out_of_memory"
    assert failure.message.startswith("a single example does not fit into memory: OutOfMemoryError: CUDA out of memory")


def test_an_evaluation_of_one_example_that_does_not_fit_is_a_failure(tmp_path: Path) -> None:
    with room_for(10**9, evaluation=0):
        assert failure_of(run(labelled(tmp_path, max_steps=1))).kind == "out_of_memory"


def test_a_model_that_does_not_fit_is_not_tried_with_other_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    def build(*_: Any, **__: Any) -> None:
        built.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr("trainables.training.build_model", build)
    assert failure_of(run(labelled(tmp_path, max_steps=1))).kind == "out_of_memory"
    assert len(built) == 1


def test_with_drop_last_a_batch_that_cannot_be_split_exactly_is_not_split(tmp_path: Path) -> None:
    with room_for(4):
        failure = failure_of(run(labelled(tmp_path, per_device_train_batch_size=10, dataloader_drop_last=True)))
    assert "with `dataloader_drop_last` smaller pieces would train on other examples" in failure.message


def models_alive() -> int:
    from transformers import PreTrainedModel

    return sum(isinstance(thing, PreTrainedModel) for thing in gc.get_objects())


def test_no_model_of_a_failed_start_lives_when_the_next_is_built(tmp_path: Path, monkeypatch: Any) -> None:
    from trainables import training

    alive: list[int] = []
    build = training.build_model

    def build_and_count(*arguments: Any, **options: Any) -> Any:
        alive.append(models_alive())
        return build(*arguments, **options)

    monkeypatch.setattr(training, "build_model", build_and_count)
    with room_for(1):
        assert run(labelled(tmp_path, max_steps=1)).failure is None
    assert alive == [0, 0, 0, 0]
    assert models_alive() == 0


# --- real limits -----------------------------------------------------------------------------------------

# Address space that this process may write to is limited, so the allocator itself fails, as on a small machine.
LIMITED = """
import json, resource, sys
from pathlib import Path
import tiny_trials
document = json.loads(Path(sys.argv[1]).read_text())
warm = document | {"training": document["training"] | {"per_device_train_batch_size": 1, "max_steps": 2}}
assert tiny_trials.run(warm).failure is None  # threads and libraries have their memory now
used = next(int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmData"))
limit = (used + int(sys.argv[2]) * 1024) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
ran = tiny_trials.run(document)
print(json.dumps({"failure": str(ran.outcome.failure), "micro": ran.reports[-1].usage.micro_batch_size,
                  "accumulation": ran.reports[-1].usage.gradient_accumulation_steps, "steps": ran.steps}))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit is set as Linux counts memory")
def test_a_real_limit_of_memory_is_met_by_smaller_batches(tmp_path: Path) -> None:
    document = prose(tmp_path, config={"n_embd": 64, "n_layer": 4, "n_head": 4})
    lines = (f"the boat {n} of captain {n * 7 % 31} sails home to harbour {n % 13}" for n in range(2000))
    document["data"]["source"] = {"files": texts("prose.txt", lines)}
    document["data"]["max_length"] = 128
    document["training"] = {"per_device_train_batch_size": 64, "per_device_eval_batch_size": 4, "max_steps": 2}
    ran = _limited(document, tmp_path, mebibytes=250)
    assert ran["failure"] == "None"
    assert ran["steps"][-1] == 2
    assert 1 < ran["micro"] < 64
    assert ran["micro"] * ran["accumulation"] == 64


def _limited(document: Document, folder: Path, *, mebibytes: int) -> Any:
    (folder / "document.json").write_text(json.dumps(document))
    root = Path(tiny_trials.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(folder / "document.json"), str(mebibytes)],
        env=environment, capture_output=True, text=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_limit_of_a_gpu_is_met_by_smaller_batches(tmp_path: Path) -> None:
    document = prose(tmp_path, config={"n_embd": 256, "n_layer": 4, "n_head": 4}, per_device_train_batch_size=16)
    run(document | {"training": {"per_device_train_batch_size": 1, "max_steps": 1}})
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.max_memory_reserved() + 40 * 1024**2) / total)
    try:
        ran = run(document)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert ran.failure is None
    assert used(ran).micro < 16
