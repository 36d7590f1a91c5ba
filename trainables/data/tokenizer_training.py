"""Trains tokenizers on texts: byte-level BPE, WordPiece and Unigram, and characters. Knows no files and no splits.

All of them can spell every text and give it back as it was: a model that may answer "unknown" gets its loss for free,
and bits per byte would compare nothing. Whoever trains hands in the training split only: a vocabulary that saw
validation text flatters its loss.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from trainables.config import TrainedTokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "eos_token": "<|endoftext|>",
}
# Marks pieces within a word. BERT's `##` may stand in a text; this one is no character of the bytes' alphabet.
_WITHIN = "‿"
# WordPiece gives up on longer words; they are cut before it sees them. In bytes.
_LONGEST_WORD = 100


def train_tokenizer(texts: Iterable[str], config: TrainedTokenizer, *, marks_ends: bool) -> "PreTrainedTokenizerBase":
    """A tokenizer with at most `config.vocab_size` tokens.

    `marks_ends` puts [CLS] before and [SEP] after each text, as encoders expect.
    """
    from tokenizers import normalizers, processors
    from transformers import PreTrainedTokenizerFast

    lowercase = normalizers.Lowercase() if config.lowercase else None
    given = (lowercase.normalize_str(text) for text in texts) if lowercase else texts
    tokenizer = _TRAIN[config.train](given, config.vocab_size)
    if lowercase:
        tokenizer.normalizer = lowercase
    if marks_ends:
        first, last = SPECIAL_TOKENS["cls_token"], SPECIAL_TOKENS["sep_token"]
        ends = [(token, tokenizer.token_to_id(token)) for token in (first, last)]
        tokenizer.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **SPECIAL_TOKENS)


def _byte_level(model: Any) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, pre_tokenizers

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _alphabet() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _train_bpe(texts: Iterable[str], vocab_size: int) -> "Tokenizer":
    from tokenizers import models, trainers

    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=_alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return tokenizer


def _train_unigram(texts: Iterable[str], vocab_size: int) -> "Tokenizer":
    from tokenizers import models, trainers

    learner = _byte_level(models.Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size,
        unk_token=SPECIAL_TOKENS["unk_token"],
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=_alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer=trainer)
    # Two trainings must give one vocabulary, but the sums of the trainer's threads differ in their last digits, and
    # bytes that it never saw get scores at its lowest, 0.0001 apart, in an order by chance.
    scores = {token: round(score, 6) for token, score in json.loads(learner.to_str())["model"]["vocab"]}
    seen = [score for token, score in scores.items() if token not in SPECIAL_TOKENS.values()]
    unseen = min(seen) + 0.0001 * 256
    scores = {token: max(score, unseen) for token, score in scores.items()}
    special = list(SPECIAL_TOKENS.values())
    learned = sorted(scores.keys() - set(special), key=lambda token: (-scores[token], token))
    vocabulary = [(token, scores[token]) for token in (*special, *learned)]
    tokenizer = _byte_level(models.Unigram(vocabulary, unk_id=special.index(SPECIAL_TOKENS["unk_token"])))
    tokenizer.add_special_tokens(special)
    return tokenizer


def _train_wordpiece(texts: Iterable[str], vocab_size: int) -> "Tokenizer":
    """The most frequent pieces; the longest that fits is taken, from left to right."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    cut_words = pre_tokenizers.Sequence(
        [pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.FixedLength(_LONGEST_WORD)]
    )
    learner = Tokenizer(models.WordPiece(unk_token=SPECIAL_TOKENS["unk_token"]))
    learner.pre_tokenizer = cut_words
    within = [_WITHIN + byte for byte in _alphabet()]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        # Bytes within a word, named as special: the trainer knows only those that it saw, and in an order by chance.
        special_tokens=[*SPECIAL_TOKENS.values(), *within],
        initial_alphabet=_alphabet(),
        continuing_subword_prefix=_WITHIN,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer=trainer)
    # Only there: in texts they are no special tokens.
    tokenizer = Tokenizer(
        models.WordPiece(
            learner.get_vocab(),
            unk_token=SPECIAL_TOKENS["unk_token"],
            continuing_subword_prefix=_WITHIN,
            max_input_chars_per_word=_LONGEST_WORD,
        )
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    tokenizer.pre_tokenizer = cut_words
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_WITHIN, ""), decoders.ByteLevel()])
    return tokenizer


def _train_characters(texts: Iterable[str], vocab_size: int) -> "Tokenizer":
    """A token for each of the most frequent characters, and one for each byte to spell the others with."""
    from tokenizers import Tokenizer, decoders, models

    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    fixed = [*SPECIAL_TOKENS.values(), *(f"<0x{byte:02X}>" for byte in range(256))]
    frequent = sorted(counts, key=lambda character: (-counts[character], character))
    vocabulary = [*fixed, *frequent[: vocab_size - len(fixed)]]
    # A BPE that never merges: it alone falls back on bytes.
    tokenizer = Tokenizer(
        models.BPE({token: number for number, token in enumerate(vocabulary)}, [], byte_fallback=True, cache_capacity=0)
    )
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


_TRAIN: dict[str, Callable[[Iterable[str], int], "Tokenizer"]] = {
    "bpe": _train_bpe,
    "wordpiece": _train_wordpiece,
    "unigram": _train_unigram,
    "char": _train_characters,
}
