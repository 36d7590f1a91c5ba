"""An unchanged Ray Train loop as a trial, in this process and without a cluster."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from patience import HANG_SECONDS
from ray.train.v2._internal.execution import train_fn_utils
from tiny_trials import Document, Ran, run

from spaces.reports import TrialReport

Loop = Callable[..., Document]

# As a user of Ray Train writes it: model and loader prepared, a checkpoint in a temporary folder at each report.
LINE = """
import os, random, tempfile
import torch
from torch.utils.data import DataLoader, TensorDataset
import ray.train, ray.train.torch
from ray.train import Checkpoint

def train_loop_per_worker(config):
    x = torch.linspace(-1, 1, 64).unsqueeze(1)
    noise = 0.1 * torch.randn(64, 1)
    model = ray.train.torch.prepare_model(torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Dropout(0.2),
                                                              torch.nn.Linear(4, 1)))
    optimizer = torch.optim.Adam(model.parameters(), lr=config["lr"])
    loader = ray.train.torch.prepare_data_loader(
        DataLoader(TensorDataset(x, 3 * x + noise), batch_size=16, shuffle=True))
    start = 0
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            state = torch.load(os.path.join(folder, "state.pt"))
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        start = state["epoch"] + 1
    for epoch in range(start, config["epochs"]):
        for inputs, targets in loader:
            loss = torch.nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with tempfile.TemporaryDirectory() as folder:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch,
                        "random": torch.get_rng_state()}, os.path.join(folder, "state.pt"))
            ray.train.report({"loss": loss.item(), "norm": model[0].weight.norm()},
                             checkpoint=Checkpoint.from_directory(folder))
"""


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loop:
    """Writes a module with the body of a Ray Train loop, or a whole module; gives the trial document."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(text: str, **config: Any) -> Document:
        if "def train_loop_per_worker" not in text:
            body = "\n".join(f"    {line}" for line in text.strip("\n").splitlines())
            text = f"import os, tempfile\nimport ray.train\n\ndef train_loop_per_worker(config):\n{body}\n"
        (tmp_path / "users_loop.py").write_text(text)
        monkeypatch.delitem(sys.modules, "users_loop", raising=False)
        return {"trainable": f"{tmp_path / 'users_loop.py'}:train_loop_per_worker", "config": config}

    return make


def message(ran: Ran) -> str:
    assert ran.outcome is not None
    assert ran.outcome.failure is not None, ran.reports
    return ran.outcome.failure.message


def test_its_reports_arrive_and_its_return_marks_the_last_one(loop: Loop) -> None:
    ran = run(loop("for n in range(1, 3): ray.train.report({'loss': config['start'] / n})", start=4))
    seen = [(one.progress.evaluation, one.progress.is_final, one.metrics) for one in ran.reports]
    assert seen == [(1, False, {"loss": 4.0}), (2, False, {"loss": 2.0}), (2, True, {"loss": 2.0})]
    assert ran.failure is None


def test_it_is_rank_0_of_one_and_needs_no_cluster(loop: Loop) -> None:
    body = """
context = ray.train.get_context()
ray.train.report({"size": context.get_world_size(), "rank": context.get_world_rank(),
                  "local": context.get_local_rank(), "node": context.get_node_rank()})
"""
    assert run(loop(body)).metrics[0] == {"size": 1.0, "rank": 0.0, "local": 0.0, "node": 0.0}
    assert not ray.is_initialized()


def test_a_stopped_loop_goes_on_from_its_checkpoint_with_the_same_curve(loop: Loop, tmp_path: Path) -> None:
    document = loop(LINE, lr=0.05, epochs=4)
    whole = run(document, tmp_path / "whole")
    begun = run(document, tmp_path / "halves", stop_after=2)
    resumed = run(document, tmp_path / "halves")
    assert begun.outcome is None
    assert [one.progress.evaluation for one in resumed.reports] == [2, 3, 4, 4]
    assert [*begun.metrics, *resumed.metrics[1:]] == whole.metrics
    assert len({metrics["loss"] for metrics in whole.metrics}) == 4


def test_its_checkpoint_is_copied_to_the_trials_folder(loop: Loop, tmp_path: Path) -> None:
    body = """
os.makedirs(config["folder"], exist_ok=True)
for n in range(1, 4):
    open(os.path.join(config["folder"], "n"), "w").write(str(n))
    ray.train.report({"loss": 1 / n}, checkpoint=ray.train.Checkpoint.from_directory(config["folder"]))
"""
    ran = run(loop(body, folder=str(tmp_path / "own")), tmp_path / "trial")
    assert (Path(str(ran.reports[-1].checkpoint)) / "n").read_text() == "3"
    assert (tmp_path / "own" / "n").is_file()
    kept = [path.name for path in (tmp_path / "trial" / "checkpoints").iterdir() if path.is_dir()]
    assert kept == ["evaluation-00003-attempt-1"]


@pytest.mark.parametrize("has_folder", [True, False])
def test_within_a_run_get_checkpoint_gives_the_last_reported_one(loop: Loop, tmp_path: Path, has_folder: bool) -> None:
    body = """
seen = []
for n in range(1, 4):
    checkpoint = ray.train.get_checkpoint()
    seen.append(0 if checkpoint is None else int(open(os.path.join(checkpoint.path, "n")).read()))
    with tempfile.TemporaryDirectory() as folder:
        open(os.path.join(folder, "n"), "w").write(str(n))
        ray.train.report({"seen": seen[-1]}, checkpoint=ray.train.Checkpoint.from_directory(folder))
"""
    ran = run(loop(body), tmp_path / "trial" if has_folder else None)
    assert [metrics["seen"] for metrics in ran.metrics] == [0.0, 1.0, 2.0, 2.0]


def test_without_checkpoints_a_resumed_loop_starts_again(loop: Loop, tmp_path: Path) -> None:
    document = loop(LINE, lr=0.05, epochs=3)
    begun = run(document, tmp_path / "trial", stop_after=2, save_checkpoints=False)
    again = run(document, tmp_path / "trial", save_checkpoints=False)
    assert again.metrics[:2] == begun.metrics
    assert [one.checkpoint for one in again.reports] == [None] * 4
    assert list((tmp_path / "trial" / "checkpoints").iterdir()) == []


def test_a_report_waits_until_it_is_answered(loop: Loop) -> None:
    order: list[str] = []

    def answer(made: TrialReport) -> None:
        order.append(f"answer {made.progress.evaluation} at {os.environ['TESTED_STEP']}")

    run(loop("for n in '12':\n    os.environ['TESTED_STEP'] = n\n    ray.train.report({'loss': 1})"), on_report=answer)
    assert order[:2] == ["answer 1 at 1", "answer 2 at 2"]


def test_metrics_of_any_name_and_kind_are_kept(loop: Loop) -> None:
    body = """
import numpy, torch
ray.train.report({"val": {"loss": torch.tensor(0.5), "deep": {"f1": numpy.float32(0.25)}}, "epoch": 7, "is good": True,
                  "note": "warm", "per class": [1, 2], "nothing": None, "done": 1, "ratio": float("inf")})
"""
    ran = run(loop(body), metric="val/loss")
    assert ran.metrics[0] == {"val/loss": 0.5, "val/deep/f1": 0.25, "epoch": 7.0, "is good": 1.0, "done": 1.0}
    row = ran.rows[0]
    assert {name: row[name] for name in ("epoch", "reported/epoch", "note", "per class", "nothing", "ratio")} == {
        "epoch": 1.0, "reported/epoch": 7.0, "note": "warm", "per class": "[1, 2]", "nothing": None,
        "ratio": float("inf"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("ray.train.report({'loss': float('nan')})", "diverged", "loss became nan at step 1"),
        ("ray.train.report({'los': 1.0})", "error", "does not report `loss`, the search's metric; it reports los. Did"),
        ("ray.train.report({})", "error", "it reports no number"),
        ("ray.train.report({'loss': 'small'})", "error", "`loss`, the search's metric, should be a number"),
        ("pass", "error", "without a single report"),
        ("raise ValueError('no')", "error", "ValueError: no"),
        ("ray.train.get_dataset_shard('train')", "error", "get_dataset_shard('train')` does not work in a search"),
        (
            "ray.train.report({'loss': 1}, checkpoint=ray.train.Checkpoint('/tmp'), validation=True)",
            "error",
            "validate",
        ),
        ("ray.train.report({'loss': 1}, checkpoint_upload_fn=print)", "error", "leave it out"),
    ],
)
def test_what_goes_wrong_in_it_is_a_failure(loop: Loop, body: str, kind: str, text: str) -> None:
    ran = run(loop(body), metric="loss")
    assert ran.failure == kind
    assert text in message(ran)


POLLUTING = """
import os, random, sys, tempfile, warnings
import numpy, torch
import ray.train, ray.train.torch
from accelerate import Accelerator

def train_loop_per_worker(config):
    ray.train.torch.enable_reproducibility(seed=5)
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(3)
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.benchmark = True
    torch.autograd.set_detect_anomaly(True)
    torch.set_grad_enabled(False)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tempfile.mktemp()}", rank=0, world_size=1)
    Accelerator(mixed_precision="bf16")
    warnings.simplefilter("ignore")
    os.environ["LEFT_BEHIND"] = "1"
    os.environ["HOME"] = "/nowhere"
    os.chdir(tempfile.gettempdir())
    sys.path.insert(0, "/nowhere")
    ray.train.report({"loss": random.random() + numpy.random.rand() + torch.rand(1).item()})
    if config["fails"]:
        raise ValueError("on purpose")
"""

SEEING = """
import os, random, sys, warnings
import numpy, torch
import ray.train
from accelerate import Accelerator

def train_loop_per_worker(config):
    precision = Accelerator().mixed_precision
    weight = torch.nn.Linear(3, 3).weight
    (weight ** 2).sum().backward()
    ray.train.report({
        "random": random.random(), "numpy": numpy.random.rand(), "torch": torch.rand(1).item(),
        "weight": weight.sum(), "gradient": weight.grad.sum(), "bits": torch.finfo(weight.dtype).bits,
        "threads": torch.get_num_threads(), "deterministic": torch.are_deterministic_algorithms_enabled(),
        "group": torch.distributed.is_initialized(), "filters": len(warnings.filters), "paths": len(sys.path),
        "precision": precision, "matmul": torch.get_float32_matmul_precision(),
        "cwd": os.getcwd(), "environment": sorted(os.environ.items()).__repr__()[-400:], "home": os.environ["HOME"],
    })
"""

ALONE = """
import json, sys
sys.path[:0] = json.loads(sys.argv[2])
from tiny_trials import run
ran = run(json.loads(sys.argv[1]))
print(json.dumps(ran.rows))
"""


@pytest.mark.parametrize("fails", [False, True])
def test_a_loop_after_another_gives_bit_for_bit_what_it_gives_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    documents = {}
    for name, text in (("polluting", POLLUTING), ("seeing", SEEING), ("line", LINE)):
        file = tmp_path / f"{name}_{fails}.py"
        file.write_text(text)
        config = {"fails": fails, "seed": 3, "lr": 0.05, "epochs": 2}
        documents[name] = {"trainable": f"{file}:train_loop_per_worker", "config": config}
    first = {name: run(documents[name]) for name in ("seeing", "line")}
    assert run(documents["polluting"]).failure == ("error" if fails else None)
    second = {name: run(documents[name]) for name in ("seeing", "line")}
    for name in first:
        assert first[name].failure is None
        assert second[name].rows == first[name].rows
    alone = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps(documents["line"]), json.dumps([str(Path(__file__).parents[1])])],
        capture_output=True, text=True, check=True, timeout=HANG_SECONDS,
    )  # fmt: skip
    assert json.loads(alone.stdout.splitlines()[-1]) == second["line"].rows


def test_after_a_trial_ray_train_is_as_before(loop: Loop) -> None:
    before = train_fn_utils._train_fn_utils
    threads = torch.get_num_threads()
    run(loop("ray.train.report({'loss': 1})"))
    run(loop("raise ValueError"))
    assert train_fn_utils._train_fn_utils is before
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("seeds", [({}, {}), ({"seed": 1}, {"seed": 1}), ({"seed": 1}, {"seed": 2})])
def test_the_seed_in_config_decides_the_random_numbers(loop: Loop, seeds: tuple[dict[str, int], ...]) -> None:
    text = (
        "import torch, random, numpy\n"
        "ray.train.report({'loss': torch.rand(1), 'a': random.random(), 'b': numpy.random.rand()})"
    )
    first, second = (run(loop(text, **seed)).metrics[0] for seed in seeds)
    assert [first[name] == second[name] for name in first] == [seeds[0] == seeds[1]] * 3


def test_a_loop_that_hides_the_stop_is_stopped_all_the_same(loop: Loop, tmp_path: Path) -> None:
    body = """
for n in range(1, 6):
    try:
        ray.train.report({"loss": 1 / n})
    except Exception:
        pass
"""
    assert len(run(loop(body), tmp_path / "trial", stop_after=2).reports) == 2
