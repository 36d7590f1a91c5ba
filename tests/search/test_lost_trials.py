"""Trials that are lost, as Tune tells the searcher of them: who goes on, and who has failed. Starts no Ray."""

import io
import json
from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.tune.search import Searcher
from rich.console import Console

from analysis.records import SearchFiles
from analysis.sources import read_records
from cluster.avoidance import Avoidance
from search.ledger import Ledger, create_study
from search.progress import SearchProgress
from search.recorder import Recorder
from search.samplers import SAMPLERS
from search.schedulers import SCHEDULERS, Members
from search.searcher import AskTellSearcher
from search.spec import AlgorithmConfig, SearchSpec
from search.stopping import SchedulerConfig
from search.tracker import NullTracker
from spaces.objectives import Objective
from spaces.reports import Progress, TrialFailure, TrialReport
from spaces.space import Space
from trainables.trainable import CALLED_AWAY, FAILURE, FINISHED, LAST_ROWS, NODE, ORDER, REPORT, TrialOrder

DOCUMENT = {"trainable": "m:f", "config": {"x": 0.5}}
VARIED = {"config.x": {"uniform": [0.0, 1.0]}}
SPACE = Space.parse(VARIED, document=DOCUMENT)
SPEC = SearchSpec.model_validate({"name": "s", **DOCUMENT, "space": VARIED, "search": {"metric": "loss"}})
MEMBERS = Members(space=SPACE, mutate=(), seed=0, first_assignment=lambda number: {})
FULL, ROOMY = "full" * 8, "roomy" * 8
NODE_LOST = ActorUnavailableError("RpcError: Socket closed", None)


class Search:
    """The searcher of a search of `num_trials`, and Tune's side of it."""

    def __init__(self, folder: Path, *, num_trials: int, max_restarts: int) -> None:
        self.folder = folder
        files = SearchFiles(folder)
        study = create_study(folder, SPEC, attributes={})
        proposer = SAMPLERS["random"](SPACE, AlgorithmConfig(name="random"), seed=0)
        self.said = io.StringIO()
        self.recorder = Recorder(
            files,
            Ledger(study, proposer=proposer, metric="loss", step_of=lambda progress: progress.step),
            NullTracker(),
            SearchProgress(metric="loss", mode="min", num_trials=num_trials, console=Console(file=self.said)),
            objectives=[Objective(name="loss", mode="min")], keep_checkpoints=1, is_at_end=lambda progress: False,
            document_of=lambda proposal: SPACE.apply(proposal.assignment), trial_facts={},
            record=read_records(folder),
        )  # fmt: skip
        self.scheduler = SCHEDULERS["none"](
            SchedulerConfig(), metric="loss", mode="min", max_resource=None, members=MEMBERS
        )
        self.searcher = AskTellSearcher(
            self.recorder, self.scheduler, num_trials=num_trials, max_restarts=max_restarts,
            num_concurrent=2, make_order=lambda number, document: TrialOrder(
                number=number, document=document, directory="", num_threads=1, save_checkpoints=True
            ),
        )  # fmt: skip
        self._ids = 0
        self.hosts = {FULL: "10.0.0.1", ROOMY: "10.0.0.2"}
        self.searcher._avoidance = Avoidance(hosts=lambda: self.hosts)

    def away_from(self) -> list[str]:
        """The nodes that the next order keeps away from; it is handed out."""
        self._ids += 1
        found = self.searcher.suggest(f"tune-{self._ids}")
        assert isinstance(found, dict)
        return found.get("away_from", "").split()

    def next(self) -> tuple[str, int | str | None]:
        """What Tune is handed: an id, and the number of a trial, FINISHED, or nothing yet."""
        self._ids += 1
        found = self.searcher.suggest(name := f"tune-{self._ids}")
        return name, json.loads(found[ORDER])["number"] if isinstance(found, dict) else found

    def lose(self, name: str, number: int, error: Exception) -> None:
        self.scheduler._errors[number] = error
        self.searcher.on_trial_complete(name, error=True)

    def finish(self, name: str) -> None:
        report = TrialReport(progress=Progress(step=1, epoch=1, tokens=0, evaluation=1, is_final=True),
                             metrics={"loss": 0.5})  # fmt: skip
        self.searcher.on_trial_complete(name, {REPORT: report.to_json(), FINISHED: True})

    def states(self) -> list[str]:
        return [trial.state for trial in read_records(self.folder).trials]


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(tmp_path, num_trials=2, max_restarts=1)


def test_a_trial_that_lost_its_node_comes_again_before_all_others_and_is_one_trial(search: Search) -> None:
    name, number = search.next()
    search.lose(name, 0, NODE_LOST)
    again, same = search.next()
    assert (number, same) == (0, 0)
    assert search.next()[1] == 1
    search.finish(again)
    assert search.states() == ["COMPLETE", "RUNNING"]
    assert "trial 0 starts again from its last checkpoint: its node was lost" in search.said.getvalue()


def test_a_search_is_not_finished_while_a_trial_may_still_be_lost(search: Search) -> None:
    first, second = search.next()[0], search.next()[0]
    assert search.next()[1] is None
    search.finish(first)
    assert search.next()[1] is None
    search.lose(second, 1, NODE_LOST)
    last, number = search.next()
    assert number == 1
    search.finish(last)
    assert search.next()[1] == Searcher.FINISHED
    assert search.states() == ["COMPLETE", "COMPLETE"]


def test_processes_count_and_nodes_do_not(search: Search) -> None:
    for error in (NODE_LOST, ActorDiedError(), NODE_LOST, ActorDiedError()):
        name, number = search.next()
        assert number == 0
        search.lose(name, 0, error)
    trial = read_records(search.folder).trials[0]
    assert (trial.state, trial.failure) == ("FAIL", "lost")
    assert "more often than `resources.max_restarts` allows (1)" in str(trial.error)
    assert search.next()[1] == 1


def test_a_full_disk_is_tried_again_and_an_error_of_the_trial_is_its_result(search: Search) -> None:
    full = TrialFailure(kind="error", message="OSError: [Errno 28] No space left on device")
    search.searcher.on_trial_complete(search.next()[0], {FAILURE: full.to_json(), LAST_ROWS: "[]"})
    name, number = search.next()
    assert number == 0
    wrong = TrialFailure(kind="error", message="KeyError: 'text'")
    search.searcher.on_trial_complete(name, {FAILURE: wrong.to_json(), LAST_ROWS: "[]"})
    assert search.states() == ["FAIL"]
    assert search.next()[1] == 1


def _full(node: str) -> dict[str, str]:
    failure = TrialFailure(kind="error", message="OSError: [Errno 28] No space left on device")
    return {FAILURE: failure.to_json(), LAST_ROWS: "[]", NODE: node}


def test_after_a_full_disk_no_trial_begins_on_that_node(search: Search) -> None:
    search.searcher.on_trial_complete(search.next()[0], _full(FULL))
    assert [search.away_from(), search.away_from()] == [[FULL], [FULL]], "the trial itself, and those after it"
    assert "the disk of node 10.0.0.1 (fullfull) is full" in search.said.getvalue()


def test_the_node_of_the_worker_that_failed_counts_and_not_that_of_the_process_that_leads_it(search: Search) -> None:
    failure = TrialFailure(kind="error", message="OSError: [Errno 28] No space left on device", node=FULL)
    search.searcher.on_trial_complete(search.next()[0], _full(ROOMY) | {FAILURE: failure.to_json()})
    assert search.away_from() == [FULL]


def test_a_trial_for_which_all_disks_are_full_has_failed_as_that(search: Search) -> None:
    search.searcher.on_trial_complete(search.next()[0], _full(FULL))
    name, number = search.next()
    assert number == 0
    search.searcher.on_trial_complete(name, _full(ROOMY))
    trial = read_records(search.folder).trials[0]
    assert (trial.state, trial.failure) == ("FAIL", "disk_full")
    assert "the disks of all nodes that could run it are full" in str(trial.error)
    assert (
        "the disk of node 10.0.0.2 (roomyroo) is full, and there is no other node with room" in search.said.getvalue()
    )


def test_a_trial_that_was_called_away_goes_on_elsewhere_and_that_is_no_restart(search: Search) -> None:
    for _ in range(3):
        name, number = search.next()
        assert number == 0
        search.searcher.on_trial_complete(name, {CALLED_AWAY: True, NODE: FULL})
    assert search.away_from() == [FULL]
    assert search.states() == ["RUNNING"]
    assert "its node is being taken back" in search.said.getvalue()


def test_what_is_lost_while_the_search_stops_stays_resumable(search: Search) -> None:
    name, _ = search.next()
    search.searcher.is_closing = True
    assert search.next()[1] is None
    search.lose(name, 0, NODE_LOST)
    assert search.next()[1] == Searcher.FINISHED
    assert search.states() == ["RUNNING"]
