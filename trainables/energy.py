"""How much energy a trial takes: counters where there are some, else rated power times time, marked as such.

GPUs answer for themselves (NVML). The counter of a CPU (RAPL) is the machine's: a trial takes the share of it that
it has of the machine's busy time.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from trainables.devices import data_sheet

POWERCAP = Path("/sys/class/powercap")
# What a core takes under load where nothing is known of it (Green Algorithms, doi 10.1002/advs.202100707).
WATTS_PER_CORE = 12.0


class EnergyMeter(Protocol):
    """Counts from when it was made. `read` must come often enough: see each."""

    is_estimate: bool

    def read(self) -> float:
        """Joules so far."""


class Gpu:
    """One NVIDIA GPU as NVML sees it. What a device or driver does not tell is None."""

    def __init__(self, library: Any, handle: Any) -> None:
        self._library = library
        self._handle = handle

    def utilization(self) -> float | None:
        """Share of the last moment in which a kernel ran, 0 to 1."""
        rates = self._ask(self._library.nvmlDeviceGetUtilizationRates)
        return None if rates is None else rates.gpu / 100

    def watts(self) -> float | None:
        """Power at this moment."""
        milliwatts = self._ask(self._library.nvmlDeviceGetPowerUsage)
        return None if milliwatts is None else milliwatts / 1000

    def joules(self) -> float | None:
        """Energy since the driver was loaded; GPUs before Volta do not count it."""
        millijoules = self._ask(self._library.nvmlDeviceGetTotalEnergyConsumption)
        return None if millijoules is None else millijoules / 1000

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        try:
            return question(self._handle)
        except self._library.NVMLError:
            return None


def nvidia_gpus(uuids: Sequence[str]) -> list[Gpu]:
    """The GPUs with these ids; none where NVML, or its Python package (`tunesmith[gpu]`), is missing."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        pynvml.nvmlInit()
        return [Gpu(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid)) for uuid in uuids]
    except pynvml.NVMLError:
        return []


class GpuMeter:
    """Energy of GPUs by their counters, else by their power between two readings; `share` of it where trials share."""

    is_estimate = False

    def __init__(self, gpus: Sequence[Gpu], *, share: float, now: Callable[[], float] = time.monotonic) -> None:
        self._gpus = gpus
        self._share = share
        self._now = now
        self._first = [gpu.joules() for gpu in gpus]
        self._integrated = [0.0] * len(gpus)
        self._then = now()

    def read(self) -> float:
        """Joules so far."""
        now = self._now()
        total = 0.0
        for index, (gpu, first) in enumerate(zip(self._gpus, self._first, strict=True)):
            counted = gpu.joules() if first is not None else None
            if counted is not None and first is not None:
                total += counted - first
            else:
                self._integrated[index] += (gpu.watts() or 0.0) * (now - self._then)
                total += self._integrated[index]
        self._then = now
        return self._share * total


class RaplMeter:
    """Energy of the CPU packages by their counters, which wrap: to be read every few minutes."""

    is_estimate = False

    def __init__(self, packages: Sequence[Path], *, busy_share: Callable[[], float]) -> None:
        self._packages = packages
        self._busy_share = busy_share
        self._ranges = [int((path / "max_energy_range_uj").read_text()) for path in packages]
        self._last = self._counters()
        self._joules = 0.0
        busy_share()

    def read(self) -> float:
        """Joules so far."""
        counters = self._counters()
        used = sum(
            (new - old) % size for new, old, size in zip(counters, self._last, self._ranges, strict=True)
        )  # fmt: skip
        self._last = counters
        self._joules += used / 1e6 * self._busy_share()
        return self._joules

    def _counters(self) -> list[int]:
        return [int((path / "energy_uj").read_text()) for path in self._packages]


class RatedMeter:
    """Rated power of GPUs times time: more than they took."""

    is_estimate = True

    def __init__(self, watts: float, *, now: Callable[[], float] = time.monotonic) -> None:
        self._watts = watts
        self._now = now
        self._started = now()

    def read(self) -> float:
        """Joules so far."""
        return self._watts * (self._now() - self._started)


class CoreMeter:
    """Power of a typical core times the time that this process kept cores busy."""

    is_estimate = True

    def __init__(self) -> None:
        self._started = time.process_time()

    def read(self) -> float:
        """Joules so far."""
        return WATTS_PER_CORE * (time.process_time() - self._started)


def gpu_meter(gpus: Sequence[Gpu], names: Sequence[str], *, share: float) -> EnergyMeter | None:
    """For a trial on GPUs; None when nothing is known of them."""
    if gpus and any(gpu.joules() is not None or gpu.watts() is not None for gpu in gpus):
        return GpuMeter(gpus, share=share)
    sheets = [data_sheet(name) for name in names]
    if not all(sheets):
        return None
    return RatedMeter(share * sum(sheet.watts for sheet in sheets if sheet))


def cpu_meter(powercap: Path = POWERCAP) -> EnergyMeter:
    """For a trial on the CPU."""
    packages = []
    with contextlib.suppress(OSError):  # containers have no such folder, and many systems keep it to root
        for path in sorted(powercap.glob("*:*")):
            if (path / "name").read_text().startswith("package") and (path / "energy_uj").read_text():
                packages.append(path)
        if packages:
            return RaplMeter(packages, busy_share=BusyShare())
    return CoreMeter()


class BusyShare:
    """The share that this process had of the machine's busy time since it was last asked."""

    def __init__(self) -> None:
        self._own, self._all = 0.0, 0.0

    def __call__(self) -> float:
        import psutil

        times = psutil.cpu_times()
        own = time.process_time()
        busy = sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)
        own_since, busy_since = own - self._own, busy - self._all
        self._own, self._all = own, busy
        return min(1.0, own_since / busy_since) if busy_since > 0 else 0.0
