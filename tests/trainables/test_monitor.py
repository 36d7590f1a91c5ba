"""Numbers of a trial: right where something can be measured, absent where not, cheap, and gone with the trial."""

import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from tiny_trials import labelled, prose, run

from spaces.reports import TrialReport
from spaces.usage import TrialUsage
from trainables.devices import data_sheet, peak_flops
from trainables.energy import CoreMeter, Gpu, GpuMeter, RaplMeter, RatedMeter, cpu_meter, gpu_meter
from trainables.flops import flops_per_token
from trainables.monitor import Monitor, accelerators, peak_memory
from trainables.pace import Pace
from trainables.position import DataPosition

# --- in a trial ------------------------------------------------------------------------------------------


def test_every_row_of_the_curve_says_how_far_and_how_fast(tmp_path: Path) -> None:
    reports: list[TrialReport] = run(labelled(tmp_path, logging_steps=3)).reports
    rows: list[Any] = [row for report in reports for row in report.rows if "train/loss" in row]
    assert [row["train/examples"] for row in rows] == [24, 48, 72, 96, 120, 144]
    for before, row in pairwise(rows):
        seconds = row["train/step_seconds"] * (row["step"] - before["step"])
        assert row["train/tokens_per_second"] * seconds == pytest.approx(row["tokens"] - before["tokens"], rel=0.01)
    assert all(row["system/peak_memory_gib"] > 0.1 for row in rows)
    energy = [row["system/energy_wh"] for row in rows]
    assert energy == sorted(energy)
    assert energy[0] > 0


def test_the_last_report_has_the_sum(tmp_path: Path) -> None:
    usage = run(labelled(tmp_path)).reports[-1].usage
    assert usage is not None
    assert usage.device
    assert usage.energy_wh is not None
    assert usage.energy_wh > 0
    assert usage.tokens_per_second is not None
    assert usage.tokens_per_second > 0
    assert (usage.micro_batch_size, usage.gradient_accumulation_steps, usage.eval_batch_size) == (8, 1, 8)


def test_a_resumed_trial_adds_to_what_its_first_attempt_used(tmp_path: Path) -> None:
    document = labelled(tmp_path)
    begun = run(document, tmp_path / "trial", stop_after=1).reports[-1].usage
    resumed = run(document, tmp_path / "trial").reports[-1].usage
    assert begun is not None
    assert resumed is not None
    assert resumed.energy_wh is not None
    assert begun.energy_wh is not None
    assert resumed.energy_wh > begun.energy_wh


def test_a_usage_survives_the_way_through_json() -> None:
    from spaces.reports import Progress

    progress = Progress(step=1, epoch=1.0, tokens=1, evaluation=1)
    report = TrialReport(progress=progress, metrics={}, usage=TrialUsage(device="x", energy_wh=0.5))
    assert TrialReport.from_json(report.to_json()) == report


@pytest.mark.parametrize("ending", ["finished", "stopped", "failed"])
def test_the_sampling_thread_ends_with_the_trial(tmp_path: Path, ending: str) -> None:
    alive: list[bool] = []

    def look(_: Any) -> None:
        alive.append(any(thread.name == "monitor" for thread in threading.enumerate()))
        if ending == "failed":
            raise ValueError

    run(labelled(tmp_path), stop_after=1 if ending == "stopped" else None, on_report=look)
    assert alive[0]
    assert not any(thread.name == "monitor" for thread in threading.enumerate())


def test_sampling_takes_less_than_half_a_percent_of_the_time() -> None:
    with Monitor() as monitor:
        time.sleep(3.5)
    assert monitor.own_seconds < 0.005 * 3


def test_the_peak_of_an_earlier_trial_is_forgotten() -> None:
    if torch.cuda.is_available() or peak_memory() is None:
        pytest.skip("the process's own peak is read on Linux without a GPU")
    with Monitor():
        block = torch.ones(100 * 1024**2)
        before = peak_memory()
        del block
    with Monitor() as monitor:
        usage = monitor.usage()
    assert before is not None
    assert usage.peak_memory_bytes is not None
    assert usage.peak_memory_bytes < before - 300 * 1024**2


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_cpu_has_no_utilisation_rather_than_a_guess(tmp_path: Path) -> None:
    ran = run(labelled(tmp_path, max_steps=2))
    assert accelerators()[0] == []
    usage = ran.reports[-1].usage
    assert usage is not None
    assert (usage.mfu, usage.gpu_utilization, usage.gpu_power_watts) == (None, None, None)
    assert not any(name in row for row in ran.reports[-1].rows for name in ("system/mfu", "system/gpu_utilization"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_tells_its_numbers(tmp_path: Path) -> None:
    usage = run(prose(tmp_path, max_steps=20)).reports[-1].usage
    assert usage is not None
    assert usage.device == torch.cuda.get_device_name(0)
    assert usage.peak_memory_bytes == torch.cuda.max_memory_allocated(0)


# --- speed -----------------------------------------------------------------------------------------------


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_pauses_are_no_training_time() -> None:
    clock = Clock()
    pace = Pace(flops_per_token=lambda length: 10.0 * length, peak_flops=1000.0, now=clock)
    pace.start(step=5, tokens=100, examples=10)
    clock.seconds = 2
    row = pace.row(step=9, tokens=140, examples=20)
    assert row == {"train/tokens_per_second": 20.0, "train/step_seconds": 0.5, "system/mfu": 0.8}
    clock.seconds = 50
    pace.resume()
    clock.seconds = 51
    assert pace.row(step=10, tokens=160, examples=25)["train/tokens_per_second"] == 20.0
    assert (pace.tokens_per_second, pace.mfu) == (20.0, 0.8)


def test_without_a_known_peak_there_is_no_utilisation() -> None:
    pace = Pace(flops_per_token=lambda length: 10.0, peak_flops=None)
    assert "system/mfu" not in pace.row(step=1, tokens=10, examples=1)
    assert pace.mfu is None


@pytest.mark.parametrize(
    ("step", "examples", "epoch"), [(0, 0, 0.0), (1, 8, 0.4), (2, 16, 0.8), (3, 20, 1.0), (4, 28, 1.4), (6, 40, 2.0)]
)
def test_the_position_in_the_data(step: int, examples: int, epoch: float) -> None:
    position = DataPosition(num_examples=20, batch=8)
    assert (position.examples(step), position.epoch(step)) == (examples, epoch)


# --- arithmetic ------------------------------------------------------------------------------------------


def gpt2(**config: Any) -> Any:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 100, "n_positions": 64} | config
    return transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model("gpt2", **sizes))


def counted_flops(model: Any, length: int) -> float:
    """What torch itself counts in a forward and a backward pass of one example."""
    from torch.utils.flop_counter import FlopCounterMode

    model.config._attn_implementation = "eager"  # the counter knows no fused attention on a CPU
    tokens = torch.zeros((1, length), dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=tokens, labels=tokens).loss.backward()
    return float(counter.get_total_flops())


@pytest.mark.parametrize("length", [16, 64])
def test_the_arithmetic_of_a_token_is_what_torch_counts(length: int) -> None:
    model = gpt2()
    assert flops_per_token(model, length=length) == pytest.approx(counted_flops(model, length) / length, rel=0.02)


@pytest.mark.parametrize("frozen", ["embeddings and the first block", "all but the first block"])
def test_frozen_weights_need_less_arithmetic(frozen: str) -> None:
    model = gpt2()
    blocks = model.transformer.h
    model.transformer.wpe.requires_grad_(False)
    for block in [blocks[0]] if frozen.startswith("embeddings") else [blocks[1], model.transformer.ln_f]:
        block.requires_grad_(False)
    model.config.tie_word_embeddings = False
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    model.transformer.wte.requires_grad_(False)
    assert flops_per_token(model, length=16) == pytest.approx(counted_flops(model, 16) / 16, rel=0.04)


def test_a_mixture_of_experts_has_no_simple_figure() -> None:
    model = gpt2()
    model.config.num_local_experts = 8
    assert flops_per_token(model, length=16) is None


@pytest.mark.parametrize(
    ("device", "bf16", "watts"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4, 700), ("NVIDIA H100 PCIe", 756, 350), ("NVIDIA H200", 989.4, 700),
        ("NVIDIA A100-SXM4-80GB", 312, 400), ("NVIDIA A100-PCIE-40GB", 312, 250), ("NVIDIA A10G", 70, 300),
        ("NVIDIA L4", 121, 72), ("NVIDIA L40S", 362.05, 350), ("NVIDIA GeForce RTX 4090", 165.2, 450),
        ("AMD Instinct MI300X", 1307.4, 750), ("Apple M1 Max", 10.4, 60), ("NVIDIA GB200", 2500, 1200),
        ("NVIDIA A100 80GB PCIe", 312, 300), ("NVIDIA GH200 480GB", 989.4, 1000), ("NVIDIA H20", 148, 400),
    ],
)  # fmt: skip
def test_a_known_device_has_the_figures_of_its_data_sheet(device: str, bf16: float, watts: float) -> None:
    sheet = data_sheet(device)
    assert sheet is not None
    assert (peak_flops(device, "bf16"), sheet.watts) == (bf16 * 1e12, watts)


@pytest.mark.parametrize(
    "device", ["NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA GeForce RTX 4090 Laptop GPU", "AMD EPYC", "Quadro X"]
)
def test_an_unknown_device_has_no_figures(device: str) -> None:
    assert peak_flops(device, "bf16") is None


def test_an_old_gpu_has_no_peak_in_a_precision_it_lacks() -> None:
    assert peak_flops("Tesla T4", "bf16") is None
    assert peak_flops("Tesla T4", "fp16") == 65e12


# --- energy ----------------------------------------------------------------------------------------------


class Driver:
    """A driver with one GPU, answering as NVML does."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, counts_energy: bool) -> None:
        self.millijoules: int | None = 1_000_000 if counts_energy else None
        self.milliwatts = 200_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: object) -> int:  # noqa: N802  # NVML's name
        if self.millijoules is None:
            raise self.NVMLError
        return self.millijoules

    def nvmlDeviceGetPowerUsage(self, handle: object) -> int:  # noqa: N802  # NVML's name
        return self.milliwatts

    def nvmlDeviceGetUtilizationRates(self, handle: object) -> Any:  # noqa: N802  # NVML's name
        return SimpleNamespace(gpu=87)


def test_a_gpu_that_counts_its_energy_is_asked_for_it() -> None:
    driver = Driver(counts_energy=True)
    meter = GpuMeter([Gpu(driver, None)], share=0.5)
    driver.millijoules = 1_500_000
    assert meter.read() == 250.0


def test_the_power_of_an_older_gpu_is_summed_up() -> None:
    clock = Clock()
    driver = Driver(counts_energy=False)
    meter = GpuMeter([Gpu(driver, None)], share=1.0, now=clock)
    clock.seconds = 2
    meter.read()
    driver.milliwatts = 100_000
    clock.seconds = 3
    assert meter.read() == 2 * 200 + 100


def test_a_gpu_without_a_driver_library_is_estimated_by_its_rated_power() -> None:
    meter = gpu_meter([], ["NVIDIA H100 80GB HBM3"], share=1.0)
    assert isinstance(meter, RatedMeter)
    assert meter.is_estimate
    assert gpu_meter([], ["Unheard-of 9000"], share=1.0) is None


def powercap(folder: Path, *, microjoules: int) -> Path:
    """Counter files as Linux has them: one package and its cores, which are part of it."""
    for name, kind in (("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core")):
        place = folder / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "name").write_text(kind + "\n")
        (place / "energy_uj").write_text(f"{microjoules}\n")
        (place / "max_energy_range_uj").write_text("1000000000\n")
    return folder


def test_the_counter_of_the_cpu_is_read_across_its_end(tmp_path: Path) -> None:
    folder = powercap(tmp_path, microjoules=990_000_000)
    meter = RaplMeter([folder / "intel-rapl:0"], busy_share=lambda: 0.5)
    powercap(tmp_path, microjoules=10_000_000)
    assert meter.read() == pytest.approx(0.5 * 20)


def test_the_cpu_is_measured_by_its_packages_where_they_can_be_read(tmp_path: Path) -> None:
    meter = cpu_meter(powercap(tmp_path / "there", microjoules=1))
    assert isinstance(meter, RaplMeter)
    assert len(meter._packages) == 1
    assert isinstance(cpu_meter(tmp_path / "nowhere"), CoreMeter)


def test_an_estimate_says_that_it_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.monitor.cpu_meter", lambda: CoreMeter())
    monkeypatch.setitem(sys.modules, "torch", None)
    with Monitor() as monitor:
        sum(range(10**6))
        usage = monitor.usage()
    assert usage.energy_is_estimate
    assert usage.energy_wh is not None
    assert usage.energy_wh > 0
