"""Pretrained weights in other forms - a GGUF file, an adapter on its base - as a standard model folder, made once.

Training starts from the standard folder; the original stays as it is. Knows no task and no training.
"""

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.data.cache import data_directory, make_once, mark_used
from trainables.places import is_gguf

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

# Goes up when the same original would give another folder.
FORMAT_VERSION = 1

ADAPTER_CONFIG = "adapter_config.json"


def standard_folder(place: str) -> str:
    """Where `from_pretrained` finds the model at `place` (a folder, a GGUF file or a hub id), converted if need be."""
    convert = _converter(place)
    if convert is None:
        return place
    folder = converted_folder(place)

    def make(unfinished: Path) -> None:
        import torch

        # The trial that happens to convert must go on with the random numbers that every other one has.
        with torch.random.fork_rng(devices=[]):
            convert(Path(place), unfinished)

    if not _is_made(folder):
        make_once(folder, make, is_made=_is_made, on_progress=logger.info)
    mark_used(folder)
    return str(folder)


def converted_folder(place: str) -> Path:
    """Where the standard form of `place` lies, or will lie: beside prepared data, named after the original."""
    path = Path(place)
    files = sorted(path.glob("adapter_*")) if path.is_dir() else [path]
    identity = [FORMAT_VERSION, *((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return data_directory(None).parent / "models" / f"{path.stem}-{name}"


def is_adapter(folder: Path) -> bool:
    """Whether `folder` holds an adapter without the weights below it."""
    return (folder / ADAPTER_CONFIG).is_file()


def adapter_facts(folder: Path) -> dict[str, Any]:
    """What an adapter's configuration says: `peft_type`, `task_type`, `base_model_name_or_path`."""
    facts = json.loads((folder / ADAPTER_CONFIG).read_text("utf-8"))
    return facts if isinstance(facts, dict) else {}


def _converter(place: str) -> Callable[[Path, Path], None] | None:
    if is_gguf(place):
        return _convert_gguf
    return merge_adapter if is_adapter(Path(place)) else None


def _is_made(folder: Path) -> bool:
    return (folder / "config.json").is_file()


def _convert_gguf(file: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    logger.info("converting %s", file)
    try:
        loaded = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    except Exception as error:
        # transformers raises various types: an architecture it cannot read, a broken file
        reason = str(error).strip().splitlines()[0]
        raise SpecError(f"cannot read `{file}`: {reason}", path="model.pretrained") from error
    # Loaded from GGUF a model counts as quantised: it can be neither trained nor saved. A fresh one with the same
    # weights can.
    config = copy.deepcopy(loaded.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config)
    model.load_state_dict(loaded.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def merge_adapter(source: Path, folder: Path) -> None:
    """Write the weights below the adapter in `source`, with the adapter added to them, to `folder`."""
    from peft import PeftModel
    from transformers import AutoTokenizer

    logger.info("merging the adapter %s into its base", source)
    base = _base_of(source)
    try:
        merged = PeftModel.from_pretrained(base, str(source)).merge_and_unload()
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise SpecError(f"the adapter does not fit its base: {reason}", path="model.pretrained") from error
    merged.save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(source)).save_pretrained(folder)


def _base_of(adapter: Path) -> "PreTrainedModel":
    import transformers

    facts = adapter_facts(adapter)
    auto_class = getattr(transformers, f"AutoModelFor{_head_of(facts)}")
    base = facts["base_model_name_or_path"]
    own = adapter / "config.json"  # beside a classifier's adapter: it knows the labels
    if Path(base).is_absolute() and not Path(base).is_dir():
        raise SpecError(f"the adapter's base `{base}` is gone.", path="model.pretrained")
    config = transformers.AutoConfig.from_pretrained(str(adapter) if own.is_file() else base)
    built: PreTrainedModel = auto_class.from_pretrained(base, config=config, dtype="float32")
    return built


_HEADS = {
    "SEQ_CLS": "SequenceClassification",
    "TOKEN_CLS": "TokenClassification",
    "SEQ_2_SEQ_LM": "Seq2SeqLM",
    "CAUSAL_LM": "CausalLM",
}


def _head_of(facts: Mapping[str, Any]) -> str:
    # PEFT has no name for masked language models: it notes the class instead.
    base_class = str((facts.get("auto_mapping") or {}).get("base_model_class"))
    return "MaskedLM" if base_class.endswith("ForMaskedLM") else _HEADS.get(str(facts.get("task_type")), "CausalLM")
