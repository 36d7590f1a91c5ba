"""Training arguments that do not go together, or need a package or a device that is not there. Imports no torch."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from spaces.errors import SpecError
from trainables.schedules import check_schedule

# Package to import, and what to install, for optimizers that torch does not bring.
_OPTIMIZER_PACKAGES = {
    "galore": ("galore_torch", "galore-torch"),
    "apollo": ("apollo_torch", "apollo-torch"),
    "lomo": ("lomo_optim", "lomo-optim"),
    "adalomo": ("lomo_optim", "lomo-optim"),
    "grokadamw": ("grokadamw", "grokadamw"),
    "schedule_free": ("schedulefree", "schedulefree"),
    "stable_adamw": ("optimi", "torch-optimi"),
    "adamw_torch_4bit": ("torchao", "torchao"),
    "adamw_torch_8bit": ("torchao", "torchao"),
    "adamw_torch_xla": ("torch_xla", "torch-xla"),
    "adamw_torch_npu_fused": ("torch_npu", "torch-npu"),
    "adamw_anyprecision": ("torchdistx", "torchdistx"),
    "ademamix": ("bitsandbytes", "bitsandbytes"),
    "lion": ("bitsandbytes", "bitsandbytes"),
    "adamw_bnb": ("bitsandbytes", "bitsandbytes"),
    "adamw_8bit": ("bitsandbytes", "bitsandbytes"),
    "paged_": ("bitsandbytes", "bitsandbytes"),
    "rmsprop_bnb": ("bitsandbytes", "bitsandbytes"),
}
# Their handlers in transformers read no `optim_args`: they would be ignored without a word.
_WITHOUT_ARGUMENTS = {"adamw_torch", "adamw_torch_fused", "sgd", "adagrad", "rmsprop", "adafactor"}
_SAMPLING = ("random", "sequential", "group_by_length", "batch_rebalance")


def check_together(section: Mapping[str, Any]) -> None:
    """Raise SpecError, with the field as path, for the first thing that cannot work."""
    _check_precision(section)
    _check_optimizer(section)
    check_schedule(section)
    _check_kernels(section)
    _check_loading(section)
    _check_cadence(section)
    if section.get("logging_nan_inf_filter"):
        raise SpecError("a loss that is no number ends the trial: leave this out.", path="logging_nan_inf_filter")
    if section.get("label_smoothing_factor", 0.0) >= 1:
        raise SpecError(
            f"`label_smoothing_factor < 1` must hold, but got {section['label_smoothing_factor']}.",
            path="label_smoothing_factor",
        )


def check_needs_no_gpu(section: Mapping[str, Any]) -> None:
    """Raise SpecError when a trial that has no GPU asks for what only a GPU can do."""
    if section.get("fp16"):
        raise SpecError(
            "16-bit floating point needs a GPU (`resources.gpus_per_worker`): on a CPU it would be ignored. `bf16` "
            "works on both.",
            path="fp16",
        )
    if section.get("tf32"):
        raise SpecError("TF32 needs an NVIDIA GPU (`resources.gpus_per_worker`).", path="tf32")
    if section.get("use_liger_kernel"):
        raise SpecError("Liger kernels need a GPU (`resources.gpus_per_worker`).", path="use_liger_kernel")


def _check_precision(section: Mapping[str, Any]) -> None:
    for name, other in (("fp16", "bf16"), ("fp16_full_eval", "bf16_full_eval")):
        if section.get(name) and section.get(other):
            raise SpecError(f"choose one of `{name}` and `{other}`, but both are true.", path=name)
    if section.get("use_cpu"):
        check_needs_no_gpu(section)


def _check_optimizer(section: Mapping[str, Any]) -> None:
    name = str(section.get("optim", "adamw_torch"))
    module, package = next(
        (found for start, found in _OPTIMIZER_PACKAGES.items() if name.startswith(start)), (None, None)
    )
    if module is not None and importlib.util.find_spec(module) is None:
        raise SpecError(f"`{name}` needs the package `{package}`: pip install {package}", path="optim")
    arguments = section.get("optim_args")
    if arguments is not None:
        if name in _WITHOUT_ARGUMENTS:
            raise SpecError(f"`{name}` reads none: it has fields of its own, such as `adam_beta1`.", path="optim_args")
        if any(part.count("=") != 1 for part in arguments.split(",")):
            raise SpecError(f"expected `name=value,name=value`, but got {arguments!r}.", path="optim_args")
    if section.get("optim_target_modules") is not None and not name.startswith(("galore", "apollo")):
        raise SpecError(
            f"only GaLore and APOLLO optimizers have target modules, but `optim` is `{name}`.",
            path="optim_target_modules",
        )


def _check_kernels(section: Mapping[str, Any]) -> None:
    if section.get("use_liger_kernel") and importlib.util.find_spec("liger_kernel") is None:
        raise SpecError("this needs the package `liger-kernel`: pip install liger-kernel", path="use_liger_kernel")
    if section.get("liger_kernel_config") and not section.get("use_liger_kernel"):
        raise SpecError("this needs `use_liger_kernel: true`.", path="liger_kernel_config")
    for new, old in (("activation_checkpointing", "gradient_checkpointing"),):
        for name in (new, old):
            given = section.get(f"{name}_kwargs")
            if given and not (section.get(new) or section.get(old)):
                raise SpecError(f"this needs `{name}: true`.", path=f"{name}_kwargs")
    if section.get("torch_compile") is False:
        for name in ("torch_compile_mode", "torch_compile_backend"):
            if section.get(name) is not None:
                raise SpecError("this turns compiling on, but `torch_compile` is false.", path=name)
    steps = section.get("torch_empty_cache_steps")
    if steps is not None and steps < 1:
        raise SpecError(f"`torch_empty_cache_steps >= 1` must hold, but got {steps}.", path="torch_empty_cache_steps")


def _check_loading(section: Mapping[str, Any]) -> None:
    strategy = section.get("train_sampling_strategy", "random")
    if strategy not in _SAMPLING:
        raise SpecError(
            f"expected one of {', '.join(_SAMPLING)}, but got {strategy!r}.", path="train_sampling_strategy"
        )
    workers = section.get("dataloader_num_workers", 0)
    if workers < 0:
        raise SpecError(f"`dataloader_num_workers >= 0` must hold, but got {workers}.", path="dataloader_num_workers")
    for name in ("dataloader_prefetch_factor", "dataloader_multiprocessing_context"):
        if section.get(name) and not workers:
            raise SpecError("this needs `dataloader_num_workers`, of which there are none.", path=name)


def _check_cadence(section: Mapping[str, Any]) -> None:
    for name in ("logging_steps", "eval_steps"):
        value = section.get(name)
        if isinstance(value, float) and value > 1 and not value.is_integer():
            raise SpecError(
                f"expected a whole number of steps, or a share of all steps below 1, but got {value}.", path=name
            )
