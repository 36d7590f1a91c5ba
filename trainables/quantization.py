"""Pretrained weights in 4 or 8 bits, by bitsandbytes. Knows no adapter and no training."""

import importlib.util
from typing import TYPE_CHECKING

from spaces.errors import SpecError
from trainables.model_sections import QuantizationConfig

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


def check_quantization() -> None:
    """Raise SpecError when bitsandbytes is not installed; looks at no device."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise SpecError("loading in 4 or 8 bits needs bitsandbytes: `pip install 'tunesmith[quantization]'`.")


def bitsandbytes_config(config: QuantizationConfig) -> "BitsAndBytesConfig":
    """What `from_pretrained` takes.

    Raises:
        SpecError: this machine has no GPU.
    """
    import torch
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        raise SpecError(
            "loading in 4 or 8 bits needs a GPU, and this process sees none (`resources.gpus_per_worker`).",
            path="model.quantization",
        )
    if config.bits == 8:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=config.type,
        bnb_4bit_use_double_quant=config.double,
        bnb_4bit_compute_dtype=config.compute_dtype,
    )
