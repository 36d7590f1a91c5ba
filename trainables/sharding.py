"""`training.fsdp`: what a spec may say about sharding a model over its workers. Imports no torch.

FSDP itself is transformers' and accelerate's. accelerate shards on GPUs only: on CPU workers it trains replicas without
a word, so `fsdp` without GPUs is refused.
"""

from collections.abc import Mapping
from typing import Any

from spaces.errors import SpecError, did_you_mean

_SWITCH, _TEXT, _NAMES, _COUNT = "true or false", "a text", "a name or a list of names", "a whole number"
_TYPES = {_SWITCH: (bool,), _TEXT: (str,), _NAMES: (str, list), _COUNT: (int,)}
_OPTIONS = {
    "reshard_after_forward": _SWITCH,
    "cpu_offload": _SWITCH,
    "activation_checkpointing": _SWITCH,
    "auto_wrap_policy": _TEXT,
    "transformer_layer_cls_to_wrap": _NAMES,
    "min_num_params": _COUNT,
}
_POLICIES = ("TRANSFORMER_BASED_WRAP", "SIZE_BASED_WRAP", "NO_WRAP")
# What every checkpoint needs in order to load by itself and to resume a trial exactly.
_OWNED = {
    "state_dict_type": "checkpoints hold the whole model, so that each loads by itself",
    "version": "FSDP2 is used",
    "cpu_ram_efficient_loading": "the workers prove to each other that they start from equal parameters",
}


def check_sharding(section: Mapping[str, Any]) -> None:
    """Raise SpecError, with the field of the `training` section as path, for what FSDP cannot work with."""
    options = section.get("fsdp_config")
    if options is None:
        return
    if not section.get("fsdp"):
        raise SpecError("this needs `fsdp: true`.", path="fsdp_config")
    if not isinstance(options, Mapping):
        raise SpecError(f"expected a mapping, but got {options!r}.", path="fsdp_config")
    for name, value in options.items():
        _check_option(str(name), value)
    if options.get("min_num_params") and options.get("auto_wrap_policy") != "SIZE_BASED_WRAP":
        raise SpecError("this needs `auto_wrap_policy: SIZE_BASED_WRAP`.", path="fsdp_config.min_num_params")


def _check_option(name: str, value: Any) -> None:
    path = f"fsdp_config.{name}"
    if name in _OWNED:
        raise SpecError(f"this is not set here: {_OWNED[name]}.", path=path)
    if name not in _OPTIONS:
        raise SpecError(
            f"FSDP has no such option.{did_you_mean(name, _OPTIONS)} Known: {', '.join(sorted(_OPTIONS))}.", path=path
        )
    if type(value) not in _TYPES[_OPTIONS[name]]:
        raise SpecError(f"expected {_OPTIONS[name]}, but got {value!r}.", path=path)
    if name == "auto_wrap_policy" and value not in _POLICIES:
        raise SpecError(
            f"expected one of {', '.join(_POLICIES)}, but got {value!r}.{did_you_mean(str(value), _POLICIES)}",
            path=path,
        )


def check_sharding_resources(*, workers: int, gpus_per_worker: float) -> None:
    """Raise SpecError when a model cannot be sharded over what a trial has."""
    if workers < 2:
        raise SpecError(
            f"a model is sharded over several workers, but `resources.workers` is {workers}.", path="training.fsdp"
        )
    if gpus_per_worker < 1:
        raise SpecError(
            f"a model is sharded over GPUs, but `resources.gpus_per_worker` is {gpus_per_worker:g}: CPU workers "
            "each hold a whole model. Leave `fsdp` out, or give each worker a GPU.",
            path="training.fsdp",
        )
