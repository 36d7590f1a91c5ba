"""A plain PyTorch loop as a trial: scikit-learn's handwritten digits, a small convolutional network."""

import tempfile
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

Split = tuple[torch.Tensor, torch.Tensor]


def train(config: dict[str, Any], report: Any) -> None:
    """Called with the trial's `config` and tunesmith's `report`. The process is seeded already, by `config.seed`."""
    (images, labels), validation = digits()
    model = network(config["channels"], config["dropout"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["learning_rate"], weight_decay=config["weight_decay"])
    first_epoch = 1
    if report.checkpoint:  # the trial was interrupted: go on where it was
        state = torch.load(report.checkpoint / "state.pt")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        first_epoch = state["epoch"] + 1

    for epoch in range(first_epoch, config["epochs"] + 1):
        model.train()
        for batch in torch.randperm(len(images)).split(config["batch_size"]):
            loss = cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        folder = Path(tempfile.mkdtemp())  # report moves it into the trial's folder
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch,
                 "random": torch.get_rng_state()}  # fmt: skip
        torch.save(state, folder / "state.pt")
        report({"train/loss": loss, **evaluate(model, validation)}, epoch=epoch, checkpoint=folder)


def digits() -> tuple[Split, Split]:
    """1797 images of 8x8: three quarters to train on, the rest to validate; the same for every trial."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(data.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    held_out, rest = order[:450], order[450:]
    return (images[rest], labels[rest]), (images[held_out], labels[held_out])


def network(channels: int, dropout: float) -> nn.Module:
    """Two convolutions and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(channels, 2 * channels, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(dropout), nn.Linear(8 * channels, 10),
    )  # fmt: skip


@torch.no_grad()
def evaluate(model: nn.Module, split: Split) -> dict[str, float]:
    """Loss and accuracy on held-out images."""
    model.eval()
    logits = model(split[0])
    accuracy = (logits.argmax(dim=1) == split[1]).float().mean()
    return {"eval/loss": cross_entropy(logits, split[1]).item(), "eval/accuracy": accuracy.item()}
