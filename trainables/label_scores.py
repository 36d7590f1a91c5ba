"""How likely a model finds each of some words behind a prompt. Knows no shots and no templates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from spaces.reports import TrialFailed, TrialFailure
from trainables.generation import positions_of
from trainables.tasks.padding import pad_right

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


class LabelScorer:
    """Scores the same words behind any number of prompts."""

    def __init__(
        self, model: Any, tokenizer: "PreTrainedTokenizerBase", words: Sequence[str], *, batch_size: int
    ) -> None:
        self._model, self._tokenizer, self._batch_size = model, tokenizer, batch_size
        self._words = [list(tokenizer(word, add_special_tokens=False, verbose=False)["input_ids"]) for word in words]
        for number, ids in enumerate(self._words):
            if not ids or ids in self._words[:number]:
                raise SpecError(
                    f"each label needs a word of its own, but {words[number]!r} "
                    + ("has no token." if not ids else "has the tokens of another."),
                    path="prompt.words",
                )

    @property
    def longest_word(self) -> int:
        """Tokens of the longest word."""
        return max(map(len, self._words))

    def scores(self, prompts: Sequence[str]) -> "tuple[np.ndarray, int]":
        """Log-probabilities (prompts, words) of whole words, and how many tokens the model read for them.

        What words have in common is read once: where all are single tokens, a prompt alone.
        """
        import numpy as np

        rows: dict[tuple[int, ...], int] = {}
        wanted: list[list[int]] = []
        starts: list[int] = []
        for prompt in prompts:
            ids = prompt_ids(self._tokenizer, prompt)
            starts.append(len(ids))
            # the last token of a word is predicted, never read
            wanted.append([rows.setdefault((*ids, *word[:-1]), len(rows)) for word in self._words])
        needed: dict[int, set[int]] = {}
        for start, of_prompt in zip(starts, wanted, strict=True):
            for row, word in zip(of_prompt, self._words, strict=True):
                needed.setdefault(row, set()).update(range(start - 1, start - 1 + len(word)))
        logs = self._log_probabilities([list(row) for row in rows], needed)
        scores = [
            [
                sum(float(logs[row, start - 1 + place][token]) for place, token in enumerate(word))
                for row, word in zip(of_prompt, self._words, strict=True)
            ]
            for start, of_prompt in zip(starts, wanted, strict=True)
        ]
        return np.asarray(scores, dtype=np.float64), sum(map(len, rows))

    def _log_probabilities(
        self, rows: Sequence[list[int]], needed: dict[int, set[int]]
    ) -> "dict[tuple[int, int], dict[int, float]]":
        """(row, place) -> log-probability of each token that some word has, at the places that are needed."""
        import torch

        tokens = sorted({token for word in self._words for token in word})
        found: dict[tuple[int, int], dict[int, float]] = {}
        # Rows of one length beside each other: less padding.
        order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
        with torch.no_grad():
            for start in range(0, len(order), self._batch_size):
                chosen = order[start : start + self._batch_size]
                ids, mask = _padded([rows[number] for number in chosen], model=self._model)
                logits = self._model(input_ids=ids, attention_mask=mask)["logits"]
                for place_in_batch, number in enumerate(chosen):
                    places = sorted(needed[number])
                    kept = logits[place_in_batch, places].float().log_softmax(dim=-1)[:, tokens].tolist()
                    found |= {
                        (number, place): dict(zip(tokens, values, strict=True))
                        for place, values in zip(places, kept, strict=True)
                    }
        return found


def prompt_ids(tokenizer: "PreTrainedTokenizerBase", prompt: str) -> list[int]:
    """Tokens of `prompt` as the model expects the beginning of a text, without the mark for its end."""
    ids = list(tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"])
    start = tokenizer.bos_token_id
    begins = start is not None and tokenizer("", verbose=False)["input_ids"][:1] == [start]
    return [start, *ids] if begins else ids


def check_fits(prompts: Sequence[list[int]], *, model: Any, answer_length: int) -> None:
    """Raise TrialFailed when a prompt and its answer are longer than the model can read."""
    positions = positions_of(model)
    longest = max(map(len, prompts)) + answer_length
    if positions is not None and longest > positions:
        message = (
            f"the longest prompt with its answer has {longest} tokens, but the model has {positions} positions: take "
            "fewer shots or a smaller data.max_length"
        )
        raise TrialFailed(TrialFailure(kind="error", message=message))


def _padded(rows: Sequence[list[int]], *, model: Any) -> "tuple[Tensor, Tensor]":
    """(tokens, mask), padded behind."""
    length = max(map(len, rows))
    ids = pad_right(rows, length=length, fill=0).to(model.device)
    mask = pad_right([[1] * len(row) for row in rows], length=length, fill=0).to(model.device)
    return ids, mask
