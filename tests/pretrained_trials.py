"""Trials that start from a model in a folder, for every task: pretrained, though its weights are random."""

from pathlib import Path
from typing import Any

import transformers
from tiny_trials import Document

from trainables.config import TrialConfig
from trainables.models import build_model
from trainables.preparation import PreparedData, prepare
from trainables.tasks.registry import TASKS


def prepared(document: Document) -> tuple[TrialConfig, PreparedData]:
    """The trial of `document` and its data."""
    trial = TrialConfig.model_validate(document)
    return trial, prepare(trial.task, trial.model, trial.data)


def built(document: Document) -> Any:
    """The model as the trial starts with it."""
    trial, data = prepared(document)
    transformers.set_seed(42)
    return build_model(TASKS[trial.task], trial.model, data=trial.data, card=data.card, tokenizer=data.tokenizer)


def pretrained(document: Document, folder: Path, *, model: Document | None = None) -> Document:
    """`document` with the model it would build from scratch lying in `folder`; `model` is what is done with it."""
    _, data = prepared(document)
    if not (folder / "config.json").exists():
        built(document).save_pretrained(folder)
        data.tokenizer.save_pretrained(folder)
    # The same tokenizer at a place that all tests share: examples are known by it.
    tokenizer = {"pretrained": str(data.directory / "tokenizer")}
    return document | {
        "model": {"pretrained": str(folder)} | (model or {}),
        "data": document["data"] | {"tokenizer": tokenizer},
    }
