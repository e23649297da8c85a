"""Records that wait for the keys of those to whom they are sealed.

Guarantees: what goes on has all its recipients named one by one, known, and allowed to have what is RED. A record waits
for keys no longer than a question does, and ends with who is not known; no more than `WAITING_MAX` wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from fabric.edge.publishing.drafts import Draft, audience_of
from fabric.edge.publishing.recipients import Recipients, Selector
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import AUDIENCE_NAMES_MAX
from fabric.protocol.core.ready import Answered, Ready
from fabric.protocol.envelope.header import Kind
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import name_ok

WAITING_MAX: Final = 4_096


class _Waiting(NamedTuple):
    """A record that waits for keys. `go`, `fail`: of one that is not published when they are there."""

    draft: Draft
    go: Callable[[int, Ready], None] | None = None
    fail: Callable[[FabricError], None] | None = None


class AwaitingKeys:
    """Belongs to the connection's thread."""

    def __init__(self, core: Point, recipients: Recipients) -> None:
        self._core = core
        self._recipients = recipients
        self._waiting: list[_Waiting] = []
        self._has_news = False  # of those that wait, since they were looked at: there may be thousands, and many turns

    def __len__(self) -> int:
        """How many records wait."""
        return len(self._waiting)

    def sort(
        self, drafts: Sequence[Draft], now_ms: int, ready: Ready
    ) -> tuple[Sequence[Draft], list[tuple[Draft, FabricError]]]:
        """Of these, and of those that wait for an answer that came: what can be sealed now, and what never can. For the
        rest it asks."""
        if not self._has_news and not any(draft.stamp.audience and _recipients_of(draft) for draft in drafts):
            return drafts, []  # as nearly always
        waiting: list[_Waiting] = []
        if self._has_news:
            waiting, self._waiting, self._has_news = self._waiting, [], False
        fit: list[Draft] = []
        failed: list[tuple[Draft, FabricError]] = []
        for each in (*waiting, *map(_Waiting, drafts)):
            try:
                if self._is_there(each, now_ms, ready):
                    fit.append(each.draft)
            except FabricError as error:
                if each.fail is None:
                    failed.append((each.draft, error))
                else:
                    each.fail(error)
        self._recipients.forget_problems()
        self._recipients.ask(now_ms, ready)
        return fit, failed

    def when_known(
        self, draft: Draft, go: Callable[[int, Ready], None], fail: Callable[[FabricError], None], now_ms: int,
        ready: Ready,
    ) -> None:
        """`go`, when all its recipients are known: at once, where they are. Else `fail`, with what is wrong."""
        try:
            self._is_there(_Waiting(draft, go, fail), now_ms, ready)
        except FabricError as error:
            fail(error)
        self._recipients.ask(now_ms, ready)

    @property
    def room(self) -> int:
        """How many more may wait."""
        return WAITING_MAX - len(self._waiting)

    def waiting(self) -> Iterator[Draft]:
        """Records that wait for keys, in the order in which they came."""
        return (each.draft for each in self._waiting)

    def _is_there(self, each: _Waiting, now_ms: int, ready: Ready) -> bool:
        """Whether it is to be published now. What is not yet known waits. Raises what is wrong."""
        if not self._is_fit(each.draft, now_ms):
            if len(self._waiting) >= WAITING_MAX:
                raise FabricError(Code.BUSY, f"{WAITING_MAX} records wait for recipients' keys")
            self._waiting.append(each)
            return False
        if each.go is None:
            return True
        each.go(now_ms, ready)
        return False

    def _is_fit(self, draft: Draft, now_ms: int) -> bool:
        """Whether all its recipients are known; whom a selector selects is named one by one from then on."""
        names = _recipients_of(draft)
        topic = draft.stamp.topic if draft.stamp.kind is Kind.ACTION else ""
        # What an action is aimed at is a selector, `all` too, which could be somebody's name.
        wanted = [
            name if name_ok(name) and not (topic and name == draft.stamp.to) else Selector(name, topic)
            for name in names
        ]
        ids = self._recipients.find(wanted, now_ms)
        if ids is None:
            return False
        if any(isinstance(each, Selector) for each in wanted):
            if len(ids) >= AUDIENCE_NAMES_MAX:
                raise FabricError(
                    Code.BAD_AUDIENCE, f"{len(ids)} recipients, and at most {AUDIENCE_NAMES_MAX - 1} can be named",
                    "ask some of them at a time, by a narrower selector: 'role=firewall and segment=ot-1'" if topic else
                    f"name those who are to read it by their ids, {AUDIENCE_NAMES_MAX - 1} at a time",
                )
            assert draft.stamp.audience is not None
            draft.stamp = draft.stamp._replace(audience=replace(draft.stamp.audience, recipients=ids))
        self._recipients.check_may_have(audience_of(draft.stamp, self._core.me))
        return True

    def answered(self, answered: Answered, now_ms: int) -> bool:
        """Whether it was about recipients. The next `sort` has what follows from it."""
        if not self._recipients.answered(answered, now_ms):
            return False
        self._has_news = True
        return True

    def end(self, error: FabricError) -> list[Draft]:
        """What still waits to be published, of which somebody else has to be told."""
        waiting, self._waiting = self._waiting, []
        self._recipients.end()
        for each in waiting:
            if each.fail is not None:
                each.fail(error)
        return [each.draft for each in waiting if each.fail is None]


def _recipients_of(draft: Draft) -> tuple[str, ...]:
    audience = draft.stamp.audience
    return () if audience is None else audience.recipients
