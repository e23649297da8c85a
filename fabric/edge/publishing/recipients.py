"""To whom RED is sealed: recipients' keys, asked of the relays above, and the records that wait for them.

A recipient is named by its id, or by a selector: `role=lead` of what is published, and what an action is aimed at.

Guarantees: nothing is sealed to who is not named, valid and not revoked at that moment, or may not have it by its
credential; a relay that answers can leave somebody out, and add nobody whom the selector does not select. A record
waits for keys no longer than a question does, and ends with who is not known; no more than `WAITING_MAX` records and
`ASKED_MAX` questions wait. Whom a selector selects is asked anew after `_SELECTED_MS`: who joined since is noticed. So
is a credential that is over: it may have been renewed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from fabric.edge.publishing.composer import Draft, audience_of
from fabric.protocol.access.permissions import check_execute, selects
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import AUDIENCE_NAMES_MAX, ID_BYTES
from fabric.protocol.core.ready import Answered, Ask, Ready
from fabric.protocol.enrolment.recipients import MEMBERS_NAMED_MAX, NO_ISSUER_NAME, Wanted, decode_found, encode_wanted
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.sealed_parts import Recipient, recipient
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Clocks, Credential, name_ok
from fabric.protocol.vocabulary.tlp import Audience, Label, may_hold

WAITING_MAX: Final = 4_096
ASKED_MAX: Final = 64
_SELECTED_MS: Final = 60_000
_SELECTORS_MAX: Final = 256


class _Waiting(NamedTuple):
    """A record that waits for keys. `go`, `fail`: of one that is not published when they are there."""

    draft: Draft
    go: Callable[[int, Ready], None] | None = None
    fail: Callable[[FabricError], None] | None = None


class _Selector(NamedTuple):
    """Whom it selects, of those who may execute the topic where there is one."""

    to: str
    topic: str


class Recipients:
    """Belongs to the connection's thread."""

    def __init__(self, core: Point, entropy: Callable[[int], bytes]) -> None:
        self._core = core
        self._entropy = entropy
        self._selected: OrderedDict[_Selector, tuple[tuple[str, ...], int]] = OrderedDict()  # whom, and until when
        self._asked: dict[bytes, Wanted] = {}
        self._waiting: list[_Waiting] = []
        self._has_news = False  # of those that wait, since they were looked at: there may be thousands, and many turns
        self._missing: dict[str | _Selector, None] = {}  # what is to be asked for, at the end of this turn
        self._now_ms = 0
        self._problems: dict[str | _Selector, FabricError] = {}  # of whom nothing could be found out, for this turn

    def __len__(self) -> int:
        """How many records wait."""
        return len(self._waiting)

    def sort(
        self, drafts: Sequence[Draft], now_ms: int, ready: Ready
    ) -> tuple[Sequence[Draft], list[tuple[Draft, FabricError]]]:
        """Of these, and of those that wait for an answer that came: what can be sealed now, and what never can. For the
        rest it asks."""
        self._now_ms = now_ms
        if not self._has_news and not any(draft.stamp.audience and _recipients_of(draft) for draft in drafts):
            return drafts, []  # as nearly always
        waiting: list[_Waiting] = []
        if self._has_news:
            waiting, self._waiting, self._has_news = self._waiting, [], False
        fit: list[Draft] = []
        failed: list[tuple[Draft, FabricError]] = []
        under_way = self._under_way()
        for each in (*waiting, *map(_Waiting, drafts)):
            try:
                if self._is_there(each, under_way, ready):
                    fit.append(each.draft)
            except FabricError as error:
                if each.fail is None:
                    failed.append((each.draft, error))
                else:
                    each.fail(error)
        self._problems.clear()
        self._ask(ready)
        return fit, failed

    def when_known(
        self, draft: Draft, go: Callable[[int, Ready], None], fail: Callable[[FabricError], None], now_ms: int,
        ready: Ready,
    ) -> None:
        """`go`, when all its recipients are known: at once, where they are. Else `fail`, with what is wrong."""
        self._now_ms = now_ms
        try:
            self._is_there(_Waiting(draft, go, fail), self._under_way(), ready)
        except FabricError as error:
            fail(error)
        self._ask(ready)

    @property
    def room(self) -> int:
        """How many more may wait."""
        return WAITING_MAX - len(self._waiting)

    def waiting(self) -> Iterator[Draft]:
        """They wait for keys."""
        return (each.draft for each in self._waiting)

    def _is_there(self, each: _Waiting, under_way: Container[str | _Selector], ready: Ready) -> bool:
        """Whether it is to be published now. What is not yet known waits. Raises what is wrong."""
        if not self._is_fit(each.draft, under_way):
            if len(self._waiting) >= WAITING_MAX:
                raise FabricError(Code.BUSY, f"{WAITING_MAX} records wait for recipients' keys")
            self._waiting.append(each)
            return False
        if each.go is None:
            return True
        each.go(self._now_ms, ready)
        return False

    def _is_fit(self, draft: Draft, under_way: Container[str | _Selector]) -> bool:
        """Whether all its recipients are known; whom a selector selects is named one by one from then on."""
        names = _recipients_of(draft)
        for name in names:
            if name in self._core.trust.revocations.ids:
                raise FabricError(Code.RECIPIENT_REVOKED, name)
        topic = draft.stamp.topic if draft.stamp.kind is Kind.ACTION else ""
        # What an action is aimed at is a selector, `all` too, which could be somebody's name.
        wanted = [
            name if name_ok(name) and not (topic and name == draft.stamp.to) else _Selector(name, topic)
            for name in names
        ]
        missing = [each for each in wanted if not self._knows(each)]
        # Of those of a selector the credentials may have had no place in the answer.
        unknown = [id_ for each in missing for id_ in self._members(each) if not self._knows(id_)] or missing
        for each in (*missing, *unknown):
            if each in self._problems:
                raise self._problems[each]
        if missing:
            self._want([name for name in unknown if name not in under_way])
            return False
        if any(isinstance(each, _Selector) for each in wanted):
            ids = dict.fromkeys(id_ for each in wanted for id_ in self._checked(each))
            if len(ids) >= AUDIENCE_NAMES_MAX:
                raise FabricError(
                    Code.BAD_AUDIENCE, f"{len(ids)} recipients, and at most {AUDIENCE_NAMES_MAX - 1} can be named",
                    "ask some of them at a time, by a narrower selector: 'role=firewall and segment=ot-1'" if topic else
                    f"name those who are to read it by their ids, {AUDIENCE_NAMES_MAX - 1} at a time",
                )
            assert draft.stamp.audience is not None
            draft.stamp = draft.stamp._replace(audience=replace(draft.stamp.audience, recipients=tuple(ids)))
        self._check_may_have(audience_of(draft.stamp, self._core.me))
        return True

    def _checked(self, name: str | _Selector) -> tuple[str, ...]:
        """The ids. A relay says whom a selector selects, and their credentials whether that is so."""
        if not isinstance(name, _Selector):
            return (name,)
        for id_ in (ids := self._members(name)):
            node = self._credential(id_)
            if not selects(name.to, node.attributes()) or (name.topic and check_execute(node, name.topic)):
                del self._selected[name]
                raise FabricError(
                    Code.RECIPIENT_UNKNOWN, f"{id_} is not selected by {name.to}, and a relay says so",
                    "name the recipients by their ids, and look who runs the relays above",
                )
        return ids

    def _check_may_have(self, audience: Audience) -> None:
        for id_ in audience.recipients:
            known = self._credential(id_)
            if not may_hold(known, Label.RED, audience) and id_ != self._core.me.id:
                raise not_fit(known)

    def _knows(self, name: str | _Selector) -> bool:
        if not isinstance(name, _Selector):
            known = self._core.trust.credentials.newest(name)
            return known is not None and self._core.trust.check(known, self._clocks()) is None
        ids, until_ms = self._selected.get(name, ((), 0))
        return self._now_ms < until_ms and all(map(self._knows, ids))

    def _members(self, name: str | _Selector) -> tuple[str, ...]:
        return self._selected[name][0] if isinstance(name, _Selector) and name in self._selected else ()

    def keys_of(self, ids: Sequence[str]) -> list[Recipient]:
        """Of these, with their keys. Raises as `sort` tells of it."""
        return [self._key(id_) for id_ in ids]

    def _key(self, id_: str) -> Recipient:
        key = recipient(self._credential(id_))
        if isinstance(key, Reject):
            raise FabricError(Code.RECIPIENT_UNKNOWN, f"{id_} has no key that something can be sealed to")
        return key

    def _credential(self, id_: str) -> Credential:
        """Raises RECIPIENT_UNKNOWN, RECIPIENT_REVOKED, or what else stands against it."""
        known = self._core.trust.credentials.newest(id_)
        if known is None:
            raise FabricError(Code.RECIPIENT_UNKNOWN, id_)
        problem = self._core.trust.check(known, self._clocks())
        if problem is not None:
            raise FabricError(Code.RECIPIENT_REVOKED if problem.code is Code.REVOKED else problem.code, id_)
        return known

    def _clocks(self) -> Clocks:
        return self._core.time.clocks(self._now_ms)

    # -- questions ------------------------------------------------------------------------------------------

    def _under_way(self) -> frozenset[str | _Selector]:
        """What was asked for."""
        return frozenset(name for wanted in self._asked.values() for name in _names_of(wanted))

    def _want(self, names: Sequence[str | _Selector]) -> None:
        """They are asked for at the end of this turn. Raises BUSY, and none of them is, where too many are."""
        new = [name for name in names if name not in self._missing]
        if not new:
            return
        missing = {**self._missing, **dict.fromkeys(new)}
        if len(self._asked) + len(_questions(missing)) > ASKED_MAX:
            raise FabricError(Code.BUSY, f"{ASKED_MAX} questions about recipients wait for an answer")
        self._missing = missing

    def _ask(self, ready: Ready) -> None:
        missing, self._missing = self._missing, {}
        for each in _questions(missing):
            question = Ask(self._entropy(ID_BYTES), NO_ISSUER_NAME, encode_wanted(each))
            self._asked[question.id] = each
            ready.merge(self._core.step(question, self._now_ms))

    def answered(self, answered: Answered, now_ms: int) -> bool:
        """Whether it was one of these questions. The next `sort` has what follows from it."""
        wanted = self._asked.pop(answered.id, None)
        if wanted is None:
            return False
        self._has_news, self._now_ms = True, now_ms
        found = decode_found(answered.answer) if answered.refused is None else answered.refused
        if isinstance(found, Reject):
            self._problems.update(dict.fromkeys(_names_of(wanted), _why_not(found, wanted)))
            return True
        for raw in found.credentials:
            self._core.trust.introduce(raw)  # what is none is none: its id stays unknown
        left_out = {*wanted.ids} - {*found.unknown}
        if not any(map(self._knows, left_out)):  # else the others had no place in it, and are asked for again
            self._problems.update({
                id_: FabricError(Code.RECIPIENT_UNKNOWN, f"{id_}: the relays above answer without its credential")
                for id_ in left_out
            })
        self._problems.update(self._over(left_out))
        for id_ in found.unknown:
            self._problems[id_] = FabricError(Code.RECIPIENT_UNKNOWN, id_)
        selector = _Selector(wanted.to, wanted.topic)
        if wanted.to and not found.members:
            self._problems[selector] = FabricError(
                Code.RECIPIENT_UNKNOWN, f"{wanted.to} selects nobody who is known"
            )
        elif wanted.to:
            if len(self._selected) >= _SELECTORS_MAX:
                self._selected.popitem(last=False)
            self._selected[selector] = found.members, now_ms + _SELECTED_MS
        return True

    def _over(self, ids: Iterable[str]) -> dict[str, FabricError]:
        """Of those whose credential came: what stands against it."""
        problems: dict[str, FabricError] = {}
        for id_ in ids:
            try:
                self._credential(id_)
            except FabricError as error:
                if error.code is not Code.RECIPIENT_UNKNOWN:
                    problems[id_] = error
        return problems

    def end(self, error: FabricError) -> list[Draft]:
        """What still waits to be published, of which somebody else has to be told."""
        waiting, self._waiting = self._waiting, []
        self._asked.clear()
        for each in waiting:
            if each.fail is not None:
                each.fail(error)
        return [each.draft for each in waiting if each.fail is None]


def _recipients_of(draft: Draft) -> tuple[str, ...]:
    audience = draft.stamp.audience
    return () if audience is None else audience.recipients


def _questions(names: Iterable[str | _Selector]) -> list[Wanted]:
    """That ask for all of these: ids together, as many as one question may name, and each selector alone."""
    ids = tuple(name for name in names if not isinstance(name, _Selector))
    return [
        *(Wanted(ids[at : at + MEMBERS_NAMED_MAX]) for at in range(0, len(ids), MEMBERS_NAMED_MAX)),
        *(Wanted((), *name) for name in names if isinstance(name, _Selector)),
    ]


def _names_of(wanted: Wanted) -> tuple[str | _Selector, ...]:
    return (*wanted.ids, *((_Selector(wanted.to, wanted.topic),) if wanted.to else ()))


def _why_not(refused: Reject, wanted: Wanted) -> FabricError:
    names = ", ".join(filter(None, (*wanted.ids, wanted.to)))
    if refused.code is Code.NO_ISSUER:  # nobody answered in time, or a relay of an older version did
        return FabricError(
            Code.RECIPIENT_UNKNOWN, f"{names}: no relay says who that is",
            "look whether the relays above are up and of this version: `fabric status`",
        )
    return FabricError(Code.RECIPIENT_UNKNOWN, f"{names}: {refused}")


def not_fit(named: Credential) -> FabricError:
    """BAD_AUDIENCE: why somebody who is named may not have what is red, and what would let it."""
    if named.clearance < Label.RED:
        return FabricError(
            Code.BAD_AUDIENCE, f"{named.id} is cleared for {named.clearance.short}, and may not have what is red",
            "leave it out, or have it cleared for red: `clearance` in the topology",
        )
    return FabricError(
        Code.BAD_AUDIENCE,
        f"{named.id} may not have what is red, as its organisation {named.organisation} is not named",
        f"name its organisation too: --to-org {named.organisation}, which has to be in the publish grant",
    )
