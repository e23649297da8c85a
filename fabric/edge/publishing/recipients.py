"""To whom RED is sealed: recipients' keys, asked of the relays above.

A recipient is named by its id, or by a selector: `role=lead` of what is published, and what an action is aimed at.

Guarantees: nobody is found who is not named, valid and not revoked at that moment; a relay that answers can leave
somebody out, and add nobody whom the selector does not select. No more than `ASKED_MAX` questions wait for an answer.
Whom a selector selects is asked anew after `_SELECTED_MS`: who joined since is noticed. So is a credential that is
over: it may have been renewed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from fabric.protocol.access.permissions import check_execute, selects
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.core.ready import Answered, Ask, Ready
from fabric.protocol.enrolment.recipients import MEMBERS_NAMED_MAX, NO_ISSUER_NAME, Wanted, decode_found, encode_wanted
from fabric.protocol.envelope.sealed_parts import Recipient, recipient
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Clocks, Credential
from fabric.protocol.vocabulary.tlp import Audience, Label, may_hold

ASKED_MAX: Final = 64
_SELECTED_MS: Final = 60_000
_SELECTORS_MAX: Final = 256


class Selector(NamedTuple):
    """Whom it selects, of those who may execute the topic where there is one."""

    to: str
    topic: str


class Recipients:
    """Belongs to the connection's thread."""

    def __init__(self, core: Point, entropy: Callable[[int], bytes]) -> None:
        self._core = core
        self._entropy = entropy
        self._selected: OrderedDict[Selector, tuple[tuple[str, ...], int]] = OrderedDict()  # whom, and until when
        self._asked: dict[bytes, Wanted] = {}
        self._under_way: set[str | Selector] = set()  # what these ask for
        self._missing: dict[str | Selector, None] = {}  # what is to be asked for, at the end of this turn
        self._now_ms = 0
        self._problems: dict[str | Selector, FabricError] = {}  # of whom nothing could be found out, for this turn

    def find(self, names: Sequence[str | Selector], now_ms: int) -> tuple[str, ...] | None:
        """Their ids, where all are known. Else None, and `ask` asks for them; or it raises what is wrong."""
        self._now_ms = now_ms
        for each in names:
            name = each.to if isinstance(each, Selector) else each
            if name in self._core.trust.revocations.ids:
                raise FabricError(Code.RECIPIENT_REVOKED, name)
        missing = [each for each in names if not self._knows(each)]
        # Of those of a selector the credentials may have had no place in the answer.
        unknown = [id_ for each in missing for id_ in self._members(each) if not self._knows(id_)] or missing
        for each in (*missing, *unknown):
            if each in self._problems:
                raise self._problems[each]
        if missing:
            self._want(unknown)
            return None
        return tuple(dict.fromkeys(id_ for each in names for id_ in self._checked(each)))

    def _checked(self, name: str | Selector) -> tuple[str, ...]:
        """The ids. A relay says whom a selector selects, and their credentials whether that is so."""
        if not isinstance(name, Selector):
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

    def check_may_have(self, audience: Audience) -> None:
        """Raises why one of its recipients may not have what is RED. They are known."""
        for id_ in audience.recipients:
            known = self._credential(id_)
            if not may_hold(known, Label.RED, audience) and id_ != self._core.me.id:
                raise not_fit(known)

    def _knows(self, name: str | Selector) -> bool:
        if not isinstance(name, Selector):
            known = self._core.trust.credentials.newest(name)
            return known is not None and self._core.trust.check(known, self._clocks()) is None
        ids, until_ms = self._selected.get(name, ((), 0))
        return self._now_ms < until_ms and all(map(self._knows, ids))

    def _members(self, name: str | Selector) -> tuple[str, ...]:
        return self._selected[name][0] if isinstance(name, Selector) and name in self._selected else ()

    def keys_of(self, ids: Sequence[str]) -> list[Recipient]:
        """Of these, with their keys. Raises as `find` does."""
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

    def _want(self, names: Sequence[str | Selector]) -> None:
        """They are asked for at the end of this turn. Raises BUSY, and none of them is, where too many are."""
        new = [name for name in names if name not in self._under_way and name not in self._missing]
        if not new:
            return
        missing = {**self._missing, **dict.fromkeys(new)}
        if len(self._asked) + len(_questions(missing)) > ASKED_MAX:
            raise FabricError(Code.BUSY, f"{ASKED_MAX} questions about recipients wait for an answer")
        self._missing = missing

    def ask(self, now_ms: int, ready: Ready) -> None:
        """For whom nothing is known yet, in as few questions as it takes."""
        missing, self._missing = self._missing, {}
        for each in _questions(missing):
            question = Ask(self._entropy(ID_BYTES), NO_ISSUER_NAME, encode_wanted(each))
            self._asked[question.id] = each
            self._under_way.update(_names_of(each))
            ready.merge(self._core.step(question, now_ms))

    def answered(self, answered: Answered, now_ms: int) -> bool:
        """Whether it was one of these questions. What was found out is what `find` says from then on, and what could
        not be, until it is forgotten."""
        wanted = self._asked.pop(answered.id, None)
        if wanted is None:
            return False
        self._now_ms = now_ms
        self._under_way.difference_update(_names_of(wanted))
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
        selector = Selector(wanted.to, wanted.topic)
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

    def forget_problems(self) -> None:
        """All that asked for them were told."""
        self._problems.clear()

    def end(self) -> None:
        """No answer is waited for."""
        self._asked.clear()
        self._under_way.clear()


def _questions(names: Iterable[str | Selector]) -> list[Wanted]:
    """That ask for all of these: ids together, as many as one question may name, and each selector alone."""
    ids = tuple(name for name in names if not isinstance(name, Selector))
    return [
        *(Wanted(ids[at : at + MEMBERS_NAMED_MAX]) for at in range(0, len(ids), MEMBERS_NAMED_MAX)),
        *(Wanted((), *name) for name in names if isinstance(name, Selector)),
    ]


def _names_of(wanted: Wanted) -> tuple[str | Selector, ...]:
    return (*wanted.ids, *((Selector(wanted.to, wanted.topic),) if wanted.to else ()))


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
