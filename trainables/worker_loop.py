"""One rank of a warm worker group: it takes trial after trial in the same process. Knows no Ray.

Ranks speak through a post, see `mailbox.py`; torch's process group is for the training alone. A trial that fails on
one rank cuts the others off: all of them then end it and form a new process group, in the processes they have.
"""

import json
import os
from pathlib import Path
from typing import Any, Protocol

from spaces.reports import TrialReport, TrialStopped
from trainables.checkpoints import TrialDirectory, entered_trial
from trainables.mailbox import Ending, Verdict, WorkerOrder
from trainables.process_group import can_be_formed_again, form_process_group, leave_process_group
from trainables.ranks import PeerLost, Ranks
from trainables.trial import TrialOutcome, classify, parse_document, run_trial

# Ranks that fail by themselves, all for one reason, do so within a moment of each other.
_MOMENT_SECONDS = 1.0


class Post(Protocol):
    """A rank's side of the mailbox: its coroutines, called and waited for."""

    def next_order(self, trial: int) -> WorkerOrder | None: ...
    def report(self, trial: int, number: int, report: TrialReport | None) -> Verdict: ...
    def gather(self, trial: int, number: int, rank: int, value: Any) -> list[Any] | None: ...
    def end(self, trial: int, rank: int, ending: Ending) -> None: ...
    def endings(self, trial: int, *, within_seconds: float | None) -> list[Ending] | None: ...
    def exchange(self, trial: int, rank: int, value: Any) -> list[Any]: ...


class GroupBroken(RuntimeError):
    """The processes of a group cannot go on together: Ray has to start new ones."""


def serve(post: Post, *, rank: int, world_size: int, timeout_seconds: float) -> None:
    """Run trials until there are no more orders."""
    trial = 0
    _form_anew(post, trial=-1, rank=rank, world_size=world_size, timeout_seconds=timeout_seconds)
    while (order := post.next_order(trial)) is not None:
        ranks = PostRanks(post, trial=trial, rank=rank, world_size=world_size)
        ending = _run(order, ranks)
        post.end(trial, rank, ending)
        endings = post.endings(trial, within_seconds=_MOMENT_SECONDS if _is_failure(ending) else None)
        if endings is None:
            if not can_be_formed_again():
                raise GroupBroken("the other ranks wait in a collective that cannot be left")
            leave_process_group(cut=True)  # who waits for this rank in a collective is cut off now
            endings = post.endings(trial, within_seconds=None)
            assert endings is not None, "waited without an end"
        if _have_lost_step(endings):
            _form_anew(post, trial=trial, rank=rank, world_size=world_size, timeout_seconds=timeout_seconds)
        trial += 1


class PostRanks(Ranks):
    """The ranks of one trial, as one of them sees the others through the post."""

    def __init__(self, post: Post, *, trial: int, rank: int, world_size: int) -> None:
        super().__init__(rank=rank, world_size=world_size)
        self._post = post
        self._trial = trial
        self._rounds = 0
        self._reports = 0

    def gather(self, value: Any) -> list[Any]:
        """What each rank gave."""
        number, self._rounds = self._rounds, self._rounds + 1
        values = self._post.gather(self._trial, number, self.rank, value)
        if values is None:
            raise PeerLost("another rank has ended this trial")
        return values

    def report(self, report: TrialReport) -> None:
        """The trial's report function on every rank: all wait for the verdict on what the first one reports."""
        number, self._reports = self._reports, self._reports + 1
        verdict = self._post.report(self._trial, number, report if self.is_first else None)
        if verdict == "stop":
            raise TrialStopped
        if verdict == "peer lost":
            raise PeerLost("another rank has ended this trial")


def _run(order: WorkerOrder, ranks: PostRanks) -> Ending:
    try:
        given = json.loads(order.order)
        return run_trial(
            parse_document(given["document"]),
            ranks.report,
            directory=TrialDirectory(entered_trial(given["directory"]), attempt=order.attempt),
            save_checkpoints=given["save_checkpoints"],
            num_threads=given["num_threads"],
            cache_directory=Path(given["cache_directory"]) if given["cache_directory"] else None,
            ranks=ranks,
            batches=order.batches,
        )
    except TrialStopped:
        return None
    except BaseException as error:  # whatever ends the trial here, the others wait for this rank's last word
        return TrialOutcome(failure=classify(error))


def _is_failure(ending: Ending) -> bool:
    return ending is not None and ending.failure is not None


def _have_lost_step(endings: list[Ending]) -> bool:
    """Whether a rank may have left a collective that others were in. Ranks that end alike ended at one place."""
    return len({_in_words(ending) for ending in endings}) > 1


def _in_words(ending: Ending) -> str:
    if ending is None:
        return "stopped"
    return f"{ending.failure.kind}: {ending.failure.message}" if ending.failure else "done"


def _form_anew(post: Post, *, trial: int, rank: int, world_size: int, timeout_seconds: float) -> None:
    """A process group of our own: in place of Ray Train's, whose connections we do not know, or of a broken one.

    Raises:
        GroupBroken: with NCCL, which leaves nothing to go on with.
    """
    if not can_be_formed_again():
        if trial < 0:
            return
        raise GroupBroken("ranks were cut off in a collective, and this process group cannot be formed again")
    from torch.distributed import TCPStore

    leave_process_group()
    store = None
    if rank == 0:
        store = TCPStore(os.environ["MASTER_ADDR"], 0, world_size, is_master=True, wait_for_workers=False)
    host, port = post.exchange(trial, rank, (os.environ["MASTER_ADDR"], store.port) if store else None)[0]
    store = store or TCPStore(host, port, world_size, is_master=False)
    form_process_group(rank=rank, world_size=world_size, timeout_seconds=timeout_seconds, store=store)
