"""Numbers of a running trial: memory, power, energy, utilisation. A thread samples them and ends with the trial.

Knows no Trainer: tokens and steps are counted where they happen. Works without torch and without a GPU.
"""

import contextlib
import platform
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from spaces.reports import Row
from spaces.usage import TrialUsage
from trainables.energy import EnergyMeter, Gpu, cpu_meter, gpu_meter, nvidia_gpus

SAMPLING_SECONDS = 1.0
_JOIN_SECONDS = 5.0
_GIBIBYTE = 1024**3


@dataclass
class _Means:
    """Sums over samples."""

    count: int = 0
    utilization: float = 0.0
    watts: float = 0.0

    def add(self, utilization: float, watts: float) -> None:
        self.count += 1
        self.utilization += utilization
        self.watts += watts

    def mean(self, total: float) -> float | None:
        return total / self.count if self.count else None


class Monitor:
    """Samples while it is open, as a context. What earlier attempts of the trial used is added."""

    def __init__(
        self, *, before: TrialUsage | None = None, gpu_share: float = 1.0, sampling_seconds: float = SAMPLING_SECONDS
    ) -> None:
        self._before = before or TrialUsage()
        self._gpu_share = gpu_share
        self._sampling_seconds = sampling_seconds
        self._gpus: list[Gpu] = []
        self._meter: EnergyMeter | None = None
        self._joules = 0.0
        self._since_row, self._overall = _Means(), _Means()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_end, name="monitor", daemon=True)
        self.devices: list[str] = []
        """Names of the accelerators of this process; none on a CPU."""
        self.own_seconds = 0.0
        """CPU time that the sampling thread itself has taken."""

    def __enter__(self) -> "Monitor":
        self.devices, uuids = accelerators()
        self._gpus = nvidia_gpus(uuids)
        self._meter = (
            gpu_meter(self._gpus, self.devices, share=self._gpu_share) if self.devices else cpu_meter()
        )  # fmt: skip
        _reset_peak_memory()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(_JOIN_SECONDS)

    def row(self) -> Row:
        """What to add to a row of the history: peak and total so far, means since the last such row."""
        usage = self.usage()
        with self._lock:
            means, self._since_row = self._since_row, _Means()
        values = {
            "system/peak_memory_gib": _scaled(usage.peak_memory_bytes, 1 / _GIBIBYTE),
            "system/energy_wh": _scaled(usage.energy_wh, 1.0),
            "system/gpu_utilization": _scaled(means.mean(means.utilization), 1.0),
            "system/gpu_power_watts": _scaled(means.mean(means.watts), 1.0),
        }
        return {name: value for name, value in values.items() if value is not None}

    def usage(self) -> TrialUsage:
        """What the trial has used so far. Its speed is left to the loop."""
        self._sample()
        before = self._before
        with self._lock:
            joules = self._joules
            utilization = self._overall.mean(self._overall.utilization)
            watts = self._overall.mean(self._overall.watts)
        has_meter = self._meter is not None
        return replace(
            before,
            device=", ".join(dict.fromkeys(self.devices)) or cpu_name(),
            energy_wh=(before.energy_wh or 0.0) + joules / 3600 if has_meter else before.energy_wh,
            energy_is_estimate=before.energy_is_estimate or (self._meter is not None and self._meter.is_estimate),
            peak_memory_bytes=max(before.peak_memory_bytes or 0, peak_memory() or 0) or None,
            gpu_utilization=before.gpu_utilization if utilization is None else utilization,
            gpu_power_watts=before.gpu_power_watts if watts is None else watts,
        )

    def _sample_until_end(self) -> None:
        while not self._end.wait(self._sampling_seconds):
            began = time.thread_time()
            self._sample()
            self.own_seconds += time.thread_time() - began

    def _sample(self) -> None:
        with self._lock, contextlib.suppress(OSError):  # a counter that can be read no more ends no trial
            if self._meter is not None:
                self._joules = self._meter.read()
            utilizations = [gpu.utilization() for gpu in self._gpus]
            watts = [gpu.watts() for gpu in self._gpus]
            known = [value for value in utilizations if value is not None]
            if known:
                for means in (self._since_row, self._overall):
                    means.add(sum(known) / len(known), sum(value or 0.0 for value in watts))


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else float(f"{value * factor:.6g}")


# --- this process ----------------------------------------------------------------------------------------


def accelerators() -> tuple[list[str], list[str]]:
    """Names of the GPUs that this process may use, and their ids where they have some. Does not import torch."""
    torch = sys.modules.get("torch")
    if torch is None:
        return [], []
    if torch.cuda.is_available():
        devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        return [device.name for device in devices], [f"GPU-{device.uuid}" for device in devices]
    if torch.backends.mps.is_available():
        return [_apple_chip()], []
    return [], []


@cache
def cpu_name() -> str:
    """The CPU's model, as its maker calls it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


@cache
def _apple_chip() -> str:
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def peak_memory() -> int | None:
    """Bytes held at most since the trial began: by tensors on CUDA devices, else by the process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        return sum(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return None  # elsewhere the system knows the peak of the whole process only, earlier trials included


def _reset_peak_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)
    with contextlib.suppress(OSError):
        # 5 resets VmHWM (proc(5)): the process is warm, and an earlier trial may have needed more.
        Path("/proc/self/clear_refs").write_text("5")
