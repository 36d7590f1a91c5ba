"""From a conversation to its tokens, and which of them the assistant says. Knows no files and no task.

A conversation is cut where the assistant begins and ends to speak, and each part is tokenized by itself: so the tokens
before an answer are those that the model is given when it is asked, and no token is half prompt and half answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spaces.errors import SpecError
from trainables.config import DataConfig
from trainables.data.columns import Column

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = Mapping[str, str]

# Answers end with the end of text, which is where generation stops, also where that is not the template's own mark.
CHAT_TEMPLATES = {
    "alpaca": """\
{%- for message in messages %}
{%- if message.role == 'system' %}{{ message.content }}

{% elif message.role == 'user' %}### Instruction:
{{ message.content }}

{% else %}### Response:
{{ message.content }}{{ eos_token }}

{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}### Response:
{% endif %}""",
    "chatml": """\
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{%- if message.role == 'assistant' and eos_token != '<|im_end|>' %}{{ eos_token }}{% endif %}{{ '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}""",
}
"""Templates for tokenizers that bring none."""

_DEFAULT = "alpaca"


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A part of a conversation."""

    text: str
    """As the template writes it."""
    is_answer: bool
    """Whether the assistant says it."""


def chat_columns(data: DataConfig, *answers: str) -> tuple[Column, ...]:
    """The columns of a prompt, and those with these roles that hold its answers."""
    system = (Column(role="system", name=data.system, kind="optional text"),) if data.system is not None else ()
    prompt = Column(role="prompt", name=data.prompt)
    return (*system, prompt, *(Column(role=role, name=getattr(data, role)) for role in answers))


def messages_of(document: Mapping[str, Any], answer: str) -> list[Message]:
    """The conversation of a document with a prompt."""
    system = document.get("system") or ""
    return [
        *([{"role": "system", "content": system}] if system.strip() else []),
        {"role": "user", "content": document["prompt"]},
        {"role": "assistant", "content": answer},
    ]


def set_chat_template(tokenizer: "PreTrainedTokenizerBase", data: DataConfig) -> None:
    """Give the tokenizer the spec's template, which it then takes along wherever it is saved."""
    if data.chat_template is not None:
        tokenizer.chat_template = CHAT_TEMPLATES.get(data.chat_template, data.chat_template)
    elif tokenizer.chat_template is None:
        tokenizer.chat_template = CHAT_TEMPLATES[_DEFAULT]


def segments(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[Segment]:
    """The conversation, cut before and behind each turn of the assistant.

    An answer ends with its mark for the end of a turn, which the model has to learn too; blanks behind it belong to
    what follows. Nothing is kept behind the last answer: nobody learns from it.
    """
    found: list[Segment] = []
    done = ""
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _rendered(tokenizer, messages[:number], asks=True)
        through = _rendered(tokenizer, messages[: number + 1], asks=False)
        if not before.startswith(done) or not through.startswith(before):
            raise SpecError(
                "this chat template writes a turn in another way when others follow it, so the answers cannot be told "
                f"from the rest (in a conversation of {len(messages)} messages). Give another `chat_template`.",
                path="data.chat_template",
            )
        answer = through[len(before) :].rstrip()
        found += [Segment(text=before[len(done) :], is_answer=False), Segment(text=answer, is_answer=True)]
        done = before + answer
    return found


def encode_chat(
    tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], *, ignored: int
) -> tuple[list[int], list[int]]:
    """Tokens of the conversation, and the same with `ignored` wherever it is not the assistant who speaks."""
    ids: list[int] = []
    labels: list[int] = []
    for segment in segments(tokenizer, messages):
        tokens = tokenizer(segment.text, add_special_tokens=False, verbose=False)["input_ids"]
        ids += tokens
        labels += tokens if segment.is_answer else [ignored] * len(tokens)
    return ids, labels


def answers_in(ids: Sequence[int], labels: Sequence[int], *, ignored: int) -> Iterator[tuple[list[int], list[int]]]:
    """(tokens before it, its tokens) of each answer in an encoded conversation."""
    start = None
    for place, label in enumerate((*labels, ignored)):
        if label != ignored and start is None:
            start = place
        elif label == ignored and start is not None:
            yield list(ids[:start]), list(ids[start:place])
            start = None


def _rendered(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message], *, asks: bool) -> str:
    from jinja2 import TemplateError

    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asks))
    except TemplateError as error:  # also what a template itself refuses, such as a system message
        raise SpecError(f"the chat template fails: {error}.", path="data.chat_template") from error
