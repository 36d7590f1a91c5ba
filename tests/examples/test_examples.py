"""Every example runs, by the command that people use, and a broken one is told."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from patience import HANG_SECONDS

EXAMPLES = Path(__file__).parents[2] / "examples"


def run_all(*names: str, examples: Path = EXAMPLES, timeout: float = HANG_SECONDS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(examples / "run_all.py"), *names], capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1800)
def test_every_example_runs() -> None:
    done = run_all(timeout=1750)
    assert done.returncode == 0, done.stdout + done.stderr
    specs = {str(path.relative_to(EXAMPLES)) for path in EXAMPLES.rglob("*.yaml")}
    shown = {line.split()[0]: line for line in done.stdout.splitlines()[1:] if line}
    assert set(shown) == specs
    assert all(re.search(r" (ok|skipped: .*)$", line.rstrip()) for line in shown.values())


@pytest.mark.ray
def test_a_new_example_is_found_and_a_broken_one_told(tmp_path: Path) -> None:
    (tmp_path / "run_all.py").write_text((EXAMPLES / "run_all.py").read_text())
    (tmp_path / "own.py").write_text("def train(config, report):\n    report({'loss': config['x']})\n")
    spec = "name: NAME\ntrainable: own:train\nconfig: {x: 1.0, y: 2}\nspace: {config.x: {choice: [1.0, 2.0, 3.0]}}\n"
    spec += "search: {algorithm: grid, metric: METRIC}\nresources: {concurrent_trials: 1}\n"
    for name, metric in (("good", "loss"), ("wrong-metric", "los")):
        (tmp_path / f"{name}.yaml").write_text(spec.replace("NAME", name).replace("METRIC", metric))
    (tmp_path / "typo.yaml").write_text("name: typo\ntrainable: own:tarin\nsearch: {metric: loss}\n")
    done = run_all(examples=tmp_path)
    assert done.returncode == 1, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert re.search(r"own function +2 +loss 1 +\d+ +ok", lines["good.yaml"])
    assert "it does not report `los`" in lines["wrong-metric.yaml"]
    assert "Did you mean `train`?" in lines["typo.yaml"]


def test_a_name_that_no_example_has_is_refused() -> None:
    done = run_all("no-such-example")
    assert done.returncode == 2
    assert "no-such-example" in done.stderr
