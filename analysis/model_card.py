"""The model card of an exported model: what a stranger should know of it, in Hugging Face's form.

Knows no model and no files. Local paths and users are left out: a card travels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import yaml

from analysis.confirmation import Confirmation
from analysis.confirmation_text import sentences
from analysis.leaderboard import leaderboard
from analysis.records import SearchRecord, TrialRecord
from analysis.wording import show_metric, show_value
from spaces.folds import is_of_a_fold
from spaces.objectives import VALIDATION
from spaces.redaction import redact

_SHOWN_ARGUMENTS = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
    "weight_decay", "lr_scheduler_type", "warmup_steps", "seed",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class CardFacts:
    """What goes into the card."""

    record: SearchRecord
    """The search."""
    trial: TrialRecord
    """Whose model it is."""
    task: str
    """As the spec names it."""
    pipeline: str | None
    """The pipeline of transformers."""
    auto_class: str
    """The class that loads it."""
    model_type: str
    """As transformers calls it."""
    needs_code: bool
    """Whether its code comes with it."""
    is_adapter: bool
    """Whether it is an adapter without its base."""
    base_model: str | None
    """What training started from."""
    is_chat: bool
    """Whether it is asked by messages."""
    space: Mapping[str, str]
    """What was searched."""
    training: Mapping[str, Any]
    """Arguments of the training."""
    max_length: int
    """Tokens of an example."""
    data: Mapping[str, Any]
    """Source, documents, tokens and labels; empty where nobody knows any more."""
    versions: Mapping[str, str]
    """Of the libraries."""
    confirmations: Sequence[Confirmation] = field(default_factory=list)
    """What was confirmed, the first one first."""
    preset: str | None = None
    """The preset that the search began with."""


def model_card(facts: CardFacts) -> str:
    """README.md."""
    sections = [
        _front_matter(facts), _title(facts), _loading(facts), _results(facts), _confirmed(facts), _search(facts),
        _training(facts), _data(facts), _versions(facts),
    ]  # fmt: skip
    return "\n".join(section for section in sections if section)


def _front_matter(facts: CardFacts) -> str:
    metrics = [name.removeprefix(VALIDATION) for name in _metrics(facts)]
    values: dict[str, Any] = {
        "library_name": "peft" if facts.is_adapter else "transformers",
        **({"pipeline_tag": facts.pipeline} if facts.pipeline else {}),
        **({"base_model": shared_name(facts.base_model)} if facts.base_model else {}),
        "tags": ["tunesmith", "hyperparameter-search", facts.model_type or "adapter", facts.task.replace("_", "-")],
        "metrics": metrics,
    }
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---\n"


def _title(facts: CardFacts) -> str:
    start = f"fine-tuned from `{shared_name(facts.base_model)}`" if facts.base_model else "trained from scratch"
    kind = f"A {facts.model_type} model" if facts.model_type else "An adapter"
    return (
        f"# {facts.record.name}, trial {facts.trial.number}\n\n{kind} for {facts.task.replace('_', ' ')}, {start}. "
        f"Found by a hyperparameter search with tunesmith.\n"
    )


def _loading(facts: CardFacts) -> str:
    code = ", trust_remote_code=True" if facts.needs_code else ""
    lines = ["## How to load it", ""]
    if facts.needs_code:
        said = f"The architecture `{facts.model_type}` comes with the weights as Python code"
        lines += [f"{said}, which is only run when you allow it.", ""]
    lines += ["```python"]
    if facts.is_adapter:
        lines += _load_adapter(facts)
    elif facts.pipeline is None:
        lines += ["from transformers import AutoTokenizer, " + facts.auto_class, "",
                  'tokenizer = AutoTokenizer.from_pretrained("FOLDER")',
                  f'model = {facts.auto_class}.from_pretrained("FOLDER")',
                  'answer = model.generate(**tokenizer("a text", return_tensors="pt"))',
                  "print(tokenizer.decode(answer[0], skip_special_tokens=True))"]  # fmt: skip
    else:
        asked = '[{"role": "user", "content": "a question"}]' if facts.is_chat else '"a text"'
        asked = '"a text with one [MASK]"' if facts.pipeline == "fill-mask" else asked
        lines += ["from transformers import pipeline", "",
                  f'model = pipeline("{facts.pipeline}", model="FOLDER"{code})', f"print(model({asked}))"]  # fmt: skip
    return "\n".join([*lines, "```", "", f"Examples had at most {facts.max_length} tokens in training.", ""])


def _load_adapter(facts: CardFacts) -> list[str]:
    name = facts.auto_class.replace("AutoModel", "AutoPeftModel")
    known = facts.auto_class != "AutoModelForMaskedLM"
    class_name = name if known else "PeftModel"
    return [f"from peft import {class_name}", "", "# the weights below the adapter are needed, too",
            f'model = {class_name}.from_pretrained({"" if known else "base, "}"FOLDER")']  # fmt: skip


def _results(facts: CardFacts) -> str:
    lines = ["## Results on validation", "", "| metric | value |", "| --- | --- |"]
    lines += [f"| {name.removeprefix(VALIDATION)} | {show_metric(value)} |" for name, value in _metrics(facts).items()]
    entry = next((each for each in leaderboard(facts.record) if each.trial.number == facts.trial.number), None)
    if entry is not None and entry.interval is not None:
        low, high = entry.interval
        lines += ["", f"95% interval of {facts.record.metric}: {show_metric(low)} to {show_metric(high)}."]
    guess = facts.record.baseline.get(facts.record.metric)
    if guess is not None:
        lines += ["", f"Guessing without a model ({facts.record.baseline_name}) reaches {show_metric(guess)}."]
    lines += ["", "The best of a search was chosen for this value, which is therefore somewhat too good."]
    return "\n".join([*lines, ""])


def _confirmed(facts: CardFacts) -> str:
    name = f"trial {facts.trial.number}"
    for confirmation in reversed(facts.confirmations):
        names = [each.name for each in confirmation.configurations]
        if name not in names or not confirmation.has_looked:
            continue
        lines = ["## On the test split", ""]
        for objective in confirmation.objectives:
            summary = confirmation.summaries(objective)[names.index(name)]
            if summary.test is None:
                continue
            interval = summary.test.interval
            spread = f" (95%: {show_metric(interval[0])} to {show_metric(interval[1])})" if interval else ""
            measured = f"{objective.name.removeprefix(VALIDATION)} {show_metric(summary.test.mean)}{spread}"
            lines.append(
                f"Trained again with {summary.test.count} fresh seeds, this configuration has {measured} on the test "
                "split, which the search never saw."
            )
            lines += ["", *(f"- {said}" for said in sentences(confirmation, objective)), ""]
        return "\n".join(lines)
    return "## On the test split\n\nNot measured (`tunesmith confirm` does).\n"


def _search(facts: CardFacts) -> str:
    record = facts.record
    preset = f", which began with the preset `{facts.preset}`" if facts.preset else ""
    lines = [
        "## The search", "",
        f"{len(record.trials)} trials{preset}: {record.count('COMPLETE')} trained to their end, "
        f"{record.count('PRUNED')} were stopped early, {record.count('FAIL')} failed. Objective: `{record.metric}` "
        f"({record.mode}).", "",
        "| searched | in | this model |", "| --- | --- | --- |",
    ]  # fmt: skip
    lines += [f"| `{path}` | `{entry}` | {_param(facts.trial, path)} |" for path, entry in facts.space.items()]
    return "\n".join([*lines, ""])


def _param(trial: TrialRecord, path: str) -> str:
    return show_value(trial.params[path]) if path in trial.params else ""


def _training(facts: CardFacts) -> str:
    trial = facts.trial
    done = {"steps": trial.steps, "epochs": trial.epochs, "tokens": trial.tokens, "seconds": trial.seconds,
            "energy (Wh)": trial.usage.energy_wh, "parameters": trial.usage.parameters}  # fmt: skip
    lines = ["## Training", "", "| | |", "| --- | --- |"]
    told = redact({name: facts.training[name] for name in _SHOWN_ARGUMENTS if name in facts.training})
    lines += [f"| `{name}` | {show_value(value)} |" for name, value in told.items()]
    lines += [f"| {name} | {show_value(value)} |" for name, value in done.items() if value is not None]
    return "\n".join([*lines, ""])


def _data(facts: CardFacts) -> str:
    if not facts.data:
        return ""
    parts = ", ".join(f"{count:,} {part}" for part, count in facts.data["documents"].items())
    lines = ["## Data", "", f"{shared_name(facts.data['source'])}: {parts} documents."]
    if facts.data["labels"]:
        lines += ["", f"Labels: {', '.join(facts.data['labels'])}."]
    return "\n".join([*lines, ""])


def _versions(facts: CardFacts) -> str:
    told = ", ".join(f"{name} {version}" for name, version in facts.versions.items() if version)
    return f"## Versions\n\n{told}\n" if told else ""


def _metrics(facts: CardFacts) -> dict[str, float]:
    return {name: value for name, value in facts.trial.metrics.items()
            if name.startswith(VALIDATION) and not is_of_a_fold(name)}  # fmt: skip


def shared_name(place: str) -> str:
    """What others may read of a place: of a local path the last part only."""
    return PurePath(place).name if place.startswith(("/", "~", "./", "../")) else place
