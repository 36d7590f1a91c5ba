"""Trials that train in a second: one layer, a hundred short texts. Also run by the tests in a process of their own."""

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spaces.reports import Row, TrialReport, TrialStopped
from trainables.checkpoints import TrialDirectory
from trainables.trial import TrialOutcome, parse_document, run_trial

Document = dict[str, Any]

TINY_BERT = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "hidden_dropout_prob": 0.3, "attention_probs_dropout_prob": 0.3,
}  # fmt: skip
TINY_GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2}
TINY_LLAMA = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
    "intermediate_size": 16,
}  # fmt: skip
_COLOURS = ("red", "green", "blue")


def labelled(folder: Path, *, architecture: str = "bert", config: Document | None = None, **training: Any) -> Document:
    """A classification trial: 3 colours, 72 texts to train on, 24 to validate; 9 steps of 8 an epoch."""
    file = folder / "labelled.jsonl"
    texts = [
        {"text": " ".join([f"thing {n} is", *[colour] * (1 + n % 5)]), "label": colour}
        for n in range(32)
        for colour in _COLOURS
    ]
    file.write_text("\n".join(map(json.dumps, texts)))
    return {
        "task": "sequence_classification",
        "model": {"architecture": architecture, "config": TINY_BERT if config is None else config},
        "data": {
            "source": {"files": str(file)},
            "tokenizer": {"train": "bpe", "vocab_size": 300},
            "max_length": 20,
            "splits": {"validation": 0.25, "test": 0.0},
        },
        "training": {"per_device_train_batch_size": 8, "learning_rate": 0.01, "num_train_epochs": 2} | training,
    }


def prose(folder: Path, *, architecture: str = "gpt2", config: Document | None = None, **training: Any) -> Document:
    """A language model on lines that repeat themselves: 24 blocks or so to train on."""
    file = folder / "prose.txt"
    file.write_text("\n".join(f"the {c} boat of captain {n} sails home" for n in range(20) for c in _COLOURS))
    return {
        "task": "causal_lm",
        "model": {"architecture": architecture, "config": TINY_GPT2 if config is None else config},
        "data": {
            "source": {"files": str(file)},
            "tokenizer": {"train": "bpe", "vocab_size": 300},
            "max_length": 32,
            "splits": {"validation": 0.25, "test": 0.0},
        },
        "training": {"per_device_train_batch_size": 4, "learning_rate": 0.01, "num_train_epochs": 2} | training,
    }


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
            parse_document(document), report, directory=directory, save_checkpoints=save_checkpoints
        )
    return ran


def weights(ran: Ran) -> dict[str, list[float]]:
    """Every weight of the last checkpoint."""
    from safetensors.torch import load_file

    place = ran.reports[-1].checkpoint
    assert place is not None
    return {name: value.flatten().tolist() for name, value in load_file(Path(place) / "model.safetensors").items()}


if __name__ == "__main__":
    document_file, trial_folder = sys.argv[1:]
    alone = run(json.loads(Path(document_file).read_text()), Path(trial_folder))
    print(json.dumps({"rows": alone.rows, "metrics": alone.metrics, "weights": weights(alone)}))
