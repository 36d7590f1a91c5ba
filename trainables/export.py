"""A checkpoint -> a standard folder: what training needs stays behind, what others need to load it comes along.

`transformers.pipeline` loads the folder in a process that knows nothing of tunesmith. Knows no search and no record.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import TrialConfig
from trainables.conversion import ADAPTER_CONFIG, is_adapter, merge_adapter
from trainables.huggingface import RECURRENT
from trainables.tasks.registry import TASKS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MODEL_CODE = "modeling_recurrent.py"
"""Beside the weights of an rnn, lstm or gru, which transformers does not have."""
_UNMERGEABLE = ("prefix_tuning", "prompt_tuning")
_KEPT = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", ADAPTER_CONFIG, "*.py")
_PIPELINES = {
    "CAUSAL_LM": "text-generation",
    "MASKED_LM": "fill-mask",
    "SEQUENCE_CLASSIFICATION": "text-classification",
    "TOKEN_CLASSIFICATION": "token-classification",
}
_POSITIONS = ("max_position_embeddings", "n_positions")
_NO_LENGTH = 1_000_000_000
"""A tokenizer with a longer `model_max_length` knows none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedModel:
    """What lies in the folder."""

    pipeline: str | None
    """The pipeline of transformers that it is for; None for an encoder-decoder, which generates by itself."""
    auto_class: str
    """The class that loads it."""
    model_type: str
    """As its configuration has it."""
    needs_code: bool
    """Whether it brings the code of its architecture: `trust_remote_code=True`."""
    is_adapter: bool
    """Whether the weights below it are needed, too."""
    base_model: str | None
    """What training started from."""


def export_model(checkpoint: Path, folder: Path, trial: TrialConfig, *, merge: bool | None = None) -> ExportedModel:
    """Write the standard folder of a trial's `checkpoint` to `folder`, which is empty.

    Args:
        checkpoint: As a trial saves it.
        folder: Where to.
        trial: What was trained.
        merge: Add an adapter to the weights below it. Default: where that can be done.

    Raises:
        SpecError: an adapter of this kind cannot be merged, or its base is gone.
    """
    task = TASKS[trial.task]
    has_adapter = is_adapter(checkpoint)
    if has_adapter and _merges(trial, merge):
        merge_adapter(checkpoint, folder)
        has_adapter = False
    else:
        _copy(checkpoint, folder)
    tokenizer = _tokenizer(checkpoint, trial)
    tokenizer.save_pretrained(str(folder))
    config = _adapted(folder / "config.json", trial)
    model_type = str(config.get("model_type", ""))
    generates = task.head in ("CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM")
    if generates and not has_adapter:
        _write_generation(folder / "generation_config.json", tokenizer, trial, config)
    if model_type in RECURRENT:
        _bring_code(folder, config, auto_class=task.auto_class)
    return ExportedModel(
        pipeline=_PIPELINES.get(task.head),
        auto_class=task.auto_class,
        model_type=model_type,
        needs_code=model_type in RECURRENT or trial.model.trust_remote_code,
        is_adapter=has_adapter,
        base_model=trial.model.pretrained,
    )


def _merges(trial: TrialConfig, wanted: bool | None) -> bool:
    adapter = trial.model.adapter
    reason = None
    if adapter is not None and adapter.method in _UNMERGEABLE:
        reason = f"what `{adapter.method}` has learned stands before a text, and not in the weights"
    elif trial.model.quantization is not None:
        reason = "the weights below it are stored in few bits, and adding to them would round the adapter away"
    if wanted and reason is not None:
        raise SpecError(f"this adapter cannot be merged: {reason}. Export it with `--no-merge`.")
    return reason is None if wanted is None else wanted


def _copy(checkpoint: Path, folder: Path) -> None:
    weights = sorted(checkpoint.glob("*.safetensors"))
    if not weights:
        raise SpecError(f"`{checkpoint}` holds no weights in the safetensors format, and no other is exported.")
    for pattern in _KEPT:
        for file in checkpoint.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def _tokenizer(checkpoint: Path, trial: TrialConfig) -> "PreTrainedTokenizerBase":
    """The trial's, which cuts texts where the trial did."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(checkpoint), trust_remote_code=trial.model.trust_remote_code)
    if TASKS[trial.task].head != "CAUSAL_LM" or tokenizer.model_max_length > _NO_LENGTH:
        tokenizer.model_max_length = trial.data.max_length
    return tokenizer


def _adapted(file: Path, trial: TrialConfig) -> dict[str, Any]:
    """The configuration without what only training wanted: no cache, and where the weights once lay."""
    if not file.is_file():
        return {}  # beside the adapter of a language model there is none
    config: dict[str, Any] = json.loads(file.read_text("utf-8"))
    config.pop("_name_or_path", None)
    if TASKS[trial.task].head in ("CAUSAL_LM", "SEQ_TO_SEQ_CAUSAL_LM") and config.get("use_cache") is False:
        config["use_cache"] = True
    _write(file, config)
    return config


def _write_generation(
    file: Path, tokenizer: "PreTrainedTokenizerBase", trial: TrialConfig, config: Mapping[str, Any]
) -> None:
    """Defaults of generating: greedy, up to where the trial's evaluations went, or as far as a model of our own has
    positions. What a pretrained model brings beyond that stays."""
    given: dict[str, Any] = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    for name, value in {"eos_token_id": end, "pad_token_id": tokenizer.pad_token_id, "do_sample": False}.items():
        if given.get(name) is None and value is not None:
            given[name] = value
    positions = next((config[name] for name in _POSITIONS if isinstance(config.get(name), int)), None)
    if "max_target_length" in TASKS[trial.task].options:
        given["max_new_tokens"] = trial.data.max_target_length
    elif trial.model.pretrained is None and positions is not None:
        given["max_length"] = positions
    _write(file, given)


def _bring_code(folder: Path, config: dict[str, Any], *, auto_class: str) -> None:
    """Ship the architecture itself, which needs torch and transformers only."""
    import trainables.recurrent

    shutil.copyfile(trainables.recurrent.__file__, folder / MODEL_CODE)
    module, kind = MODEL_CODE.removesuffix(".py"), str(config["model_type"]).upper()
    config["auto_map"] = {
        "AutoConfig": f"{module}.{kind}Config",
        auto_class: f"{module}.{kind}{auto_class.removeprefix('AutoModel')}",
    }
    _write(folder / "config.json", config)


def _write(file: Path, values: dict[str, Any]) -> None:
    file.write_text(json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n", "utf-8")
