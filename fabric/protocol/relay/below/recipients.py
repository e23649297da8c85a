"""Who somebody is, for those who seal something to him (SPEC 6.5): the credentials that this relay knows.

Guarantees: what is found by a selector is valid and not revoked, and what is found by its id is what was learnt last of
it, here or above: whoever asked judges it by his own list. Nobody is told of a node that no grant of his lets him
address, nor of some whom a selector selects as if they were all. It keeps nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice

from fabric.protocol.access.permissions import check_execute
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import AUDIENCE_NAMES_MAX
from fabric.protocol.core.timekeeper import Timekeeper
from fabric.protocol.enrolment.recipients import MEMBERS_NAMED_MAX, Found, Wanted, encode_found
from fabric.protocol.relay.below.roster import Roster
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Credential, names_cover
from fabric.protocol.trust.store import TrustStore
from fabric.protocol.vocabulary.selectors import parse_selector


class Recipients:
    """`is_root`: whether nobody above could know of more."""

    def __init__(
        self, trust: TrustStore, time: Timekeeper, routes: RouteTable, roster: Roster, *, is_root: bool
    ) -> None:
        self._trust = trust
        self._time = time
        self._routes = routes
        self._roster = roster
        self._is_root = is_root

    def answer(self, wanted: Wanted, now_ms: int) -> bytes | None:
        """None where somebody above may know more: of ids that are not known here, and of every selector."""
        known = {id_: self._known(id_) for id_ in wanted.ids}
        unknown = [id_ for id_, credential in known.items() if credential is None]
        if not self._is_root and (unknown or wanted.to or self._is_one_over(known.values(), now_ms)):
            return None
        members = {each.id: each for each in self._selected(wanted, now_ms)} if wanted.to else {}
        found = [credential for credential in known.values() if credential is not None]
        return encode_found(members, [each.raw for each in (*found, *members.values())], unknown)

    def _known(self, id_: str) -> Credential | None:
        return self._trust.credentials.newest(id_) or self._roster.member(id_)

    def _is_one_over(self, known: Iterable[Credential | None], now_ms: int) -> bool:
        """Whether one of them does not count any more: above it may be known how it was renewed."""
        clocks_ms = self._time.clocks(now_ms)
        return any(each is not None and self._trust.check(each, clocks_ms) is not None for each in known)

    def _selected(self, wanted: Wanted, now_ms: int) -> Iterator[Credential]:
        """As many as an answer names."""
        selector, clocks_ms = parse_selector(wanted.to), self._time.clocks(now_ms)
        if isinstance(selector, Reject):
            return
        here = {each.node: each.credential for each in self._routes.all() if not each.is_relay}

        def is_meant(node: Credential) -> bool:
            return (
                selector.matches(node.attributes())
                and (not wanted.organisations or names_cover(wanted.organisations, (node.organisation,)))
                and (not wanted.topic or check_execute(node, wanted.topic) is None)
            )

        of_here = (each for each in here.values() if is_meant(each) and self._trust.check(each, clocks_ms) is None)
        yield from islice(chain(of_here, self._roster.members(now_ms, here, is_meant)), MEMBERS_NAMED_MAX)

    def of(self, asker: Credential, wanted: Wanted) -> Wanted:
        """The question of a node that is connected here, for those whom it may address."""
        may = dict.fromkeys(
            [asker.organisation, *(name for grant in asker.grants.publish for name in grant.to_organisations)]
        )
        return wanted._replace(organisations=tuple(may) if len(may) <= MEMBERS_NAMED_MAX else ())

    def only_for(self, asker: Credential, found: Found) -> bytes | Reject:
        """The same answer without those whom this node may not address. BAD_AUDIENCE where some are left of more than
        an answer names, and others whom it may address may have had no place."""
        kept: list[bytes] = []
        hidden: list[str] = []
        for raw in found.credentials:
            known = self._trust.introduce(raw)
            if isinstance(known, Reject):
                continue
            if _may_address(asker, known):
                kept.append(raw)
            else:
                hidden.append(known.id)
        if len(found.members) > AUDIENCE_NAMES_MAX and hidden:
            return Reject(Code.BAD_AUDIENCE, "too many are selected")
        members = [id_ for id_ in found.members if id_ not in hidden]
        return encode_found(members, kept, (*found.unknown, *(id_ for id_ in hidden if id_ not in found.members)))


def _may_address(asker: Credential, other: Credential) -> bool:
    return other.organisation == asker.organisation or any(
        names_cover(grant.to_organisations, (other.organisation,)) for grant in asker.grants.publish
    )
