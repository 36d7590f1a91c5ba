"""What a trial has used: energy, memory, speed. A value that travels with its reports; knows no device."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialUsage:
    """Of one trial, all its attempts together. None where nothing could be measured: nothing is guessed."""

    device: str = ""
    """What it trained on, by its maker's name."""
    energy_wh: float | None = None
    """Energy of the GPUs, or of the CPU where there is none, in watt-hours."""
    energy_is_estimate: bool = False
    """Whether no counter could be read, so that energy is rated power times time."""
    peak_memory_bytes: int | None = None
    """Most memory held at once: by tensors on the GPUs, or by the process where there is none.
    With several workers that of the one that held most."""
    tokens_per_second: float | None = None
    """Training tokens a second of training; evaluations and checkpoints are no training."""
    mfu: float | None = None
    """Model FLOPs utilisation: the share of the GPUs' peak that the model's own arithmetic made use of."""
    gpu_utilization: float | None = None
    """Mean share of the time in which a kernel ran, as NVML counts it."""
    gpu_power_watts: float | None = None
    """Mean power of all its GPUs."""
    parameters: int | None = None
    """Weights of the model, those of adapters included."""
    trainable_parameters: int | None = None
    """Those of them that train."""
    latency_ms: float | None = None
    """Milliseconds that an example took in the last evaluation."""
    micro_batch_size: int | None = None
    """Examples that passed a device at once in the end; fewer than the spec's after running out of memory."""
    gradient_accumulation_steps: int | None = None
    """Such passes for each optimizer step."""
    eval_batch_size: int | None = None
    """Examples that passed a device at once in evaluations in the end."""


def together(usages: Sequence[TrialUsage]) -> TrialUsage:
    """Of the workers that train one trial. Speed and batches are the same for all: the first one's are taken."""
    utilizations = _known(usage.gpu_utilization for usage in usages)
    energies = _known(usage.energy_wh for usage in usages)
    watts = _known(usage.gpu_power_watts for usage in usages)
    return replace(
        usages[0],
        device=", ".join(dict.fromkeys(usage.device for usage in usages if usage.device)),
        energy_wh=sum(energies) if energies else None,
        energy_is_estimate=any(usage.energy_is_estimate for usage in usages),
        peak_memory_bytes=max((usage.peak_memory_bytes or 0 for usage in usages), default=0) or None,
        gpu_utilization=sum(utilizations) / len(utilizations) if utilizations else None,
        gpu_power_watts=sum(watts) if watts else None,
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
