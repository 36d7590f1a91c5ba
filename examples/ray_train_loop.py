"""An unchanged Ray Train loop: a byte-level GRU language model on the Python language reference.

Nothing here knows tunesmith. `python ray_train_loop.py` trains it once, by Ray Train alone.
"""

import math
import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

LENGTH = 64


def train_loop_per_worker(config: dict[str, Any]) -> None:
    """What `TorchTrainer` calls on each worker."""
    train_blocks, validation_blocks = blocks(config["num_bytes"])
    loader = ray.train.torch.prepare_data_loader(
        DataLoader(TensorDataset(train_blocks), batch_size=config["batch_size"], shuffle=True)
    )
    model = ray.train.torch.prepare_model(ByteModel(config["width"], config["dropout"]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["learning_rate"])
    first_epoch = 0
    checkpoint = ray.train.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder:
            state = torch.load(Path(folder, "state.pt"))
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first_epoch = state["epoch"] + 1

    for epoch in range(first_epoch, config["epochs"]):
        model.train()
        for (batch,) in loader:
            loss = next_byte_loss(model, batch)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.eval()
        with torch.no_grad():
            bits = next_byte_loss(model, validation_blocks.to(ray.train.torch.get_device())).item() / math.log(2)
        with tempfile.TemporaryDirectory() as folder:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, Path(folder, "state.pt"))
            ray.train.report(
                {"bits_per_byte": bits, "train_loss": loss.item(), "epoch": epoch},
                checkpoint=ray.train.Checkpoint.from_directory(folder),
            )


class ByteModel(nn.Module):
    """Predicts each next byte."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, width)
        self.recurrent = nn.GRU(width, width, batch_first=True)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, 256))

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits, (batch, length, 256)."""
        return self.head(self.recurrent(self.embedding(batch))[0])


def next_byte_loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy in nats per byte."""
    return cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def blocks(num_bytes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first bytes of the language reference in blocks: nine tenths to train on, the rest to validate."""
    from pydoc_data.topics import topics

    text = "\n\n".join(topics[name] for name in sorted(topics)).encode()[:num_bytes]
    whole = len(text) // LENGTH * LENGTH
    every = torch.tensor(list(text[:whole])).view(-1, LENGTH)
    split = len(every) * 9 // 10
    return every[:split], every[split:]


if __name__ == "__main__":
    from ray.train.torch import TorchTrainer

    TorchTrainer(
        train_loop_per_worker,
        train_loop_config={
            "num_bytes": 100_000, "epochs": 3, "batch_size": 32, "width": 64, "dropout": 0.1, "learning_rate": 3e-3,
        },
        scaling_config=ray.train.ScalingConfig(num_workers=1),
    ).fit()  # fmt: skip
