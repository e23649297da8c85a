"""An issuer's process: a control point of its relay that is asked, and answers.

Guarantees: nothing that is asked ends it; what it granted is in the register before the answer leaves, and in its log.
"""

from __future__ import annotations

import os
import threading

import structlog

from fabric.edge.identity.identity import Identity
from fabric.edge.logging.faults import raised_at
from fabric.edge.loop import EdgeLoop
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Answer, Asked
from relays.issuing.issuer import Issuer
from relays.issuing.register import Register, register_path

_CONNECT_S = 15.0


def serve(identity: Identity, stop: threading.Event) -> None:
    """Until `stop`. A relay that is away is waited for; raises FabricError where waiting cannot help."""
    log = structlog.get_logger().bind(issuer=identity.id)
    with Register(register_path(identity.folder)) as register:
        issuer = Issuer(identity, register, os.urandom)
        assert issuer.roles, "it was made with one"
        loop, problems = EdgeLoop(identity), list[FabricError]()

        def asked(question: Asked, now_ms: int) -> Answer:
            issuer.credential, issuer.revocations = loop.core.me, loop.core.trust.revocations
            if loop.core.time.suspect:
                # What it issues lasts longer than whoever told it a wrong time.
                log.warning("refused", code=Code.CLOCK_SUSPECT.label, next=Code.CLOCK_SUSPECT.next_step)
                return Answer(question.id, Reject(Code.CLOCK_SUSPECT, identity.credential.id), b"")
            try:
                answer = issuer.answer(question.request, question.key, now_ms)
            except Exception as error:  # noqa: BLE001 - a fault of ours is not to end the issuer for everybody
                log.error("not answered", error=type(error).__name__, at=raised_at(error))
                answer = Reject(Code.BUSY, "the issuer has a fault")
            if isinstance(answer, Reject):
                log.warning("refused", code=answer.code.label, why=answer.detail)
                return Answer(question.id, answer, b"")
            log.info("granted", members=len(register.members()))
            return Answer(question.id, None, answer)

        def ended(error: FabricError) -> None:
            problems.append(error)
            stop.set()

        loop.on_asked = asked
        loop.ending.call(ended)
        loop.start()
        try:
            _wait_connected(loop)
            log.info("issuer started", relay=identity.dials[0].id, roles=sorted(issuer.roles))
            stop.wait()
        finally:
            loop.stop()
        if problems and problems[0].code is not Code.CLOSED:
            raise problems[0]
        log.info("issuer stopped")


def _wait_connected(loop: EdgeLoop) -> None:
    try:
        loop.wait_connected(_CONNECT_S)
    except FabricError as error:
        # It goes on trying; only a refusal says that somebody has to act.
        if error.code.number // 100 == 2:
            raise
        structlog.get_logger().warning("not connected yet", code=error.code.label, why=error.detail)
