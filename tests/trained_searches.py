"""Searches with trials that were really trained, in this process and without Ray: the real plan, study and recorder."""

import json
from pathlib import Path
from typing import Any

from recorded_searches import Session

from search.load import load_spec
from search.plan import make_plan
from search.yaml_text import to_yaml
from trainables.checkpoints import TrialDirectory
from trainables.trial import parse_document, run_trial

SPEC: dict[str, Any] = {
    "name": "colours",
    "task": "sequence_classification",
    "model": {
        "architecture": "bert",
        "config": {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
    },
    "data": {"tokenizer": {"train": "bpe", "vocab_size": 300}, "max_length": 16, "splits": {"leakage_check": "off"}},
    "training": {"num_train_epochs": 2, "per_device_train_batch_size": 8},
    "space": {"training.learning_rate": {"choice": [1.0e-2, 1.0e-3, 1.0e-4]}},
    "search": {"algorithm": "grid", "metric": "eval/accuracy"},
    "tracking": {"wandb": {"mode": "disabled"}},
}


def trained(folder: Path, *, trials: int = 2, **sections: Any) -> Session:
    """A search in `folder` of `trials` trials: of three colours, told by their names."""
    rows = [{"text": f"thing {n} is {c} {c}", "label": c} for n in range(20) for c in ("red", "green", "blue")]
    (folder / "colours.jsonl").write_text("\n".join(map(json.dumps, rows)))
    spec = json.loads(json.dumps({**SPEC, "storage": str(folder / "searches"), **sections}))
    spec["data"]["source"] = {"files": str(folder / "colours.jsonl")}
    (folder / "spec.yaml").write_text(to_yaml(spec))
    session = Session(make_plan(load_spec(folder / "spec.yaml")))
    for _ in range(trials):
        train(session)
    return session


def train(session: Session) -> int:
    """One more trial, to its end."""
    number = session.start()
    directory = TrialDirectory(session.files.trial(number).path)
    directory.begin_attempt()
    document = session.plan.space.apply(session.record.trials[number].params)
    outcome = run_trial(
        parse_document(document), lambda report: session.recorder.report(number, report), directory=directory
    )
    assert outcome.failure is None, outcome.failure
    session.recorder.finish(number, is_complete=True)
    return number
