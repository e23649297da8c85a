"""A node's own questions to an issuer (SPEC 6.5), each repeated until it is answered for good or its time is over."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ASK_MS, RETRY_MS
from fabric.protocol.core.ready import Answered, Ask
from fabric.protocol.wire.frames import Join, Joined


@dataclass(slots=True)
class _Question:
    frame: Join
    until_ms: int
    sent_at_ms: int
    problem: Reject


class Questions:
    """The open questions of one node, by their ids. `due` has those to be sent again, `over` those that time ended."""

    def __init__(self) -> None:
        self._open: dict[bytes, _Question] = {}

    def __bool__(self) -> bool:
        """Whether any is open."""
        return bool(self._open)

    def add(self, ask: Ask, key: bytes, now_ms: int) -> Join:
        frame = Join(ask.id, ask.issuer, key, ask.request)
        self._open[ask.id] = _Question(frame, now_ms + ASK_MS, now_ms, Reject(Code.NO_ISSUER, ask.issuer))
        return frame

    def due(self, now_ms: int) -> list[Join]:
        frames = []
        for question in self._open.values():
            if now_ms - question.sent_at_ms >= RETRY_MS:
                question.sent_at_ms = now_ms
                frames.append(question.frame)
        return frames

    def over(self, now_ms: int) -> list[Answered]:
        ended = [id_ for id_, question in self._open.items() if now_ms >= question.until_ms]
        return [Answered(id_, self._open.pop(id_).problem, b"") for id_ in ended]

    def answered(self, frame: Joined) -> Answered | None:
        """None when it was not asked, or is to be asked again: BUSY says that somebody on the way cannot now."""
        question = self._open.get(frame.id)
        if question is None:
            return None
        if frame.code is Code.BUSY:
            question.problem = Reject(frame.code, frame.detail)
            return None
        del self._open[frame.id]
        refused = Reject(frame.code, frame.detail) if frame.code is not None else None
        return Answered(frame.id, refused, frame.answer)
