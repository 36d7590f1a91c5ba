"""The warm process, driven by hand: step, reset, step; no cluster."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tiny_trials import Document, labelled

from spaces.reports import TrialFailure, TrialReport
from trainables import trainable as trainable_module
from trainables.trainable import FAILURE, FINISHED, LAST_ROWS, REPORT, TrialOrder, WarmTrainable


def order(folder: Path, document: Document, number: int = 0) -> dict[str, Any]:
    return TrialOrder(
        number=number, document=document, directory=str(folder / f"trial-{number}"), num_threads=1,
        save_checkpoints=True,
    ).to_config()  # fmt: skip


@pytest.fixture
def warm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Takes the place of what Tune makes in an actor; ended after the test."""

    def fail(code: int) -> None:
        raise AssertionError("the process would have been ended")

    monkeypatch.setattr(os, "_exit", fail)
    trainable = WarmTrainable.__new__(WarmTrainable)  # its __init__ wants Tune's folders and logs
    trainable._run = None
    yield trainable
    trainable.cleanup()


def trial_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("trial-")]


def test_an_order_survives_the_way_through_tune(tmp_path: Path) -> None:
    config = order(tmp_path, labelled(tmp_path), number=4)
    assert TrialOrder.from_config(config).to_config() == config


def test_each_step_gives_the_next_report(tmp_path: Path, warm: Any) -> None:
    warm.setup(order(tmp_path, labelled(tmp_path)))
    result = warm.step()
    report = TrialReport.from_json(result[REPORT])
    assert (result["epochs"], result["steps"], result["evaluations"]) == (1.0, 9, 1)
    assert result["tokens"] == report.progress.tokens > 0
    assert result["eval/loss"] == report.metrics["eval/loss"]
    assert "done" not in result


def test_the_final_report_ends_the_trial(tmp_path: Path, warm: Any) -> None:
    warm.setup(order(tmp_path, labelled(tmp_path)))
    warm.step()
    result = warm.step()
    assert result[FINISHED]
    assert result["done"]
    assert TrialReport.from_json(result[REPORT]).progress.is_final


def test_a_failure_is_a_result_and_the_next_trial_runs(tmp_path: Path, warm: Any) -> None:
    warm.setup(order(tmp_path, labelled(tmp_path, learning_rate=1e30, logging_steps=1)))
    failed = warm.step()
    assert TrialFailure.from_json(failed[FAILURE]).kind == "diverged"
    assert failed["done"]
    assert '"step": 1' in failed[LAST_ROWS]
    assert warm.reset_config(order(tmp_path, labelled(tmp_path, num_train_epochs=1), number=1))
    assert warm.step()[FINISHED]


def test_nothing_of_a_stopped_trial_is_in_the_next_one(tmp_path: Path, warm: Any) -> None:
    warm.setup(order(tmp_path, labelled(tmp_path, num_train_epochs=1, seed=2), number=0))
    expected = warm.step()
    warm.reset_config(order(tmp_path, labelled(tmp_path), number=1))
    warm.step()
    warm.reset_config(order(tmp_path, labelled(tmp_path, num_train_epochs=1, seed=2), number=2))
    result = warm.step()
    times = {REPORT}
    assert {name: result[name] for name in result.keys() - times} == {
        name: expected[name] for name in expected.keys() - times
    }
    assert trial_threads() == []


def test_a_trial_before_its_first_step_can_be_replaced(tmp_path: Path, warm: Any) -> None:
    warm.setup(order(tmp_path, labelled(tmp_path)))
    warm.reset_config(order(tmp_path, labelled(tmp_path, num_train_epochs=1), number=1))
    assert warm.step()[FINISHED]
    assert not (tmp_path / "trial-0").exists()


def test_a_paused_trial_goes_on_in_another_process(tmp_path: Path, warm: Any) -> None:
    config = order(tmp_path, labelled(tmp_path))
    warm.setup(config)
    first = warm.step()
    warm.reset_config(config)
    again, last = warm.step(), warm.step()
    assert again["eval/loss"] == first["eval/loss"]
    assert TrialReport.from_json(again[REPORT]).attempt == 2
    assert last[FINISHED]


def test_cleanup_ends_the_thread(tmp_path: Path, warm: Any) -> None:
    warm.setup(order(tmp_path, labelled(tmp_path)))
    warm.step()
    assert trial_threads() == ["trial-0"]
    warm.cleanup()
    assert trial_threads() == []


def test_a_checkpoint_for_tune_is_a_pointer(tmp_path: Path, warm: Any) -> None:
    warm.setup(order(tmp_path, labelled(tmp_path)))
    warm.save_checkpoint(str(tmp_path))
    assert str(tmp_path / "trial-0") in (tmp_path / "pointer.json").read_text()


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), ValueError("no")])
def test_whatever_ends_the_loop_somebody_is_told(
    tmp_path: Path, warm: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(trainable_module, "run_trial", fail)
    warm.setup(order(tmp_path, labelled(tmp_path)))
    assert type(error).__name__ in warm.step()[FAILURE]


def test_a_report_after_the_final_one_does_not_hang(tmp_path: Path, warm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "late_reporter.py").write_text(
        "def train(config, report):\n    report({'loss': 1}, is_final=True)\n    report({'loss': 2})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    warm.setup(order(tmp_path, {"trainable": "late_reporter:train"}))
    assert "after its final report" in warm.step()[FAILURE]


def test_a_metric_that_has_a_meaning_for_tune_ends_nothing(
    tmp_path: Path, warm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tunes_names.py").write_text(
        "def train(config, report):\n"
        "    for n in (1, 2):\n"
        "        report({'loss': 1 / n, 'done': 1, 'should_checkpoint': 1, 'timestamp': 5, 'failure': 1})\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    warm.setup(order(tmp_path, {"trainable": f"{tmp_path}/tunes_names.py:train"}))
    first, second, last = warm.step(), warm.step(), warm.step()
    assert not {"done", "should_checkpoint", "timestamp", FAILURE} & first.keys()
    assert TrialReport.from_json(first[REPORT]).metrics["done"] == 1.0
    assert (first["loss"], second["loss"]) == (1.0, 0.5)
    assert last[FINISHED]


def test_a_function_that_reports_another_metric_fails_at_its_first_report(
    tmp_path: Path, warm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_metric.py").write_text("def train(config, report):\n    report({'los': 1})\n    1 / 0\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = TrialOrder(
        number=0, document={"trainable": f"{tmp_path}/other_metric.py:train"}, directory=str(tmp_path / "trial"),
        num_threads=1, save_checkpoints=True, metric="loss",
    ).to_config()  # fmt: skip
    warm.setup(config)
    assert "does not report `loss`, the search's metric; it reports los" in warm.step()[FAILURE]
