"""Trains a byte-level BPE on texts, or loads a tokenizer that exists. Knows no files of ours and no splits.

Whoever trains hands in the training split only: a vocabulary that saw validation text flatters its loss.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from spaces.errors import SpecError
from trainables.config import DataConfig, ModelConfig, PretrainedTokenizer, TrainedTokenizer
from trainables.places import resolve_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "eos_token": "<|endoftext|>",
}


def tokenizer_config(model: ModelConfig, data: DataConfig) -> TrainedTokenizer | PretrainedTokenizer:
    """The tokenizer that `data` asks for; by default the pretrained model's own, else a trained one."""
    if data.tokenizer is not None:
        return data.tokenizer
    if model.pretrained is not None:
        return PretrainedTokenizer(pretrained=model.pretrained)
    return TrainedTokenizer(train="bpe")


def train_bpe(texts: Iterable[str], *, vocab_size: int, marks_ends: bool) -> "PreTrainedTokenizerBase":
    """A byte-level BPE with at most `vocab_size` tokens. It can spell every text: nothing is unknown.

    `marks_ends` puts [CLS] before and [SEP] after each text, as encoders expect.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    if marks_ends:
        first, last = SPECIAL_TOKENS["cls_token"], SPECIAL_TOKENS["sep_token"]
        ends = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **SPECIAL_TOKENS)


def load_tokenizer(place: str, *, path: str) -> "PreTrainedTokenizerBase":
    """The tokenizer at `place`, with a padding token. Code that comes with it is never run.

    `path` is the key that named the place, for errors.
    """
    from transformers import AutoTokenizer

    try:
        folder = resolve_pretrained(place)
    except SpecError as error:
        raise error.at(path) from None
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:
        # transformers raises many types: no tokenizer files, no such id, no network, a class that needs code.
        reason = str(error).strip().splitlines()[0]
        raise SpecError(f"cannot load a tokenizer from `{place}`: {reason}", path=path) from error
    if tokenizer.pad_token is None:
        # Generative models have none. Padding is masked out: an existing token serves, the vocabulary stays.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer


def separator_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The token that ends a document: end of text, or the separator of encoder models."""
    for token_id in (tokenizer.eos_token_id, tokenizer.sep_token_id):
        if token_id is not None:
            return int(token_id)
    raise SpecError("this tokenizer has no end-of-text token to put between documents.", path="data.tokenizer")


def save_tokenizer(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Write all files that `load_saved_tokenizer` needs."""
    tokenizer.save_pretrained(str(folder))


def load_saved_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """A tokenizer that `save_tokenizer` wrote."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
