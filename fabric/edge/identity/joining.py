"""A newcomer's way in (SPEC 6.5): its own keys, one question through the token's relay, and an identity's folder.

Guarantees: private keys are made here and stay here; nothing is written before the answer was found to be the token's
issuer's, to this very question; the secret of the token is not sent. Raises FabricError with the issuer's code, or
UNREACHABLE and TIMED_OUT with what stood in the way.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from fabric.documents import parse_json
from fabric.edge.identity.home import fabric_folder, ids_folder, make_private, write_private
from fabric.edge.identity.identity import Defaults, Dial, Identity, load_identity, save_identity
from fabric.files import read_private
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import FRAME_BYTES_MAX, ID_BYTES, KEY_BYTES
from fabric.protocol.base.signing import Signer
from fabric.protocol.enrolment.joining import Answer, Token, ask_to_join, open_answer
from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Join, Joined, Refused, Role
from fabric.transport.dialler import Up
from fabric.transport.diallers import Diallers, Peer
from fabric.transport.keys import CurveKeys, random_keys
from fabric.transport.sockets import LinkNumbers

_AGAIN_S = 1.0
_POLL_MS = 100
_BACKOFF_MS_MAX = 2_000
# Two keys as hex, and their names.
_KEPT_BYTES_MAX = 1_024

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Newcomer:
    """Keys that nobody else has seen."""

    curve_secret: bytes = field(repr=False)
    sign_seed: bytes = field(repr=False)

    @classmethod
    def of(cls, pending: Path) -> Newcomer:
        """New ones, kept until the answer is: who asks again with the same is answered the same."""
        make_private(pending.parent)
        if pending.exists():
            try:
                # Private: otherwise another user could have put keys there whose secrets that user has, too.
                kept = parse_json(read_private(pending, _KEPT_BYTES_MAX))
                return cls(bytes.fromhex(kept["curve"]), bytes.fromhex(kept["sign"]))
            except (ValueError, KeyError, TypeError) as error:
                raise FabricError(Code.BAD_IDENTITY, f"{pending} is damaged", f"remove {pending}") from error
        made = cls(os.urandom(KEY_BYTES), os.urandom(KEY_BYTES))
        write_private(
            pending, json.dumps({"curve": made.curve_secret.hex(), "sign": made.sign_seed.hex()}).encode()
        )
        return made


def join(
    token: Token, wanted_id: str, timeout_s: float, *, home: Path | None = None, progress: Progress = lambda words: None
) -> Identity:
    """Ask for a credential and keep it. The identity's folder is new: an id that is there already is refused."""
    if wanted_id:
        _check_free(token.fabric, wanted_id, home)
    pending = fabric_folder(token.fabric, home) / f"joining-{token.id.hex()}.json"
    newcomer = Newcomer.of(pending)
    keys = random_keys(newcomer.curve_secret)
    request = ask_to_join(token, keys.public, Signer(newcomer.sign_seed), wanted_id, os.urandom(ID_BYTES))
    # The keys stay whatever comes of it: who asks again with them uses up nothing, and a relay that lies about a
    # refusal has burnt no token.
    raw = _Asking(token, request, progress).until(time.monotonic() + timeout_s, keys)
    opened = open_answer(raw, request, token.authority_key, token.fabric, token.issuer)
    if isinstance(opened, Reject):
        raise FabricError(opened.code, opened.detail)
    identity = _keep(token, newcomer, opened, home)
    pending.unlink(missing_ok=True)
    return identity


def _check_free(fabric: str, id_: str, home: Path | None) -> Path:
    folder = ids_folder(fabric, home) / id_
    if folder.exists():
        raise FabricError(Code.USAGE, f"{id_} is on this machine already", f"remove {folder}, or name another --id")
    return folder


def _keep(token: Token, newcomer: Newcomer, answer: Answer, home: Path | None) -> Identity:
    credential = answer.credential
    folder = _check_free(token.fabric, credential.id, home)
    save_identity(
        folder, credential.raw, fabric=token.fabric, id_=credential.id, authority_key=token.authority_key,
        secrets=(newcomer.curve_secret, newcomer.sign_seed),
        relay=Dial(token.relay, token.address, token.relay_key),
        defaults=Defaults(answer.label, dict(answer.ttl_ms)), extra={"kind": "point", "joined": token.issuer},
    )
    return load_identity(folder)


class _Asking:
    """One question, said again every second until it is answered: frames may be lost, relays may start again."""

    def __init__(self, token: Token, request: bytes, progress: Progress) -> None:
        self._token = token
        self._frame = Join(os.urandom(ID_BYTES), token.issuer, b"", request)
        self._progress = progress
        self._link: int | None = None
        self._said_at = 0.0
        self._told: Code | None = None  # why it waits, said once
        self._problem = FabricError(Code.UNREACHABLE, f"{token.relay} at {token.address}")

    def until(self, deadline: float, keys: CurveKeys) -> bytes:
        token, context = self._token, zmq.Context()
        diallers = Diallers(
            context, [Peer(token.relay, token.address, token.relay_key, Role.POINT)], keys, FRAME_BYTES_MAX,
            LinkNumbers(), random.random, _BACKOFF_MS_MAX,
        )
        poller = zmq.Poller()
        try:
            diallers.want([token.relay])
            while time.monotonic() < deadline:
                self._look(diallers)
                diallers.register(poller)
                poller.poll(_POLL_MS)
                for _, payload in diallers.receive():
                    answer = self._hear(payload)
                    if answer is not None:
                        return answer
        finally:
            diallers.close()
            context.destroy(linger=0)
        raise self._problem

    def _look(self, diallers: Diallers) -> None:
        for _, event in diallers.service(time.monotonic_ns() // 1_000_000):
            if isinstance(event, Up):
                self._link, self._said_at, self._told = event.link, 0.0, None
                self._progress(f"connected to {self._token.relay} at {self._token.address}")
                self._problem = FabricError(Code.TIMED_OUT, f"{self._token.issuer} did not answer")
            else:
                self._link = None
                if event.code is not Code.CLOSED:
                    self._problem = FabricError(event.code, event.words)
                    if self._told is not event.code:
                        self._told = event.code
                        self._progress(f"waiting: {self._problem}")
        if self._link is not None and time.monotonic() - self._said_at >= _AGAIN_S:
            self._said_at = time.monotonic()
            diallers.send(self._link, encode_frame(self._frame))

    def _hear(self, payload: bytes) -> bytes | None:
        frame = decode_frame(payload)
        match frame:
            case Joined(id_, None, _, answer) if id_ == self._frame.id:
                return answer
            case Joined(id_, Code.BUSY, detail, _) if id_ == self._frame.id:
                self._problem = FabricError(Code.TIMED_OUT, detail or "the fabric is busy")
            case Joined(id_, code, detail, _) if id_ == self._frame.id and code is not None:
                raise FabricError(code, detail)
            case Refused(code, detail, _):
                self._problem = FabricError(code, detail)
        return None
