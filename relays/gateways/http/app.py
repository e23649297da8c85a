"""What the gateway answers to which request."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from fabric.edge.logging.faults import place_of
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.topics import check_topic
from relays.gateways.http.answers import answer_to, plain, problem
from relays.gateways.http.asked import read_asked
from relays.gateways.http.bodies import inflated
from relays.gateways.http.commands import BODY_BYTES_MAX, Commands, UnsupportedError, check_type
from relays.gateways.http.giving import Outcome, give
from relays.gateways.http.keys import Keys, Work
from relays.gateways.http.openapi import document
from relays.gateways.http.rates import WORKERS, Room
from relays.gateways.http.receiving import SlowError, received
from relays.gateways.http.records import memory_of, read_records
from relays.gateways.http.settings import OPENC2, PUBLISH, STREAM, Settings
from relays.gateways.http.streaming import EventStream, head_of_stream
from relays.gateways.http.streams import Streams
from relays.gateways.http.tokens import Token, Tokens
from relays.gateways.kinds import Intake

# That are under way, whether anybody still waits for their answers or not; of one token no more than are left.
_REQUESTS_MAX: Final = 1_024
# Bytes of bodies of all requests, and of what is read of them, in bodies as large as they may be.
_ROOM_BODIES: Final = 8
_ROOM_READ: Final = 32
# Of these a request has one: whoever is between it and here could take another.
_ONCE: Final = ("authorization", "content-type", "content-encoding", "idempotency-key")
# Path, method, and who answers. OpenC2's: where its transfer specification has it, and a shorter one.
ROUTES: Final = (
    ("/v1/events", "POST", "_events"),
    ("/.well-known/openc2", "POST", "_openc2"),
    ("/openc2", "POST", "_openc2"),
    ("/v1/stream", "GET", "_stream"),
    ("/v1/health", "GET", "_health"),
    ("/openapi.json", "GET", "_openapi"),
)
# Who is refused is said so often.
_TELL_S: Final = 10.0


class App:
    """`asgi` is for the server's thread. What may wait is done in `pool`."""

    def __init__(
        self, settings: Settings, intake: Intake, tokens: Tokens, keys: Keys, commands: Commands,
        streams: Streams, pool: Executor, now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._intake = intake
        self._tokens = tokens
        self._now_s = now_s
        self._room = Room(_ROOM_BODIES * settings.body_bytes_max)
        self._room_read = Room(_ROOM_READ * settings.body_bytes_max)
        self._requests = Room(_REQUESTS_MAX)
        self._turns: dict[Token, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(WORKERS // 2))
        self._keys = keys
        self._commands = commands
        self._streams = streams
        self._pool = pool
        self._refused = 0
        self._told_s = -_TELL_S
        routes = [Route(path, getattr(self, name), methods=[method]) for path, method, name in ROUTES]
        # A redirect would name whatever host the request names.
        within = Mount("", app=Router(routes, redirect_slashes=False))
        self.asgi = Starlette(routes=[within], exception_handlers={
            FabricError: self._on_error, HTTPException: self._on_http, Exception: self._on_fault,
        })

    async def _events(self, request: Request) -> Response:
        token = self._token(request)
        token.check(PUBLISH)
        topic = self._topic(request, token)
        with self._under_way(token):
            async with received(
                request, self._settings.body_bytes_max, self._settings.body_s, self._room, token.name
            ) as body, self._turns[token]:
                if await request.is_disconnected():  # it waited, and nobody does who has an answer to come
                    raise FabricError(Code.HTTP_BODY, "its sender left")
                loop = asyncio.get_running_loop()
                try:
                    answer, records = await loop.run_in_executor(self._pool, self._take, request, token, topic, body)
                except FabricError:
                    token.bucket.refuse(len(body))
                    raise
        token.bucket.spend(records)
        return answer

    @contextmanager
    def _under_way(self, token: Token) -> Iterator[None]:
        """Also while its sender is gone: what it asked for is work until it is done."""
        self._requests.take(1, token.name)
        try:
            yield
        finally:
            self._requests.give(1, token.name)

    def _take(self, request: Request, token: Token, topic: str, body: bytes) -> tuple[Response, int]:
        """On a thread of the pool: the answer, and how many records it is for."""
        headers = _headers(request)
        if (key := headers.get("idempotency-key")) is None:
            outcome, is_single = self._give(request, headers, token, topic, body, None)
            return answer_to(outcome, is_single), len(outcome.ids)
        event = [f"{name}: {value}" for name, value in sorted(headers.items()) if name.startswith("ce-")]
        what = "\0".join((topic, headers.get("content-type", ""), headers.get("content-encoding", ""), *event, ""))
        work = self._keys.begin(token.name, key, what.encode() + body)
        if work.before is not None and work.before.answer is not None:
            status, media_type, text = work.before.answer
            return Response(text, status, {"cache-control": "no-store"}, media_type), 1
        try:
            outcome, is_single = self._give(request, headers, token, topic, body, work)
            answer = answer_to(outcome, is_single)
            if outcome.busy is None:
                work.answered(answer.status_code, answer.media_type or "", bytes(answer.body).decode())
        finally:
            work.abandoned()
        return answer, len(outcome.ids)

    def _give(
        self, request: Request, headers: dict[str, str], token: Token, topic: str, body: bytes, work: Work | None
    ) -> tuple[Outcome, bool]:
        body = inflated(body, headers.get("content-encoding", ""), self._settings.body_bytes_max)
        with self._room_read.held(memory_of(body)):
            found, is_single = read_records(body, headers.get("content-type", ""), headers, self._settings.records_max)
            peer = request.client.host if request.client is not None else ""
            return give(found, self._intake, token, topic, peer, self._settings.busy_s, work), is_single

    async def _openc2(self, request: Request) -> Response:
        token = self._token(request)
        token.check(OPENC2)
        media_type = check_type(request.headers.get("content-type", ""))
        limit = min(BODY_BYTES_MAX, self._settings.body_bytes_max)
        token.bucket.spend(1)
        with self._under_way(token):
            async with received(request, limit, self._settings.body_s, self._room, token.name) as body:
                body = inflated(body, request.headers.get("content-encoding", ""), limit)
            return await self._commands.answer(request, token, body, media_type)

    async def _stream(self, request: Request) -> Response:
        token = self._token(request)
        token.check(STREAM)
        token.bucket.spend(1)
        asked = read_asked(request.query_params.multi_items(), request.headers.getlist("last-event-id"))
        wanted = token.check_read(asked.topics)
        if request.method == "HEAD":
            return head_of_stream()
        return EventStream(self._streams, self._streams.open(token, wanted, asked.last))

    def end_streams(self) -> None:
        """For the server's thread: each reader has what there is for it, and then its stream ends."""
        self._streams.end()

    def look_at_secrets(self) -> None:
        """For the server's thread: what reads with a token whose secret changed is cut off."""
        changed = self._tokens.look()
        for token, why in changed:
            words = "it has another secret" if why is None else f"nobody has it any more: {why}"
            self._intake.note(f"token {token.name}: {words}")
        if changed:
            self._streams.wake()

    async def _health(self, _request: Request) -> Response:
        said: dict[str, Any] = {"status": "ok"}
        if self._settings.read:
            said |= {"readers": self._streams.readers, "stream": "away" if self._streams.away else "ok"}
        return plain(said)

    async def _openapi(self, _request: Request) -> Response:
        return plain(document())

    def _token(self, request: Request) -> Token:
        try:
            token = self._tokens.find(request.headers.get("authorization", ""))
        except FabricError:
            self._tell_refused(request)
            raise
        token.bucket.admit()
        return token

    def _topic(self, request: Request, token: Token) -> str:
        given = request.query_params.multi_items()
        if any(name != "topic" for name, _ in given) or len(given) > 1:
            raise FabricError(Code.USAGE, "the only parameter is topic, once", "write e.g. ?topic=detections.app.login")
        topic = given[0][1] if given else ""
        if not given:
            return ""
        fault = check_topic(topic)
        if fault is not None:
            raise FabricError(fault.code, fault.detail)
        if not token.is_for(topic):
            raise FabricError(Code.HTTP_DENIED, f"{token.name}: no topic of it covers {topic}")
        return topic

    def _tell_refused(self, request: Request) -> None:
        self._refused += 1
        if self._now_s() - self._told_s >= _TELL_S:
            self._told_s = self._now_s()
            host = request.client.host if request.client is not None else "somebody"
            label = Code.HTTP_UNKNOWN.label
            self._intake.note(f"{label} {self._refused:,} requests without a known token, the last of {host}")
            self._refused = 0

    async def _on_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, FabricError)
        retry_s = 2.0
        if error.code is Code.HTTP_RATE:
            retry_s = self._tokens.find(request.headers.get("authorization", "")).bucket.wait_s()
        status = 408 if isinstance(error, SlowError) else 415 if isinstance(error, UnsupportedError) else 0
        return problem(error, status=status, retry_s=retry_s)

    async def _on_http(self, _request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = {404: "there is nothing at this path", 405: "not with this method"}.get(error.status_code, "")
        answer = problem(
            FabricError(Code.USAGE, words, "see GET /openapi.json for what there is"), status=error.status_code
        )
        answer.headers.update(error.headers or {})
        return answer

    async def _on_fault(self, _request: Request, error: Exception) -> Response:
        words: dict[str, Any] = place_of(error)
        place = " ".join(f"{key}={value}" for key, value in words.items())
        self._intake.note(f"{Code.SOURCE_FAILED.label} a request failed: {place}")
        return problem(FabricError(Code.SOURCE_FAILED), status=500)


def _headers(request: Request) -> dict[str, str]:
    """By lower-case name. Raises HTTP_BODY where one is there twice that says what the body is, or whose."""
    given = request.headers
    names = given.keys()
    for name in set(names) if len(set(names)) < len(names) else ():
        if names.count(name) > 1 and (name in _ONCE or name.startswith("ce-")):
            raise FabricError(Code.HTTP_BODY, f"the header {name} is there twice", "send it once")
    return dict(given)
