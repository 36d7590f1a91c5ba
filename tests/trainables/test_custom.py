"""The user's own function as a trial."""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_trials import Document, Ran, run

from spaces.errors import SpecError
from trainables.custom import load_function
from trainables.fresh_process import freeze_imports

Custom = Callable[..., Document]


@pytest.fixture
def custom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Custom:
    """Writes a module with a function `train` of that body; gives the trial document."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(body: str, **config: Any) -> Document:
        lines = ["import sys", "from pathlib import Path", "def train(config, report):", *body.strip("\n").splitlines()]
        (tmp_path / "users_module.py").write_text("\n".join([*lines[:3], *(f"    {line}" for line in lines[3:])]))
        monkeypatch.delitem(sys.modules, "users_module", raising=False)
        return {"trainable": "users_module:train", "config": config}

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return make


def message(ran: Ran) -> str:
    assert ran.outcome is not None
    assert ran.outcome.failure is not None
    return ran.outcome.failure.message


def test_its_reports_arrive_and_its_return_marks_the_last_one(custom: Custom) -> None:
    ran = run(custom("for n in range(1, 3): report({'loss': config['start'] / n}, step=10 * n, tokens=5)", start=4))
    seen = [(one.progress.step, one.progress.evaluation, one.progress.is_final, one.metrics) for one in ran.reports]
    assert seen == [
        (10, 1, False, {"loss": 4.0}), (20, 2, False, {"loss": 2.0}), (20, 2, True, {"loss": 2.0}),
    ]  # fmt: skip
    assert [row["loss"] for row in ran.rows] == [4.0, 2.0]


def test_a_last_report_that_says_so_is_not_told_twice(custom: Custom) -> None:
    ran = run(custom("report({'loss': 1}, is_final=True)"))
    assert [one.progress.is_final for one in ran.reports] == [True]


def test_a_report_after_the_final_one_is_an_error(custom: Custom) -> None:
    ran = run(custom("report({'loss': 1}, is_final=True)\nreport({'loss': 2})"))
    assert "after its final report" in message(ran)


def test_a_metric_cannot_hide_how_far_the_trial_came(custom: Custom) -> None:
    ran = run(custom("report({'loss': 1, 'step': 99}, step=3)"))
    assert ran.rows[0]["step"] == 3


COUNTING = """
done = int((report.checkpoint / 'n').read_text()) if report.checkpoint else 0
for n in range(done + 1, 4):
    folder = Path(config['folder']) / str(n)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'n').write_text(str(n))
    report({'loss': 1 / n}, checkpoint=folder)
"""


def test_its_checkpoint_is_taken_over_and_handed_back(custom: Custom, tmp_path: Path) -> None:
    document = custom(COUNTING, folder=str(tmp_path / "own"))
    begun = run(document, tmp_path / "trial", stop_after=2)
    resumed = run(document, tmp_path / "trial")
    assert [one.progress.evaluation for one in begun.reports] == [1, 2]
    assert [one.progress.evaluation for one in resumed.reports] == [2, 3, 3]
    assert not (tmp_path / "own" / "1").exists()


def test_a_finished_function_is_not_called_again(custom: Custom, tmp_path: Path) -> None:
    run(custom(COUNTING, folder=str(tmp_path / "own")), tmp_path / "trial")
    again = run(custom("raise AssertionError('called again')"), tmp_path / "trial")
    assert again.failure is None
    assert [one.progress.is_final for one in again.reports] == [True]


def test_a_function_that_finds_nothing_left_to_do_has_finished(custom: Custom, tmp_path: Path) -> None:
    run(custom(COUNTING, folder=str(tmp_path / "own")), tmp_path / "trial", stop_after=3)
    resumed = run(custom(COUNTING, folder=str(tmp_path / "own")), tmp_path / "trial")
    last = resumed.reports[-1]
    assert last.progress.is_final
    assert last.checkpoint is not None
    assert Path(last.checkpoint).is_dir()


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        ("report({'loss': float('nan')})", "diverged", "loss became nan at step 1"),
        ("report({'loss': 1.0, 'other': -float('inf')}, step=7)", "diverged", "other became -inf at step 7"),
        ("pass", "error", "without a single report"),
        ("report({'loss': 'small'})", "error", "a number in it, but has loss 'small'"),
        ("raise ValueError('no')", "error", "ValueError: no"),
        ("sys.exit(3)", "error", "SystemExit: 3"),
        ("raise MemoryError", "out_of_memory", "MemoryError"),
    ],
)
def test_what_goes_wrong_in_it_is_a_failure(custom: Custom, body: str, kind: str, text: str) -> None:
    ran = run(custom(body))
    assert ran.failure == kind
    assert text in message(ran)


@pytest.mark.parametrize(
    ("name", "text"),
    [("no_such_module:train", "cannot import"), ("json:train", "no function"), ("json:scanner", "no function")],
)
def test_a_function_that_is_not_there_is_refused(name: str, text: str) -> None:
    with pytest.raises(SpecError, match=text):
        load_function(name)


def test_it_cannot_change_the_next_trials_config(custom: Custom) -> None:
    document = custom("config['list'].append(1); report({'length': len(config['list'])})", list=[])
    assert run(document).metrics == run(document).metrics


def test_without_saving_a_checkpoint_is_cleared_up(custom: Custom, tmp_path: Path) -> None:
    ran = run(custom(COUNTING, folder=str(tmp_path / "own")), tmp_path / "trial", save_checkpoints=False)
    assert [one.checkpoint for one in ran.reports] == [None] * 4
    assert list((tmp_path / "own").iterdir()) == []


def test_the_last_checkpoint_is_at_hand_within_a_run_too(custom: Custom, tmp_path: Path) -> None:
    body = COUNTING + "\n    assert (report.checkpoint / 'n').read_text() == str(n)"
    assert run(custom(body, folder=str(tmp_path / "own")), tmp_path / "trial").failure is None


@pytest.mark.parametrize(("given", "text"), [("'no-folder'", "not there"), ("__file__", "a file")])
def test_a_checkpoint_that_is_no_folder_is_told(custom: Custom, tmp_path: Path, given: str, text: str) -> None:
    ran = run(custom(f"report({{'loss': 1}}, checkpoint={given})"), tmp_path / "trial")
    assert "a checkpoint is a folder, but" in message(ran)
    assert text in message(ran)


def test_only_the_objective_must_be_finite(custom: Custom) -> None:
    ran = run(custom("report({'loss': 1.0, 'ratio': float('inf')})"), metric="loss")
    assert ran.failure is None
    assert ran.metrics[0] == {"loss": 1.0}
    assert ran.rows[0]["ratio"] == float("inf")


def test_a_module_that_lacks_what_it_imports_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "importing.py").write_text("def train(config, report): ...\nimport no_such_library")
    with pytest.raises(SpecError, match="`importing` needs it, and it is not installed here"):
        load_function(f"{tmp_path}/importing.py:train")


def test_what_was_imported_is_not_walked_over_after_each_trial_and_what_a_trial_made_is_freed(
    custom: Custom, tmp_path: Path
) -> None:
    gc.unfreeze()
    freeze_imports.cache_clear()
    body = f"""
import weakref
class Model: pass
model = Model()
model.itself = model
weakref.finalize(model, Path({str(tmp_path / "freed")!r}).touch)
report({{'loss': 1}})
"""
    run(custom(body))
    assert gc.get_freeze_count() > 10_000
    assert (tmp_path / "freed").exists()
