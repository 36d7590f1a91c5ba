"""The HTTP endpoint of a model: health, predictions in batches, limits, a token. Knows no model and no search.

It listens at once, and says `loading` until there is a model. Requests that come together are answered together.
"""

import asyncio
import contextlib
import hmac
import json
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

_PARENT_SECONDS = 1.0
_GATHER_SECONDS = 0.005
_SHUTDOWN_SECONDS = 10.0


class Model(Protocol):
    """What answers."""

    @property
    def parameters(self) -> tuple[str, ...]:
        """What a request may set."""

    def check(self, text: Any, parameters: Mapping[str, Any]) -> None:
        """Raises OverflowError for a text that is too long, ValueError for a parameter that makes no sense."""

    def answer(self, texts: Sequence[Any], parameters: Mapping[str, Any]) -> list[Any]:
        """One answer a text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What one request may ask for."""

    body_bytes: int = 4 * 2**20
    """Of the whole request."""
    inputs: int = 64
    """Texts in one request."""
    characters: int = 100_000
    """Of one text."""
    batch: int = 32
    """Texts that are answered together."""
    waiting: int = 1024
    """Texts that wait; further ones are sent away until some are answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listening:
    """Where and how a server listens."""

    host: str
    """Address."""
    port: int
    """Port."""
    is_shared: bool = False
    """Whether other replicas listen there, too."""
    token: str | None = None
    """What `Authorization: Bearer ...` must say; None: anybody may ask."""
    parent: int | None = None
    """Process without which a replica ends."""


@dataclass(kw_only=True)
class _Waiting:
    texts: list[Any]
    parameters: dict[str, Any]
    answers: "asyncio.Future[list[Any]]"


class Endpoint:
    """The handlers, and the one thread in which the model works."""

    def __init__(
        self,
        load: Callable[[], Model],
        *,
        facts: Mapping[str, Any],
        token: str | None = None,
        limits: Limits | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._load = load
        self._facts = dict(facts)
        self._token = token
        self._limits = limits or Limits()
        self._on_ready = on_ready
        self._model: Model | None = None
        self._failure: str | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._num_waiting = 0

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=self._limits.body_bytes, middlewares=[_errors_as_json])
        app.router.add_get("/", self._about)
        app.router.add_get("/health", self._health)
        app.router.add_post("/predict", self._predict)
        app.cleanup_ctx.append(self._work)
        return app

    async def _work(self, _: web.Application) -> Any:
        task = asyncio.create_task(self._load_and_answer())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _load_and_answer(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._model = await loop.run_in_executor(self._thread, self._load)
        except Exception as error:
            self._failure = f"the model cannot be loaded: {error}"
            return
        self._on_ready()
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(_GATHER_SECONDS)  # what comes at the same moment goes along
            size = len(batch[0].texts)
            while not self._queue.empty() and size < self._limits.batch:
                batch.append(self._queue.get_nowait())
                size += len(batch[-1].texts)
            for together in _alike(batch):
                await self._answer(loop, together)

    async def _answer(self, loop: asyncio.AbstractEventLoop, together: list[_Waiting]) -> None:
        assert self._model is not None, "requests wait until there is a model"
        texts = [text for each in together for text in each.texts]
        try:
            found = await loop.run_in_executor(self._thread, self._model.answer, texts, together[0].parameters)
        except Exception as error:
            if len(together) > 1:  # one of them is to blame
                for each in together:
                    await self._answer(loop, [each])
                return
            if not together[0].answers.done():
                together[0].answers.set_exception(error)
            return
        for each in together:
            own, found = found[: len(each.texts)], found[len(each.texts) :]
            if not each.answers.done():
                each.answers.set_result(own)

    # --- handlers ---

    async def _health(self, _: web.Request) -> web.Response:
        if self._failure is not None:
            return web.json_response({"status": "failed", "error": self._failure}, status=500)
        if self._model is None:
            return web.json_response({"status": "loading"}, status=503, headers={"Retry-After": "2"})
        return web.json_response({"status": "ready"})

    async def _about(self, _: web.Request) -> web.Response:
        return web.json_response(self._facts)

    async def _predict(self, request: web.Request) -> web.Response:
        self._check_token(request)
        model = self._model
        if model is None:
            raise web.HTTPServiceUnavailable(text=self._failure or "the model is loading", headers={"Retry-After": "2"})
        texts, parameters, is_single = self._read(await _json_of(request), model)
        for text in texts:
            try:
                await asyncio.get_running_loop().run_in_executor(None, model.check, text, parameters)
            except OverflowError as error:
                raise _too_large(str(error)) from None
            except ValueError as error:
                raise web.HTTPBadRequest(text=str(error)) from None
        if self._num_waiting + len(texts) > self._limits.waiting:
            raise web.HTTPServiceUnavailable(text="too many texts are waiting", headers={"Retry-After": "1"})
        self._num_waiting += len(texts)
        try:
            waiting = _Waiting(
                texts=texts, parameters=parameters, answers=asyncio.get_running_loop().create_future()
            )  # fmt: skip
            self._queue.put_nowait(waiting)
            answers = await waiting.answers
        except (ValueError, TypeError, KeyError) as error:
            raise web.HTTPBadRequest(text=f"the model cannot answer this: {error}") from None
        finally:
            self._num_waiting -= len(texts)
        return web.json_response({"predictions": answers[0] if is_single else answers})

    def _check_token(self, request: web.Request) -> None:
        if self._token is None:
            return
        given = request.headers.get("Authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            raise web.HTTPUnauthorized(text="give the token: `Authorization: Bearer ...`")

    def _read(self, body: Any, model: Model) -> tuple[list[Any], dict[str, Any], bool]:
        """The texts of a request, what it sets, and whether it is about one text. Raises what says why not."""
        if not isinstance(body, dict) or "inputs" not in body:
            raise web.HTTPBadRequest(text='send a JSON object with `inputs`: `{"inputs": ["a text", "another"]}`')
        if unknown := body.keys() - {"inputs", "parameters"}:
            raise web.HTTPBadRequest(text=f"unknown key `{min(unknown)}`: a request has `inputs` and `parameters`")
        parameters = body.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise web.HTTPBadRequest(text="`parameters` is an object")
        if unknown := parameters.keys() - set(model.parameters):
            known = ", ".join(model.parameters)
            raise web.HTTPBadRequest(text=f"unknown parameter `{min(unknown)}`: this model has {known}")
        inputs = body["inputs"]
        is_single = isinstance(inputs, str) or _is_chat(inputs)
        texts = [inputs] if is_single else inputs
        if not isinstance(texts, list) or not texts:
            raise web.HTTPBadRequest(text="`inputs` is a text or a list of texts, and not empty")
        if len(texts) > self._limits.inputs:
            raise _too_large(f"at most {self._limits.inputs} texts fit into a request, but it has {len(texts)}")
        for index, text in enumerate(texts):
            self._check_text(text, index)
        return texts, parameters, is_single

    def _check_text(self, text: Any, index: int) -> None:
        is_chat = _is_chat(text)
        if not isinstance(text, str) and not is_chat:
            raise web.HTTPBadRequest(text=f"`inputs[{index}]` is neither a text nor a list of messages")
        if is_chat and not self._facts.get("chat"):
            raise web.HTTPBadRequest(text=f"`inputs[{index}]` is a list of messages, but this model takes texts")
        length = sum(len(message["content"]) for message in text) if is_chat else len(text)
        if not length or (isinstance(text, str) and not text.strip()):
            raise web.HTTPBadRequest(text=f"`inputs[{index}]` is empty")
        if length > self._limits.characters:
            raise _too_large(
                f"a text has at most {self._limits.characters:,} characters; `inputs[{index}]` has {length:,}"
            )


def serve(endpoint: Endpoint, listening: Listening) -> None:
    """Answer requests until SIGINT or SIGTERM. What is being answered then is finished first.

    Raises:
        OSError: the port is taken.
    """
    asyncio.run(_serve(endpoint, listening))


async def _serve(endpoint: Endpoint, listening: Listening) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(endpoint.app(), access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, listening.host, listening.port, reuse_port=listening.is_shared or None).start()
        if listening.parent is None:
            await stop.wait()
        while listening.parent is not None and not stop.is_set() and os.getppid() == listening.parent:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PARENT_SECONDS)
    finally:
        await runner.cleanup()


def _alike(batch: list[_Waiting]) -> list[list[_Waiting]]:
    """Those that set the same parameters."""
    groups: dict[str, list[_Waiting]] = {}
    for each in batch:
        groups.setdefault(json.dumps(each.parameters, sort_keys=True), []).append(each)
    return list(groups.values())


async def _json_of(request: web.Request) -> Any:
    try:
        return json.loads(await request.text())
    except web.HTTPRequestEntityTooLarge as error:
        raise _too_large(f"a request has at most {request.client_max_size:,} bytes") from error
    except (ValueError, LookupError):
        raise web.HTTPBadRequest(text="the body is no JSON document in UTF-8") from None


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(each, dict) and isinstance(each.get("role"), str) and isinstance(each.get("content"), str)
            for each in value
        )
    )


def _too_large(message: str) -> web.HTTPException:
    return web.HTTPRequestEntityTooLarge(max_size=0, actual_size=0, text=message)


@web.middleware
async def _errors_as_json(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        kept = {name: value for name, value in error.headers.items() if name in ("Retry-After", "Allow")}
        return web.json_response({"error": error.text or error.reason}, status=error.status, headers=kept)
    except Exception as error:
        return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=500)
