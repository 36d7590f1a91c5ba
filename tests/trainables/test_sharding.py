"""A model sharded over its workers: the same training, checkpoints that load by themselves and resume exactly."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_trials
from patience import HANG_SECONDS

pytestmark = [pytest.mark.slow]


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """From `sharded_trial.py`, on two CPU processes."""
    tests = Path(tiny_trials.__file__).parent
    script, folder = tests / "sharded_trial.py", tmp_path_factory.mktemp("sharded")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script, folder],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])},
        capture_output=True, text=True, timeout=HANG_SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_sharded_model_trains_like_a_replicated_one(came: Any) -> None:
    (sharded, _), (replicated, _) = came["whole"], came["replicated"]
    assert len(sharded) == 3
    for one, other in zip(sharded, replicated, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_resumed_sharded_trial_equals_an_uninterrupted_one(came: Any) -> None:
    assert came["begun"][0] == came["whole"][0][:2]
    assert came["resumed"][0] == came["whole"][0][1:]


def test_a_sharded_checkpoint_loads_by_itself(came: Any) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = Path(came["whole"][1])
    model, loading = AutoModelForCausalLM.from_pretrained(place, output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert model.config.vocab_size == len(AutoTokenizer.from_pretrained(place))
