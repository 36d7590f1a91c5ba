"""An exported model that answers: texts in, plain JSON out. Knows no HTTP and no search.

Answers are those of the transformers pipeline for the model's task; an encoder-decoder, for which there is none,
generates as in its evaluations.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainables.export import ExportedModel
from trainables.generation import generate, positions_of
from trainables.huggingface import RECURRENT

GENERATE = "generate"
"""In place of a pipeline: an encoder-decoder."""
_GENERATION = ("max_new_tokens", "do_sample", "temperature", "top_p", "num_beams", "repetition_penalty")
PARAMETERS: dict[str, tuple[str, ...]] = {
    "text-classification": ("top_k", "function_to_apply"),
    "token-classification": ("aggregation_strategy",),
    "fill-mask": ("top_k", "targets"),
    "text-generation": (*_GENERATION, "return_full_text"),
    GENERATE: ("max_new_tokens",),
}
"""Pipeline -> what a request may set."""
_NEW_TOKENS, _MOST_NEW_TOKENS = 64, 4096
_PIPELINE_NEW_TOKENS = 256
"""What a pipeline generates where nobody says."""
_CUTS = ("text-classification",)


class TooLong(OverflowError):
    """A text is longer than the model can read."""


class Answerer:
    """A loaded model. Calls come from one thread at a time."""

    def __init__(self, folder: Path, model: ExportedModel, *, is_chat: bool, batch_size: int = 16) -> None:
        import torch
        import transformers
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.kind = model.pipeline or GENERATE
        self.is_chat = is_chat
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        # Padding in front would be read like a text by a recurrent model.
        self._batch_size = 1 if model.model_type in RECURRENT else batch_size
        if model.pipeline is not None:
            # the code beside a recurrent model is our own; others' runs only where the spec has allowed it
            self._pipeline: Any = transformers.pipeline(
                model.pipeline, model=str(folder), tokenizer=self._tokenizer, trust_remote_code=model.needs_code,
                device=device,
            )  # fmt: skip
            self._model = self._pipeline.model
        else:
            auto_class = getattr(transformers, model.auto_class)
            self._model = auto_class.from_pretrained(str(folder)).to(device).eval()
        # Encoders cut what is too long, as in training, where the pipeline does it; the others must not see it.
        self._most_tokens = None if self.kind in _CUTS else positions_of(self._model)

    @property
    def parameters(self) -> tuple[str, ...]:
        """What a request may set."""
        return PARAMETERS[self.kind]

    def check(self, text: Any, parameters: Mapping[str, Any]) -> None:
        """Refuse before the model is troubled.

        Raises:
            TooLong: there is no room for the text and what is to follow it.
            ValueError: a parameter makes no sense.
        """
        asked = parameters.get("max_new_tokens")
        if asked is not None and (not isinstance(asked, int) or not 1 <= asked <= _MOST_NEW_TOKENS):
            raise ValueError(f"`max_new_tokens` is a whole number from 1 to {_MOST_NEW_TOKENS}, but got {asked!r}")
        if self._most_tokens is None:
            return
        number, new = len(self._ids(text)), self._new_tokens(asked)
        if number + new > self._most_tokens:
            following = f" and {new} are to follow it" if new else ""
            raise TooLong(f"the model has room for {self._most_tokens} tokens, but the text has {number}{following}")

    def _new_tokens(self, asked: int | None) -> int:
        """How many places must be free behind a text."""
        if self.kind != "text-generation":
            return 0
        config = self._model.generation_config
        if asked is None and config.max_new_tokens is None and config.max_length is not None:
            return 1  # it goes on as far as there is room
        return int(asked or config.max_new_tokens or _PIPELINE_NEW_TOKENS)

    def answer(self, texts: Sequence[Any], parameters: Mapping[str, Any]) -> list[Any]:
        """One answer a text, as plain values."""
        if self.kind == GENERATE:
            ids = [self._ids(text) for text in texts]
            most = int(parameters.get("max_new_tokens") or self._model.generation_config.max_new_tokens or _NEW_TOKENS)
            said = generate(self._model, self._tokenizer, ids, max_new_tokens=most, batch_size=self._batch_size)
            return [{"generated_text": text} for text in said]
        from transformers.pipelines import PipelineException

        options: dict[str, Any] = dict(parameters)
        if self.kind in _CUTS:
            options["truncation"] = True
        given = list(texts)
        if self.kind == "text-generation" and self._tokenizer.pad_token_id is not None:
            self._tokenizer.padding_side = "left"
        try:
            found: list[Any] = _plain(self._pipeline(given, batch_size=self._batch_size, **options))
        except PipelineException as error:  # such as a text without a mask
            raise ValueError(str(error)) from error
        # one text alone comes without its list from some pipelines
        return found if len(found) == len(given) else [found]

    def _ids(self, text: Any) -> list[int]:
        if self.is_chat and not isinstance(text, str):
            text = self._tokenizer.apply_chat_template(text, add_generation_prompt=True, tokenize=False)
            return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(self._tokenizer(text)["input_ids"])


def loader(folder: Path, model: ExportedModel, *, is_chat: bool) -> Callable[[], Answerer]:
    """What a server calls, in a thread, when it listens already."""
    return lambda: Answerer(folder, model, is_chat=is_chat)


def _plain(value: Any) -> Any:
    """Numbers of numpy and torch as Python's own."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.item() if hasattr(value, "item") else value
