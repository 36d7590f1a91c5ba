"""What the device at hand must be able to do for a trial's arguments: found before the model is built."""

from collections.abc import Mapping
from typing import Any

import torch

from spaces.errors import SpecError
from trainables.training_checks import check_needs_no_gpu


def fitted_to_device(training: Mapping[str, Any]) -> dict[str, Any]:
    """`training` for the device of this process.

    Raises:
        SpecError: it asks for a precision or for kernels that the device does not have.
    """
    fields = dict(training)
    on_cpu = bool(fields.get("use_cpu")) or not torch.accelerator.is_available()
    try:
        if on_cpu:
            check_needs_no_gpu(fields)
    except SpecError as error:
        raise error.at("training") from None
    if on_cpu and (fields.get("bf16") or fields.get("bf16_full_eval")):
        fields["use_cpu"] = True  # transformers wants to hear that a CPU is meant
    for name in ("bf16", "bf16_full_eval"):
        if fields.get(name) and not on_cpu and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
            device = torch.cuda.get_device_name()
            raise SpecError(f"`{device}` has no bfloat16: use `fp16`, or 32 bits.", path=f"training.{name}")
    return fields
