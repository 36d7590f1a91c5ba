"""A node is killed while it trains: the benchmark, as small as it can be, with its own verdict."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_submitted_search_survives_the_death_of_a_node() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "node_loss.py"), "--nodes", "2", "--trials", "3"],
        cwd=ROOT, capture_output=True, text=True, timeout=580, check=False,
    )  # fmt: skip
    assert "verdict: all trials complete, each evaluation recorded once" in done.stdout, done.stdout + done.stderr
    assert "starts again from its last checkpoint: its node was lost" in done.stdout
