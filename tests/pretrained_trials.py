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
    if not (folder / "config.json").exists():
        _, data = prepared(document)
        built(document).save_pretrained(folder)
        data.tokenizer.save_pretrained(folder)
    data_section = {name: value for name, value in document["data"].items() if name != "tokenizer"}
    return document | {"model": {"pretrained": str(folder)} | (model or {}), "data": data_section}
