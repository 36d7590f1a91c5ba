"""Greedy generation for evaluation: texts out of a model, and the model as it was before. Knows no task."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from trainables.huggingface import RECURRENT

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    batch_size: int,
) -> list[str]:
    """What `model` continues each of the token sequences `prompts` with, without special tokens.

    Greedy: no random number is drawn. Decoders are padded on the left, so that what they produce follows the prompt.
    """
    import torch

    is_encoder_decoder = bool(model.config.is_encoder_decoder)
    is_recurrent = model.config.model_type in RECURRENT
    if is_recurrent:
        batch_size = 1  # padding in front would be read like a text
    texts: list[str] = []
    with _generating(model), torch.no_grad():
        for start in range(0, len(prompts), batch_size):
            batch = [{"input_ids": list(prompt)} for prompt in prompts[start : start + batch_size]]
            inputs = _padded(tokenizer, batch, side="right" if is_encoder_decoder else "left").to(model.device)
            produced = model.generate(
                input_ids=inputs["input_ids"],
                **({} if is_recurrent else {"attention_mask": inputs["attention_mask"]}),
                **_cache_of(model),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=_end(tokenizer),
            )
            if not is_encoder_decoder:
                produced = produced[:, inputs["input_ids"].shape[1] :]
            texts += tokenizer.batch_decode(produced, skip_special_tokens=True)
    return [text.strip() for text in texts]


def positions_of(model: "PreTrainedModel") -> int | None:
    """How many tokens the model can read at once; None where there is no end to it."""
    names = ("max_position_embeddings", "n_positions")
    return next((int(getattr(model.config, name)) for name in names if hasattr(model.config, name)), None)


def room_to_generate(model: "PreTrainedModel", prompt_length: int) -> int:
    """How many tokens may follow a prompt before the model runs out of positions; at least one."""
    positions = positions_of(model)
    return sys.maxsize if positions is None else max(1, positions - prompt_length)


def _cache_of(model: "PreTrainedModel") -> dict[str, Any]:
    """A cache that grows with the layers that ask for it, where a decoder has more of them than its encoder:
    transformers 5.23 makes room for as many as the encoder has."""
    config = model.config
    decoder_layers = getattr(config, "num_decoder_layers", getattr(config, "decoder_layers", None))
    if not config.is_encoder_decoder or decoder_layers in (None, config.num_hidden_layers):
        return {}
    from transformers import DynamicCache, EncoderDecoderCache

    return {"past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache())}


def _padded(tokenizer: "PreTrainedTokenizerBase", batch: list[dict[str, Any]], *, side: str) -> Any:
    before, tokenizer.padding_side = tokenizer.padding_side, side
    try:
        return tokenizer.pad(batch, return_tensors="pt")
    finally:
        tokenizer.padding_side = before


def _end(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    return None if end is None else int(end)


@contextmanager
def _generating(model: "PreTrainedModel") -> Iterator[None]:
    """Evaluation mode with a cache of keys and values, whatever training had switched off."""
    was_training, used_cache = model.training, model.config.use_cache
    model.eval()
    model.config.use_cache = True
    try:
        yield
    finally:
        model.train(was_training)
        model.config.use_cache = used_cache
