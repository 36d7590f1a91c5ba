"""A warm group of two workers, driven by hand: trial after trial, stops, failures of one rank, lost ranks."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_trials import TINY_BERT, TINY_GPT2, Document, Ran, labelled, prose, run

from cluster.connect import connected
from spaces.reports import TrialFailure, TrialReport
from trainables.trainable import FAILURE, FINISHED, LAST_ROWS, REPORT, TrialOrder

pytestmark = [pytest.mark.ray, pytest.mark.slow]

# What a rank does at a step is said by the trial, so that one rank can differ from the other.
FUNCTION = """
import os, time, tempfile, pathlib, torch
import torch.distributed as dist

def train(config, report):
    rank = int(os.environ["RANK"])
    done = int((report.checkpoint / "step").read_text()) if report.checkpoint else 0
    for step in range(done + 1, config["steps"] + 1):
        with open(config["log"], "a") as file:
            file.write(f"{rank} {step} {os.getpid()}\\n")
        if config.get("on_rank") in (rank, "all") and step == config.get("at_step", 1):
            globals()[config["does"]](rank)
        total = torch.ones(1)
        dist.all_reduce(total)
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "step").write_text(str(step))
        report({"loss": float(total) / step}, checkpoint=folder, is_final=step == config["steps"])

def fail(rank):
    raise ValueError("no luck")

def fail_each_in_its_way(rank):
    raise ValueError(f"no luck {rank}")

def run_out_of_memory(rank):
    raise torch.OutOfMemoryError("CUDA out of memory")

def exit(rank):
    raise SystemExit(3)

def sleep(rank):
    time.sleep(600)

def build_other_models(rank):
    from trainables import training
    training.equal_build_model = build = training.build_model
    def other(*arguments, **options):
        model = build(*arguments, **options)
        next(model.parameters()).data[0, 0] += 1e-3
        return model
    training.build_model = other

def build_equal_models(rank):
    from trainables import training
    training.build_model = training.equal_build_model

def have_little_memory(rank):
    def limit(module, inputs):
        if isinstance(module, torch.nn.Embedding) and module.training and inputs[0].shape[0] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
    globals()["limit"] = torch.nn.modules.module.register_module_forward_pre_hook(limit)

def have_enough_memory(rank):
    globals()["limit"].remove()

def diverge(rank):
    from trainables.distributed import summed_over_ranks
    from trainables.trial_log import diverged
    raise diverged("train/loss", float(summed_over_ranks(torch.tensor(float("nan") if rank else 1.0))), step=1)
"""


@pytest.fixture(scope="module")
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    modules = tmp_path_factory.mktemp("modules")
    (modules / "two_ranks.py").write_text(FUNCTION)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(modules), before]))
    with connected(), pytest.MonkeyPatch.context() as patch:
        import ray

        from trainables import worker_group

        room = ray.util.placement_group([{"CPU": 1}] * 2)  # as Tune reserves it
        patch.setattr(worker_group, "get_current_placement_group", lambda: room)
        yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


class Group:
    """Takes the place of what Tune makes in an actor."""

    def __init__(self, *, timeout_seconds: float = 60) -> None:
        from trainables.worker_group import WorkerGroupTrainable

        self.trainable: Any = WorkerGroupTrainable.__new__(WorkerGroupTrainable)  # its __init__ wants Tune's folders
        self.trainable._run = None
        self.timeout = timeout_seconds
        self._number = 0

    def begin(self, document: Document, folder: Path) -> None:
        """Give it a trial."""
        order = TrialOrder(
            number=self._number, document=document, directory=str(folder), num_threads=1, save_checkpoints=True,
            num_workers=2, collective_timeout_seconds=self.timeout,
        ).to_config()  # fmt: skip
        (self.trainable.reset_config if self._number else self.trainable.setup)(order)
        self._number += 1

    def run(self, document: Document, folder: Path, *, stop_after: int | None = None) -> "Came":
        """Train it to its end, or to a stop."""
        self.begin(document, folder)
        came = Came()
        while True:
            result = self.trainable.step()
            came.add(result)
            if result.get("done"):
                return came
            if len(came.reports) == stop_after:
                self.trainable._end()
                return came


class Came(Ran):
    """What came back from a trial in the group."""

    failed: TrialFailure | None = None
    is_finished = False

    def add(self, result: dict[str, Any]) -> None:
        """One more Tune result."""
        if FAILURE in result:
            self.failed = TrialFailure.from_json(result[FAILURE])
            self.last_rows = json.loads(result[LAST_ROWS])
            return
        self.reports.append(TrialReport.from_json(result[REPORT]))
        self.is_finished = bool(result.get(FINISHED))


@pytest.fixture(scope="module")
def group(_ray: None) -> Iterator[Group]:
    made = Group()
    yield made
    made.trainable.cleanup()


@pytest.fixture
def doomed(_ray: None, group: Group, monkeypatch: pytest.MonkeyPatch) -> Iterator[Group]:
    """A group that will break. The other one steps aside: a machine may have room for one."""
    from trainables import worker_group

    monkeypatch.setattr(worker_group, "_PATIENCE_SECONDS", 2.0)
    group.trainable._close()
    made = Group(timeout_seconds=4)
    yield made
    made.trainable.cleanup()


@pytest.fixture
def steps(tmp_path: Path) -> Callable[..., Document]:
    def make(number: int = 3, **config: Any) -> Document:
        return {"trainable": "two_ranks:train", "config": {"steps": number, "log": str(tmp_path / "log"), **config}}

    return make


def log(folder: Path) -> list[tuple[int, int, int]]:
    """Rank, step, process of each step begun."""
    lines = (folder / "log").read_text().splitlines()
    (folder / "log").unlink()
    return [(int(rank), int(step), int(pid)) for rank, step, pid in map(str.split, lines)]


def pids(folder: Path) -> set[int]:
    return {pid for _, _, pid in log(folder)}


def without_dropout(make: Any) -> Document:
    if make is prose:
        return TINY_GPT2 | {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return TINY_BERT | {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


# --- one after another -----------------------------------------------------------------------------------


def test_trials_run_one_after_another_in_the_same_two_processes(tmp_path: Path, group: Group, steps: Any) -> None:
    seen = []
    for number in range(3):
        came = group.run(steps(), tmp_path / str(number))
        assert came.is_finished, came.failed
        seen.append(pids(tmp_path))
    assert len(seen[0]) == 2
    assert os.getpid() not in seen[0]
    assert seen[0] == seen[1] == seen[2]


def test_a_stop_reaches_all_ranks_at_the_report(tmp_path: Path, group: Group, steps: Any) -> None:
    group.run(steps(9), tmp_path / "stopped", stop_after=2)
    begun = log(tmp_path)
    assert sorted((rank, step) for rank, step, _ in begun) == [(0, 1), (0, 2), (1, 1), (1, 2)]
    assert group.run(steps(), tmp_path / "next").is_finished
    assert pids(tmp_path) == {pid for *_, pid in begun}


def test_only_the_first_rank_reports_and_saves(tmp_path: Path, group: Group, steps: Any) -> None:
    came = group.run(steps(3), tmp_path / "trial")
    assert [report.progress.evaluation for report in came.reports] == [1, 2, 3]
    assert came.metrics[0] == {"loss": 2.0}
    kept = [path.name for path in (tmp_path / "trial" / "checkpoints").iterdir() if path.is_dir()]
    assert kept == ["evaluation-00003-attempt-1"]


def test_a_trial_in_between_changes_nothing(tmp_path: Path, group: Group) -> None:
    document = labelled(tmp_path, per_device_train_batch_size=4, num_train_epochs=1)
    before = group.run(document, tmp_path / "before")
    group.run(prose(tmp_path, seed=7, bf16=True, max_grad_norm=0.1), tmp_path / "between")
    assert group.run(document, tmp_path / "after").rows == before.rows


# --- two workers are one -----------------------------------------------------------------------------------

SAME = {"logging_steps": 1, "per_device_eval_batch_size": 8, "optim": "sgd", "learning_rate": 0.3}


@pytest.mark.parametrize(
    ("make", "splits", "whole", "each"),
    [
        (labelled, 0.25, {"per_device_train_batch_size": 8}, {"per_device_train_batch_size": 4}),
        (prose, 0.25, {"per_device_train_batch_size": 4}, {"per_device_train_batch_size": 2}),
        # 77 texts to train on and 19 to validate: the last batches are not full, on one rank even empty
        (labelled, 0.2, {"per_device_train_batch_size": 12}, {"per_device_train_batch_size": 6}),
        (
            labelled, 0.2, {"per_device_train_batch_size": 16},
            {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2},
        ),
        (prose, 0.2, {"per_device_train_batch_size": 6}, {"per_device_train_batch_size": 3}),
    ],
    ids=["labels", "prose", "ragged labels", "ragged, accumulated", "ragged prose"],
)  # fmt: skip
def test_two_workers_give_the_curve_of_one_with_the_same_effective_batch(
    tmp_path: Path, group: Group, make: Any, splits: float, whole: Document, each: Document
) -> None:
    config = without_dropout(make)

    def document(training: Document) -> Document:
        made = make(tmp_path, config=config, **SAME, **training)
        made["data"]["splits"]["validation"] = splits
        return made

    one = run(document(whole))
    two = group.run(document(each), tmp_path / "two")
    assert len(one.rows) > 6
    for ours, theirs in zip(two.rows, one.rows, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)  # tokens and evaluation metrics among them
    for metrics, expected in zip(two.metrics, one.metrics, strict=True):
        assert metrics == pytest.approx(expected, rel=1e-4)


def test_each_rank_has_dropout_of_its_own(tmp_path: Path, group: Group) -> None:
    # Equal masks on equal data would give the gradient of one rank; the data of the two ranks is made equal here.
    file = tmp_path / "same.jsonl"
    file.write_text("\n".join(json.dumps({"text": "one and the same", "label": str(n % 2)}) for n in range(40)))
    document = labelled(tmp_path, per_device_train_batch_size=4, max_steps=2, logging_steps=1)
    document["data"]["source"] = {"files": str(file)}
    two = group.run(document, tmp_path / "two")
    one = run(document)
    assert two.rows[0]["train/loss"] != one.rows[0]["train/loss"]


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 3},
        {"per_device_train_batch_size": 5, "eval_strategy": "steps", "eval_steps": 3},  # the last batch is not full
    ],
    ids=["epochs", "accumulation", "ragged, inside an epoch"],
)
def test_a_resumed_trial_equals_an_uninterrupted_one(tmp_path: Path, group: Group, training: Document) -> None:
    document = labelled(tmp_path, **{"per_device_train_batch_size": 4} | training)  # with dropout: of each rank's own
    whole = group.run(document, tmp_path / "whole")
    group.run(document, tmp_path / "resumed", stop_after=1)
    group.run(prose(tmp_path, max_steps=1), tmp_path / "between")
    resumed = group.run(document, tmp_path / "resumed")
    assert resumed.metrics == whole.metrics
    assert [report.attempt for report in resumed.reports] == [2] * len(whole.reports)


# --- failures are results ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("does", "on_rank", "kind", "message"),
    [
        ("fail", 1, "error", "ValueError: no luck (on rank 1)"),
        ("fail", 0, "error", "ValueError: no luck (on rank 0)"),
        ("fail", "all", "error", "ValueError: no luck"),
        ("fail_each_in_its_way", "all", "error", "ValueError: no luck 0"),
        ("run_out_of_memory", 1, "out_of_memory", "OutOfMemoryError: CUDA out of memory (on rank 1)"),
        ("exit", 1, "error", "SystemExit: 3 (on rank 1)"),
        ("diverge", "all", "diverged", "train/loss became nan at step 1"),
    ],
)
def test_a_failure_on_any_rank_is_a_result_and_the_group_stays_warm(
    tmp_path: Path, group: Group, steps: Any, does: str, on_rank: Any, kind: str, message: str
) -> None:
    started = time.monotonic()
    came = group.run(steps(on_rank=on_rank, does=does, at_step=2 if does != "diverge" else 1), tmp_path / "failed")
    assert came.failed is not None
    assert (came.failed.kind, came.failed.message) == (kind, message)
    assert time.monotonic() - started < 30  # and not the time-out of the collective that the other rank was in
    before = pids(tmp_path)
    assert group.run(steps(), tmp_path / "next").is_finished
    assert pids(tmp_path) == before


def test_a_diverged_trial_fails_on_both_ranks_at_its_step_with_its_rows(tmp_path: Path, group: Group) -> None:
    document = labelled(tmp_path, learning_rate=1e30, logging_steps=1, per_device_train_batch_size=4)
    came = group.run(document, tmp_path / "failed")
    assert came.failed is not None
    assert came.failed.kind == "diverged"
    assert came.last_rows[0]["step"] == 1
    assert group.run(labelled(tmp_path, per_device_train_batch_size=4), tmp_path / "next").is_finished


def test_workers_that_start_from_different_parameters_fail_before_training(
    tmp_path: Path, group: Group, steps: Any
) -> None:
    group.run(steps(1, on_rank=1, does="build_other_models"), tmp_path / "poison")
    came = group.run(labelled(tmp_path, per_device_train_batch_size=4), tmp_path / "failed")
    group.run(steps(1, on_rank=1, does="build_equal_models"), tmp_path / "antidote")
    assert came.failed is not None
    assert came.failed.message.startswith("the workers of this trial do not have the same initial parameters (rank 0 ")
    assert came.reports == came.last_rows == []
    assert group.run(labelled(tmp_path, per_device_train_batch_size=4), tmp_path / "next").is_finished


def test_a_rank_that_runs_out_of_memory_makes_all_take_smaller_pieces_of_the_same_batch(
    tmp_path: Path, group: Group, steps: Any
) -> None:
    document = labelled(tmp_path, config=without_dropout(labelled), per_device_train_batch_size=4, **SAME)
    whole = group.run(document, tmp_path / "whole")
    group.run(steps(1, on_rank=1, does="have_little_memory"), tmp_path / "poison")
    came = group.run(document, tmp_path / "smaller")
    group.run(steps(1, on_rank=1, does="have_enough_memory"), tmp_path / "antidote")
    assert came.is_finished
    usage = came.reports[-1].usage
    assert usage is not None
    assert (usage.micro_batch_size, usage.gradient_accumulation_steps) == (1, 4)
    assert came.metrics == [pytest.approx(metrics, rel=1e-4) for metrics in whole.metrics]


# --- lost ranks ----------------------------------------------------------------------------------------------


def test_a_killed_rank_breaks_the_group_and_a_new_one_goes_on_from_the_checkpoint(
    tmp_path: Path, doomed: Group, steps: Any
) -> None:
    from trainables.worker_loop import GroupBroken

    doomed.begin(steps(4), tmp_path / "trial")
    first = TrialReport.from_json(doomed.trainable.step()[REPORT])
    begun = log(tmp_path)
    os.kill(next(pid for rank, _, pid in begun if rank == 1), signal.SIGKILL)
    with pytest.raises(GroupBroken):
        doomed.trainable.step()
    (tmp_path / "log").unlink(missing_ok=True)
    again = doomed.run(steps(4), tmp_path / "trial")
    assert again.is_finished
    assert again.reports[0].attempt == 2
    assert again.metrics[0] == first.metrics
    assert min(step for _, step, _ in log(tmp_path)) > 1


def test_a_rank_that_hangs_is_lost_after_the_time_out(tmp_path: Path, doomed: Group, steps: Any) -> None:
    from trainables.worker_loop import GroupBroken

    doomed.begin(steps(4, on_rank=1, does="sleep", at_step=2), tmp_path / "trial")
    doomed.trainable.step()
    started = time.monotonic()
    with pytest.raises(GroupBroken, match="lost each other"):
        doomed.trainable.step()
    assert 3 < time.monotonic() - started < 30
    (tmp_path / "log").unlink()
    assert doomed.run(steps(2), tmp_path / "next").is_finished
