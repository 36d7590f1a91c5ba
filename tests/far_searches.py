"""A small search that is submitted to a real cluster: its files, and a client that has nothing else of the cluster."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from conftest import command
from patience import HANG_SECONDS
from ray_cluster import RayHead

Call = Callable[..., subprocess.CompletedProcess[str]]

SPEC = """
name: far
trainable: walking:train
config: {slope: 1.0, steps: 3, slow: /nowhere, nap: 1.0}
space: {config.slope: {choice: [0.5, 1.0, 2.0, 4.0]}}
search: {algorithm: grid, metric: loss}
tracking: {wandb: {mode: disabled}}
"""
# It needs a module that lies beside it, goes on from its checkpoints, and takes its time while a file is there.
WALKING = """
import pathlib, tempfile, time
from steepness import loss

def train(config, report):
    done = int((report.checkpoint / "done").read_text()) if report.checkpoint else 0
    for step in range(done + 1, config["steps"] + 1):
        time.sleep(config["nap"] if pathlib.Path(config["slow"]).exists() else 0.0)
        folder = pathlib.Path(tempfile.mkdtemp())
        (folder / "done").write_text(str(step))
        report({"loss": loss(config, step)}, step=step, checkpoint=folder, is_final=step == config["steps"])
"""


def lay_out(folder: Path) -> Path:
    """The files of the search, in a folder from where it is submitted."""
    folder.mkdir(exist_ok=True)
    (folder / "spec.yaml").write_text(SPEC)
    (folder / "walking.py").write_text(WALKING)
    (folder / "steepness.py").write_text("def loss(config, step): return config['slope'] / step")
    return folder


def client(head: RayHead, folder: Path, **variables: str) -> Call:
    """Runs commands in a folder, on a machine that knows the cluster's token."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments), cwd=folder, env=head.environment | variables, capture_output=True, text=True,
            timeout=HANG_SECONDS, check=False,
        )  # fmt: skip

    return run
