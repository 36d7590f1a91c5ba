"""What a trial has used: energy, memory, speed. A value that travels with its reports; knows no device."""

from dataclasses import dataclass


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
    """Most memory held at once: by tensors on the GPUs, or by the process where there is none."""
    tokens_per_second: float | None = None
    """Training tokens a second of training; evaluations and checkpoints are no training."""
    mfu: float | None = None
    """Model FLOPs utilisation: the share of the GPUs' peak that the model's own arithmetic made use of."""
    gpu_utilization: float | None = None
    """Mean share of the time in which a kernel ran, as NVML counts it."""
    gpu_power_watts: float | None = None
    """Mean power of all its GPUs."""
    micro_batch_size: int | None = None
    """Examples that passed a device at once in the end; fewer than the spec's after running out of memory."""
    gradient_accumulation_steps: int | None = None
    """Such passes for each optimizer step."""
    eval_batch_size: int | None = None
    """Examples that passed a device at once in evaluations in the end."""
