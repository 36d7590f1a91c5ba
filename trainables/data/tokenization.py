"""Which tokenizer a configuration means, and how one that exists is loaded. Knows no files of ours and no splits."""

from pathlib import Path
from typing import TYPE_CHECKING

from spaces.errors import SpecError
from trainables.config import DataConfig, ModelConfig, PretrainedTokenizer, TrainedTokenizer
from trainables.places import is_gguf, resolve_pretrained

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def tokenizer_config(model: ModelConfig, data: DataConfig) -> TrainedTokenizer | PretrainedTokenizer:
    """The tokenizer that `data` asks for; by default the pretrained model's own, else a trained one."""
    if data.tokenizer is not None:
        return data.tokenizer
    if model.pretrained is not None:
        return PretrainedTokenizer(pretrained=model.pretrained)
    return TrainedTokenizer(train="bpe")


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
        if is_gguf(folder):
            file = Path(folder)
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
        else:
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
