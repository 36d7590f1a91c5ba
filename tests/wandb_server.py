"""The fixture `server`: a fake W&B for one test, and a client that has not seen another. A module takes it by name:

from wandb_server import fake_server

server = fake_server
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from fake_wandb import FakeWandb, serving


@pytest.fixture(name="server")
def fake_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWandb]:
    """A server that knows nothing yet."""
    wandb.teardown()  # wandb reads its environment once
    for served in serving(tmp_path / "home", monkeypatch):
        yield served
        wandb.teardown()
