"""Orders, verdicts and endings of a worker group, without processes: the ranks are coroutines here."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from spaces.reports import Progress, Row, TrialFailure, TrialReport
from trainables.mailbox import Ending, Mailbox, TrialEnded, WorkerOrder, merged
from trainables.trial import TrialOutcome

ORDER = WorkerOrder(order="{}", attempt=1)
REPORT = TrialReport(progress=Progress(step=1, epoch=1.0, tokens=9, evaluation=1), metrics={"eval/loss": 1.0})
DONE = TrialOutcome()


def failed(kind: Any, message: str = "no", rows: list[Row] | None = None) -> TrialOutcome:
    return TrialOutcome(failure=TrialFailure(kind=kind, message=message), rows=rows or [])


def together(*calls: Awaitable[Any]) -> Any:
    return asyncio.wait_for(asyncio.gather(*calls), 5)


async def opened(*, patience: float = 60) -> Mailbox:
    mailbox = Mailbox(world_size=2, patience_seconds=patience)
    await mailbox.post(ORDER)
    return mailbox


def test_every_rank_gets_every_order() -> None:
    async def story() -> None:
        mailbox = await opened()
        assert await together(mailbox.next_order(0), mailbox.next_order(0)) == [ORDER, ORDER]
        waiting = asyncio.create_task(mailbox.next_order(1))
        await mailbox.post(None)
        assert await waiting is None

    asyncio.run(story())


@pytest.mark.parametrize(("stop", "verdict"), [(False, "go"), (True, "stop")])
def test_all_ranks_get_the_one_verdict_on_a_report(stop: bool, verdict: str) -> None:
    async def story() -> None:
        mailbox = await opened()
        ranks = asyncio.gather(mailbox.report(0, 0, REPORT), mailbox.report(0, 0, None))
        assert await mailbox.next_event() == REPORT
        await mailbox.answer(stop=stop)
        assert await ranks == [verdict, verdict]

    asyncio.run(story())


def test_a_gathering_gives_the_values_in_the_order_of_ranks() -> None:
    async def story() -> None:
        mailbox = await opened()
        assert await together(mailbox.gather(0, 0, 1, "b"), mailbox.gather(0, 0, 0, "a")) == [["a", "b"], ["a", "b"]]

    asyncio.run(story())


def test_who_waits_for_a_rank_that_has_ended_is_told() -> None:
    async def story() -> None:
        mailbox = await opened()
        waiting = asyncio.gather(mailbox.report(0, 0, REPORT), mailbox.gather(0, 0, 0, "a"))
        await asyncio.sleep(0)
        await mailbox.end(0, 1, failed("error"))
        assert await waiting == ["peer lost", None]

    asyncio.run(story())


def test_the_end_is_told_once_all_have_ended_and_the_next_trial_begins_anew() -> None:
    async def story() -> None:
        mailbox = await opened()
        for trial in range(3):
            await mailbox.end(trial, 0, DONE)
            assert await mailbox.endings(trial, within_seconds=0.01) is None
            await mailbox.end(trial, 1, DONE)
            assert await mailbox.endings(trial, within_seconds=None) == [DONE, DONE]
            assert await mailbox.next_event() == TrialEnded(outcome=DONE)
            await mailbox.post(ORDER)

    asyncio.run(story())


def test_patience_with_a_silent_rank_ends() -> None:
    async def story() -> None:
        mailbox = await opened(patience=0.01)
        await mailbox.end(0, 0, failed("out_of_memory"))
        event = await asyncio.wait_for(mailbox.next_event(), 5)
        assert isinstance(event, TrialEnded)
        assert not event.is_group_whole
        assert event.outcome is not None

    asyncio.run(story())


LOST = failed("lost")


@pytest.mark.parametrize(
    ("endings", "expected"),
    [
        ([DONE, DONE], TrialEnded(outcome=DONE)),
        ([None, None], TrialEnded(outcome=None)),
        ([LOST, LOST], TrialEnded(outcome=None, is_lost=True)),
        ([LOST, None], TrialEnded(outcome=None, is_lost=True)),
        ([failed("error", "a"), failed("error", "b")], TrialEnded(outcome=failed("error", "a"))),
        ([LOST, failed("error", "b")], TrialEnded(outcome=failed("error", "b (on rank 1)"))),
        (
            [failed("lost", rows=[{"step": 1}]), failed("out_of_memory", "b")],
            TrialEnded(outcome=failed("out_of_memory", "b (on rank 1)", rows=[{"step": 1}])),
        ),
    ],
)
def test_a_ranks_own_failure_counts_before_those_it_caused(endings: list[Ending], expected: TrialEnded) -> None:
    assert merged(dict(enumerate(endings))) == expected
