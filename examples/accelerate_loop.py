"""An Accelerate loop as a trial: a small BERT learns which package of the standard library a docstring is from."""

import tempfile
from pathlib import Path
from typing import Any
from zlib import crc32

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, TensorDataset
from transformers import BertConfig, BertForSequenceClassification, get_linear_schedule_with_warmup

from trainables.data.builtin import labelled_docstrings  # the text behind {builtin: stdlib-docstrings}

VOCABULARY, LENGTH = 4000, 48


def train(config: dict[str, Any], report: Any) -> None:
    """Micro-batches, gradient accumulation and clipping by Accelerate; `Accelerator` is as new in every trial."""
    accelerator = Accelerator(gradient_accumulation_steps=config["accumulation"])
    train_set, validation_set, num_labels = docstrings(config["num_texts"])
    size = config["hidden_size"]
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=VOCABULARY, hidden_size=size, intermediate_size=2 * size, num_hidden_layers=config["layers"],
            num_attention_heads=4, max_position_embeddings=LENGTH, num_labels=num_labels, pad_token_id=0,
        )
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["learning_rate"], weight_decay=0.05)
    loader = DataLoader(train_set, batch_size=config["micro_batch_size"], shuffle=True)
    num_steps = config["epochs"] * -(-len(loader) // config["accumulation"])
    schedule = get_linear_schedule_with_warmup(optimizer, num_steps // 20, num_steps)
    model, optimizer, loader, schedule = accelerator.prepare(model, optimizer, loader, schedule)
    validation = accelerator.prepare(DataLoader(validation_set, batch_size=128))
    first_epoch = 1
    if report.checkpoint:
        accelerator.load_state(report.checkpoint)  # model, optimizer, schedule and random state
        first_epoch = int((report.checkpoint / "epoch").read_text()) + 1

    for epoch in range(first_epoch, config["epochs"] + 1):
        model.train()
        for input_ids, labels in loader:
            with accelerator.accumulate(model):
                loss = model(input_ids=input_ids, attention_mask=(input_ids != 0).long(), labels=labels).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
        folder = Path(tempfile.mkdtemp())
        accelerator.save_state(folder)
        (folder / "epoch").write_text(str(epoch))
        report({"train/loss": loss, **evaluate(model, validation)}, epoch=epoch, checkpoint=folder)


@torch.no_grad()
def evaluate(model: Any, validation: Any) -> dict[str, float]:
    """Loss and accuracy on held-out docstrings."""
    model.eval()
    losses, hits = [], []
    for input_ids, labels in validation:
        output = model(input_ids=input_ids, attention_mask=(input_ids != 0).long(), labels=labels)
        losses.append(output.loss * len(labels))
        hits.append((output.logits.argmax(dim=1) == labels).sum())
    num_texts = len(validation.dataset)
    return {"eval/loss": float(sum(losses)) / num_texts, "eval/accuracy": float(sum(hits)) / num_texts}


def docstrings(num_texts: int) -> tuple[TensorDataset, TensorDataset, int]:
    """Texts as words, hashed alike in every process; 0 pads. Four fifths to train on, the same for every trial."""
    rows = list(labelled_docstrings())
    names = sorted({str(label) for _, label in rows})
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0)).tolist()[:num_texts]
    input_ids = torch.zeros(len(order), LENGTH, dtype=torch.long)
    for row, index in enumerate(order):
        words = [1 + crc32(word.encode()) % (VOCABULARY - 1) for word in rows[index][0].lower().split()[:LENGTH]]
        input_ids[row, : len(words)] = torch.tensor(words)
    labels = torch.tensor([names.index(str(rows[index][1])) for index in order])
    split = len(order) * 4 // 5
    return (
        TensorDataset(input_ids[:split], labels[:split]),
        TensorDataset(input_ids[split:], labels[split:]),
        len(names),
    )
