"""Words are about the record, and are not said where the record does not bear them out."""

from dataclasses import replace
from pathlib import Path

from planted_searches import linear_search, realistic_search, search_of

from analysis.records import SearchRecord, TrialRecord
from analysis.summary import next_steps, summary


def _words(record: SearchRecord) -> dict[str, str]:
    return {point.about: point.words for point in summary(record)}


def test_the_summary_says_what_was_tried_what_is_best_and_what_failed() -> None:
    record = realistic_search(trials=60)
    words = _words(record)
    assert record.best is not None
    assert "60 trials varied learning_rate, weight_decay, num_hidden_layers and lr_scheduler_type" in words["Search"]
    assert f"Trial {record.best.number} is best" in words["Best"]
    assert "measured once" in words["Best"]
    assert "learning_rate matters most" in words["What matters"]
    assert "after 1 epoch" in words["What matters"]
    assert f"{record.count('FAIL')} diverged" in words["Failures"]
    assert "GPU-hours" in words["Cost"]


def test_a_best_trial_that_is_no_better_than_guessing_is_called_so() -> None:
    record = realistic_search(trials=60)
    assert "which is not better" not in _words(record)["Baseline"]
    assert "which is not better" in _words(replace(record, baseline={"eval/loss": 0.1}))["Baseline"]


def test_folds_give_an_interval_and_ties() -> None:
    words = _words(realistic_search(trials=60, folds=5))["Best"]
    assert "95% interval" in words
    assert "over 5 folds" in words
    assert "cannot be told from" in words
    assert "measured once" not in words


def test_several_objectives_are_told_by_their_front() -> None:
    words = _words(realistic_search(trials=60, num_objectives=2))
    assert "on the front" in words["Best"]
    assert "lower eval/loss and lower trial/latency_ms" in words["Search"]


def test_a_search_without_finished_trials_says_so() -> None:
    running = TrialRecord(number=0, state="RUNNING", value=None, params={"a": 1.0}, intermediate={})
    words = _words(search_of([running], num_planned=5))
    assert "No trial has finished" in words["Best"]
    assert "1 not finished yet" in words["Search"]
    assert "5 are planned" in words["Search"]
    assert set(words) == {"Search", "Best", "What matters"}
    assert "0 finished trials are too few" in words["What matters"]


def test_what_to_do_next_fits_the_state_of_the_search(tmp_path: Path) -> None:
    def lines(record: SearchRecord) -> list[str]:
        return [step.line.split()[1] for step in next_steps(record)]

    done = replace(linear_search({"a": 1.0}, trials=3), directory=tmp_path)
    assert lines(done) == ["confirm", "trial", "extend"]
    assert lines(replace(done, num_planned=9))[:2] == ["status", "resume"]
    failed = replace(done.trials[0], state="FAIL", value=None, failure="out_of_memory")
    assert "retry" in lines(replace(done, trials=[failed, *done.trials[1:]]))
    assert lines(replace(done, directory=None)) == []
