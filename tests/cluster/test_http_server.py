"""The HTTP endpoint with a model of a few lines: limits, batches, health, the token."""

import asyncio
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from patience import HANG_SECONDS

from cluster.http_server import Endpoint, Limits

TestClient.__test__ = TestServer.__test__ = False  # type: ignore[attr-defined]  # no tests of ours


class Lengths:
    """Answers with the length of a text."""

    parameters = ("times",)

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    def check(self, text: Any, parameters: Mapping[str, Any]) -> None:
        if text == "too long":
            raise OverflowError("the model has room for 3 tokens")
        if parameters.get("times") == "x":
            raise ValueError("`times` is a number")

    def answer(self, texts: Sequence[Any], parameters: Mapping[str, Any]) -> list[Any]:
        self.may_answer.wait(HANG_SECONDS)
        self.batches.append(len(texts))
        if "poison" in texts:
            raise ValueError("it is poisoned")
        if "bug" in texts:
            raise RuntimeError("a bug")
        return [len(text) * parameters.get("times", 1) for text in texts]


def asked(ask: Callable[[TestClient[Any, Any]], Any], *, load: Callable[[], Any] | None = None, **options: Any) -> Any:
    """What `ask` finds out from a running server."""
    chat = options.pop("chat", False)

    async def run() -> Any:
        endpoint = Endpoint(load or Lengths, facts={"chat": chat}, **options)
        async with TestClient(TestServer(endpoint.app())) as client:
            return await ask(client)

    return asyncio.run(run())


async def ready(client: TestClient[Any, Any]) -> None:
    while (await client.get("/health")).status != 200:
        await asyncio.sleep(0.01)


async def predict(client: TestClient[Any, Any], body: Any, **headers: str) -> tuple[int, Any]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = await client.post("/predict", data=data, headers=headers)
    return response.status, await response.json()


def predicted(body: Any, *, headers: Mapping[str, str] | None = None, **options: Any) -> tuple[int, Any]:
    async def ask(client: TestClient[Any, Any]) -> tuple[int, Any]:
        await ready(client)
        return await predict(client, body, **(headers or {}))

    found: tuple[int, Any] = asked(ask, **options)
    return found


def test_texts_are_answered_in_order_and_one_text_without_a_list() -> None:
    assert predicted({"inputs": ["a", "bcd"]}) == (200, {"predictions": [1, 3]})
    assert predicted({"inputs": "abc", "parameters": {"times": 2}}) == (200, {"predictions": 6})


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "no JSON"),
        (b"\xff\xfe", 400, "no JSON"),
        ([1], 400, "`inputs`"),
        ({"texts": ["a"]}, 400, "`inputs`"),
        ({"inputs": ["a"], "seed": 1}, 400, "unknown key `seed`"),
        ({"inputs": []}, 400, "not empty"),
        ({"inputs": 3}, 400, "a text or a list"),
        ({"inputs": ["a", None]}, 400, "`inputs[1]` is neither"),
        ({"inputs": ["a", "  "]}, 400, "`inputs[1]` is empty"),
        ({"inputs": [[{"role": "user", "content": "hi"}]]}, 400, "takes texts"),
        ({"inputs": ["a"], "parameters": {"temperature": 1}}, 400, "this model has times"),
        ({"inputs": ["a"], "parameters": [1]}, 400, "`parameters` is an object"),
        ({"inputs": ["a"], "parameters": {"times": "x"}}, 400, "`times` is a number"),
        ({"inputs": ["too long"]}, 413, "room for 3 tokens"),
        ({"inputs": ["poison"]}, 400, "it is poisoned"),
        ({"inputs": ["bug"]}, 500, "a bug"),
        ({"inputs": ["a"] * 5}, 413, "at most 4 texts"),
        ({"inputs": ["a" * 51]}, 413, "at most 50 characters"),
        ({"inputs": ["a"], "x": "b" * 1000}, 413, "at most 500 bytes"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_reason(body: Any, status: int, says: str) -> None:
    found, told = predicted(body, limits=Limits(body_bytes=500, inputs=4, characters=50))
    assert (found, says in told["error"]) == (status, True), told


def test_a_conversation_is_one_input_of_a_chat_model() -> None:
    status, told = predicted({"inputs": [{"role": "user", "content": "hi"}]}, chat=True)
    assert (status, told) == (200, {"predictions": 1})


def test_it_listens_before_it_has_a_model_and_says_so() -> None:
    may_load = threading.Event()

    def load() -> Lengths:
        may_load.wait(HANG_SECONDS)
        return Lengths()

    async def ask(client: TestClient[Any, Any]) -> None:
        response = await client.get("/health")
        assert (response.status, await response.json()) == (503, {"status": "loading"})
        assert (await predict(client, {"inputs": "a"}))[0] == 503
        may_load.set()
        await ready(client)
        assert (await predict(client, {"inputs": "a"}))[0] == 200

    asked(ask, load=load)


def test_a_model_that_cannot_be_loaded_is_no_health() -> None:
    def load() -> Lengths:
        raise OSError("no such weights")

    async def ask(client: TestClient[Any, Any]) -> None:
        while (response := await client.get("/health")).status == 503:
            await asyncio.sleep(0.01)
        assert response.status == 500
        assert "no such weights" in (await response.json())["error"]

    asked(ask, load=load)


def test_requests_that_wait_together_are_answered_together() -> None:
    model = Lengths()

    async def ask(client: TestClient[Any, Any]) -> None:
        await ready(client)
        model.may_answer.clear()
        first = asyncio.create_task(predict(client, {"inputs": "a"}))
        await asyncio.sleep(0.2)
        others = [asyncio.create_task(predict(client, {"inputs": "b" * n})) for n in range(1, 7)]
        await asyncio.sleep(0.3)
        model.may_answer.set()
        assert (await first)[1] == {"predictions": 1}
        assert [(await each)[1]["predictions"] for each in others] == list(range(1, 7))

    asked(ask, load=lambda: model)
    assert model.batches == [1, 6]


def test_one_bad_request_does_not_spoil_those_that_came_with_it() -> None:
    model = Lengths()

    async def ask(client: TestClient[Any, Any]) -> list[tuple[int, Any]]:
        await ready(client)
        model.may_answer.clear()
        first = asyncio.create_task(predict(client, {"inputs": "a"}))
        await asyncio.sleep(0.2)
        tasks = [asyncio.create_task(predict(client, {"inputs": text})) for text in ("good", "poison", "fine!")]
        await asyncio.sleep(0.3)
        model.may_answer.set()
        await first
        return [await task for task in tasks]

    good, bad, fine = asked(ask, load=lambda: model)
    assert (good[0], bad[0], fine[0]) == (200, 400, 200)
    assert (good[1]["predictions"], fine[1]["predictions"]) == (4, 5)


def test_too_many_that_wait_are_sent_away() -> None:
    model = Lengths()

    async def ask(client: TestClient[Any, Any]) -> None:
        await ready(client)
        model.may_answer.clear()
        first = asyncio.create_task(predict(client, {"inputs": ["a", "b"]}))
        await asyncio.sleep(0.2)
        status, told = await predict(client, {"inputs": "c"})
        assert (status, told["error"]) == (503, "too many texts are waiting")
        model.may_answer.set()
        assert (await first)[0] == 200
        assert (await predict(client, {"inputs": "c"}))[0] == 200

    asked(ask, load=lambda: model, limits=Limits(waiting=2))


@pytest.mark.parametrize(
    ("given", "status"),
    [(None, 401), ("Bearer wrong", 401), ("secret", 401), ("Bearer secret", 200), ("Bearer ü", 401)],
)
def test_a_token_is_wanted_for_predictions_but_not_for_health(given: str | None, status: int) -> None:
    headers = {} if given is None else {"Authorization": given}
    assert predicted({"inputs": "a"}, headers=headers, token="secret")[0] == status


def test_errors_are_json_everywhere() -> None:
    async def ask(client: TestClient[Any, Any]) -> None:
        session: ClientSession = client.session
        assert session is not None
        missing, wrong = await client.get("/nowhere"), await client.get("/predict")
        assert (missing.status, wrong.status) == (404, 405)
        assert "error" in await missing.json()
        assert wrong.headers["Allow"] == "POST"

    asked(ask)
