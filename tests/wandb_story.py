"""A search of two trials as a tracker sees it, told to the real client. Knows no server."""

from pathlib import Path
from typing import Any

from analysis.records import SearchRecord, TrialRecord
from search.load import RECORDED
from search.spec import WandbConfig
from search.tracker import Row, RunFacts, SearchIdentity, Tracker
from search.tracking import WandbTracker, make_tracker
from search.yaml_text import to_yaml

FINGERPRINT = "0123456789abcdef"
PREFIX = FINGERPRINT[:12]
SEARCH_ID = f"{PREFIX}-search"
TRIAL_ID = f"{PREFIX}-0000"
FAILED_ID = f"{PREFIX}-0001"
PROJECT = "demo"
DOCUMENT = {"training": {"learning_rate": 0.001}, "model": {"config": {"hidden_size": 64}}}
FACTS = RunFacts(provenance={"git": {"commit": "c" * 40}, "seed": 7}, modes={"eval/loss": "min"})
RECORD = SearchRecord(
    name="my-search",
    directory=None,
    metric="eval/loss",
    mode="min",
    num_planned=2,
    trials=[
        TrialRecord(
            number=0,
            state="COMPLETE",
            value=0.1 + 0.2,
            params={"training.learning_rate": 1e-5},
            intermediate={1: 0.5, 2: 0.1 + 0.2},
            fold_values=(0.25, 0.35),
            seconds=36.0,
        ),
        TrialRecord(
            number=1,
            state="FAIL",
            value=None,
            params={"training.learning_rate": 1},
            intermediate={},
            error="the loss became NaN",
        ),
    ],
)


def identity_in(folder: Path, *, name: str = "my-search", fingerprint: str = FINGERPRINT) -> SearchIdentity:
    """A search's folder with its spec."""
    directory = folder / name
    directory.mkdir(parents=True, exist_ok=True)
    spec = {
        "name": name,
        "trainable": "walking:train",
        "space": {"config.x": {"uniform": [0.0, 1.0]}},
        "search": {"metric": "eval/loss", "mode": "min"},
        "tracking": {"wandb": {"mode": "offline", "project": PROJECT}},
        RECORDED: {"fingerprint": fingerprint},
    }
    (directory / "spec.yaml").write_text(to_yaml(spec))
    return SearchIdentity(name=name, fingerprint=fingerprint, directory=directory)


def open_tracker(
    identity: SearchIdentity, mode: Any, *, patience_seconds: float = 60, facts: RunFacts = FACTS, **tracking: Any
) -> Tracker:
    """A tracker as a new session of the same search has it."""
    config = WandbConfig(mode=mode, **{"project": PROJECT, "tags": ("mine",), **tracking})
    if mode == "disabled":
        return make_tracker(config, identity, facts)
    return WandbTracker(
        config,
        identity,
        facts,
        init_timeout_seconds=patience_seconds,
        finish_timeout_seconds=patience_seconds + 1,
        queue_timeout_seconds=max(20, patience_seconds),
    )


def rows(start: int, stop: int) -> list[Row]:
    """Rows of a history. Step, epoch and tokens follow from a row's place in it."""
    return [
        {"step": 10 * k, "epoch": k / 4, "tokens": 1000 * k, "train/loss": 1 / (k + 1), "eval/loss": None}
        for k in range(start, stop)
    ]


def tell_story(tracker: Tracker, record: SearchRecord = RECORD) -> None:
    """A search of two trials, one of which fails."""
    tracker.start_search({"name": "my-search", "training": {"hub_token": "hush"}})
    for number in (0, 1):
        tracker.start_trial(number, DOCUMENT, history=[])
        tracker.log_rows(number, rows(0, 3))
    tracker.end_trial(0, state="COMPLETE", summary={"eval/loss": 0.25, "trial/steps": 20}, error=None)
    tracker.end_trial(1, state="FAIL", summary={}, error="the loss became NaN")
    tracker.end_search(record, {"best/number": 0})
    tracker.close()


def steps_of(history: list[dict[str, Any]]) -> list[tuple[int, float]]:
    """(step in W&B, step of training) of each row."""
    return [(row["_step"], row["progress/step"]) for row in history]


def expected_steps(count: int) -> list[tuple[int, float]]:
    """These of a history of `count` rows that came in order, each once."""
    return [(k, 10 * k) for k in range(count)]
