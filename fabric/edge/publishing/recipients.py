"""To whom RED is sealed: recipients' keys, asked of the relays above, and the records that wait for them.

Guarantees: nothing is sealed to who is not named, valid and not revoked at that moment, or may not have it by its
credential; a relay that answers can leave somebody out, and add nobody who has not the role that was asked for. A
record waits for keys no longer than a question does, and ends with who is not known; no more than `WAITING_MAX` records
and `ASKED_MAX` questions wait. Who has a role is asked anew after `_ROLE_MS`: a member that joined since is noticed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from fabric.edge.publishing.composer import Draft, audience_of
from fabric.edge.publishing.options import ROLE
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import AUDIENCE_NAMES_MAX, ID_BYTES
from fabric.protocol.core.ready import Answered, Ask, Ready
from fabric.protocol.enrolment.recipients import NO_ISSUER_NAME, Wanted, decode_found, encode_wanted
from fabric.protocol.envelope.sealed_parts import Recipient, recipient
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import Clocks, Credential
from fabric.protocol.vocabulary.tlp import Audience, Label, may_hold

WAITING_MAX: Final = 4_096
ASKED_MAX: Final = 64
_ROLE_MS: Final = 60_000
_ROLES_MAX: Final = 256


class Recipients:
    """Belongs to the connection's thread."""

    def __init__(self, core: Point, entropy: Callable[[int], bytes]) -> None:
        self._core = core
        self._entropy = entropy
        self._roles: OrderedDict[str, tuple[tuple[str, ...], int]] = OrderedDict()  # who has it, and until when
        self._asked: dict[bytes, Wanted] = {}
        self._waiting: list[Draft] = []
        self._has_news = False  # of those that wait, since they were looked at: there may be thousands, and many turns
        self._clocks_ms: Clocks = ()
        self._problems: dict[str, FabricError] = {}  # of names of which nothing could be found out, for this turn

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
        self._clocks_ms = self._core.time.clocks(now_ms)
        waiting: list[Draft] = []
        if self._has_news:
            waiting, self._waiting, self._has_news = self._waiting, [], False
        fit: list[Draft] = []
        failed: list[tuple[Draft, FabricError]] = []
        for draft in (*waiting, *drafts):
            try:
                if self._is_fit(draft, now_ms, ready):
                    fit.append(draft)
                elif len(self._waiting) < WAITING_MAX:
                    self._waiting.append(draft)
                else:
                    failed.append((draft, FabricError(Code.BUSY, f"{WAITING_MAX} records wait for recipients' keys")))
            except FabricError as error:
                failed.append((draft, error))
        self._problems.clear()
        return fit, failed

    def _is_fit(self, draft: Draft, now_ms: int, ready: Ready) -> bool:
        """Whether all its recipients are known; those that are named by a role are named one by one from then on."""
        names = _recipients_of(draft)
        for name in names:
            if name in self._core.trust.revocations.ids:
                raise FabricError(Code.RECIPIENT_REVOKED, name)
        missing = [name for name in names if not self._knows(name, now_ms)]
        # Of those of a role the credentials may have had no place in the answer.
        unknown = [id_ for name in missing for id_ in self._members(name) if not self._knows(id_, now_ms)] or missing
        for name in (*missing, *unknown):
            if name in self._problems:
                raise self._problems[name]
        if missing:
            self._ask(unknown, ready, now_ms)
            return False
        if any(name.startswith(ROLE) for name in names):
            ids = dict.fromkeys(id_ for name in names for id_ in self._ids_of(name))
            if len(ids) >= AUDIENCE_NAMES_MAX:
                raise FabricError(
                    Code.BAD_AUDIENCE, f"{len(ids)} recipients, and at most {AUDIENCE_NAMES_MAX - 1} can be named"
                )
            assert draft.stamp.audience is not None
            for name in names:
                self._check_role(name)
            draft.stamp = draft.stamp._replace(audience=replace(draft.stamp.audience, recipients=tuple(ids)))
            return self._is_fit(draft, now_ms, ready)
        self._check_may_have(audience_of(draft.stamp, self._core.me))
        return True

    def _check_role(self, name: str) -> None:
        """Whether all who are said to have a role have it. A relay says who they are, and their credentials whether
        that is so."""
        role = ("role", name.removeprefix(ROLE))
        for id_ in self._ids_of(name) if name.startswith(ROLE) else ():
            if role not in self._credential(id_).tags:
                del self._roles[name]
                raise FabricError(
                    Code.RECIPIENT_UNKNOWN, f"{id_} has not the role {role[1]}, and a relay says so",
                    "name the recipients by their ids, and look who runs the relays above",
                )

    def _check_may_have(self, audience: Audience) -> None:
        for id_ in audience.recipients:
            known = self._credential(id_)
            if not may_hold(known, Label.RED, audience) and id_ != self._core.me.id:
                raise FabricError(
                    Code.BAD_AUDIENCE,
                    f"{id_}, of {known.organisation} and cleared for {known.clearance.short}, may not have what is red",
                    "leave it out; where it is cleared for red, name its organisation too",
                )

    def _knows(self, name: str, now_ms: int) -> bool:
        if name.startswith(ROLE):
            return name in self._roles and now_ms < self._roles[name][1] and all(
                self._knows(id_, now_ms) for id_ in self._roles[name][0]
            )
        return self._core.trust.credentials.newest(name) is not None

    def _members(self, name: str) -> tuple[str, ...]:
        return self._roles[name][0] if name in self._roles else ()

    def _ids_of(self, name: str) -> tuple[str, ...]:
        return self._roles[name][0] if name.startswith(ROLE) else (name,)

    def keys_of(self, audience: Audience) -> list[Recipient]:
        """The recipients of an audience, with their keys. Raises as `sort` tells of it."""
        return [self._key(id_) for id_ in audience.recipients]

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
        problem = self._core.trust.check(known, self._clocks_ms)
        if problem is not None:
            raise FabricError(Code.RECIPIENT_REVOKED if problem.code is Code.REVOKED else problem.code, id_)
        return known

    # -- questions ------------------------------------------------------------------------------------------

    def _ask(self, names: Sequence[str], ready: Ready, now_ms: int) -> None:
        under_way = {name for wanted in self._asked.values() for name in _names_of(wanted)}
        roles = [name for name in names if name.startswith(ROLE)]
        ids = tuple(name for name in names if not name.startswith(ROLE) and name not in under_way)
        wanted = [Wanted(ids)] if ids else []
        wanted += [Wanted((), role.removeprefix(ROLE)) for role in roles if role not in under_way]
        for each in wanted:
            if len(self._asked) >= ASKED_MAX:
                raise FabricError(Code.BUSY, f"{ASKED_MAX} questions about recipients wait for an answer")
            question = Ask(self._entropy(ID_BYTES), NO_ISSUER_NAME, encode_wanted(each))
            self._asked[question.id] = each
            ready.merge(self._core.step(question, now_ms))

    def answered(self, answered: Answered, now_ms: int) -> bool:
        """Whether it was one of these questions. The next `sort` has what follows from it."""
        wanted = self._asked.pop(answered.id, None)
        if wanted is None:
            return False
        self._has_news = True
        found = decode_found(answered.answer) if answered.refused is None else answered.refused
        if isinstance(found, Reject):
            self._problems.update(dict.fromkeys(_names_of(wanted), _why_not(found, wanted)))
            return True
        for raw in found.credentials:
            self._core.trust.introduce(raw)  # what is none is none: its id stays unknown
        left_out = {*wanted.ids} - {*found.unknown}
        if wanted.ids and not any(self._knows(id_, now_ms) for id_ in left_out):
            self._problems.update({
                id_: FabricError(Code.RECIPIENT_UNKNOWN, f"{id_}: the relays above answer without its credential")
                for id_ in left_out
            })
        for id_ in found.unknown:
            self._problems[id_] = FabricError(Code.RECIPIENT_UNKNOWN, id_)
        if wanted.role and not found.members:
            self._problems[ROLE + wanted.role] = FabricError(
                Code.RECIPIENT_UNKNOWN, f"nobody who is known has the role {wanted.role}"
            )
        elif wanted.role:
            if len(self._roles) >= _ROLES_MAX:
                self._roles.popitem(last=False)
            self._roles[ROLE + wanted.role] = found.members, now_ms + _ROLE_MS
        return True

    def end(self) -> list[Draft]:
        """What still waits, of which somebody else has to be told."""
        waiting, self._waiting = self._waiting, []
        self._asked.clear()
        return waiting


def _recipients_of(draft: Draft) -> tuple[str, ...]:
    audience = draft.stamp.audience
    return () if audience is None else audience.recipients


def _names_of(wanted: Wanted) -> tuple[str, ...]:
    return (*wanted.ids, *((ROLE + wanted.role,) if wanted.role else ()))


def _why_not(refused: Reject, wanted: Wanted) -> FabricError:
    names = ", ".join(_names_of(wanted))
    if refused.code is Code.NO_ISSUER:  # nobody answered in time, or a relay of an older version did
        return FabricError(
            Code.RECIPIENT_UNKNOWN, f"{names}: no relay says who that is",
            "look whether the relays above are up and of this version: `fabric status`",
        )
    return FabricError(Code.RECIPIENT_UNKNOWN, f"{names}: {refused}")
