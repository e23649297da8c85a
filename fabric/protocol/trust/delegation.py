"""What an issuer may grant (SPEC 6.2): never more than it holds, on every dimension of a credential.

Guarantees: `check_within` says None only where each thing that the member's credential says is covered by what the
issuer's `Issuing` says. Selectors are compared by their text only: it may refuse a narrower one that is written in
another way, and never accepts a wider one.
"""

from __future__ import annotations

from collections.abc import Sequence

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.trust.credentials import (
    Credential,
    DeclassifyGrant,
    Grants,
    Issuing,
    NodeKind,
    PublishGrant,
    RequestGrant,
    begins,
    names_cover,
)
from fabric.protocol.vocabulary.openc2 import action_covers
from fabric.protocol.vocabulary.selectors import narrows
from fabric.protocol.vocabulary.topics import covers


def check_within(issuer: Credential, member: Credential) -> Reject | None:
    """Names the first dimension on which the member has more than its issuer may give."""
    may = issuer.issuing
    if issuer.kind is not NodeKind.ISSUER or may is None:
        return Reject(Code.BROKEN_CHAIN, f"{issuer.id} is no issuer")
    wider = _wider(may, member)
    if not wider and not (issuer.not_before_ms <= member.not_before_ms and member.not_after_ms <= issuer.not_after_ms):
        wider = "validity"
    return Reject(Code.WIDER_THAN_ISSUER, f"{member.id} from {issuer.id}: {wider}") if wider else None


def _wider(may: Issuing, member: Credential) -> str:
    gives = member.issuing
    held = {
        "id": names_cover(may.ids, (member.id,)),
        "kind": member.kind in may.kinds,
        "segment": names_cover(may.segments, (member.segment,)),
        "organisation": names_cover(may.organisations, (member.organisation,)),
        "communities": names_cover(may.communities, member.communities),
        "client of": names_cover(may.client_of, member.client_of),
        "clearance": member.clearance <= may.clearance,
        "carries sealed": not member.carries_sealed,  # of every organisation: that is the authority's to give
        "tags": _tags_in(may.tags, member.tags),
        "principal": not member.principal or names_cover(may.principals, (member.principal,)),
        "grants": _grants_in(may.grants, member.grants),
        "issuing": gives is None or _issuing_in(may, gives),
    }
    return next((dimension for dimension, is_held in held.items() if not is_held), "")


def _issuing_in(may: Issuing, gives: Issuing) -> bool:
    return (
        names_cover(may.ids, gives.ids)
        and set(gives.kinds) <= set(may.kinds)
        and names_cover(may.segments, gives.segments)
        and names_cover(may.organisations, gives.organisations)
        and names_cover(may.communities, gives.communities)
        and names_cover(may.client_of, gives.client_of)
        and gives.clearance <= may.clearance
        and _tags_in(may.tags, gives.tags)
        and names_cover(may.principals, gives.principals)
        and _grants_in(may.grants, gives.grants)
    )


def _tags_in(held: Sequence[tuple[str, str]], tags: Sequence[tuple[str, str]]) -> bool:
    return all(any(name == tag and begins(pattern, value) for tag, pattern in held) for name, value in tags)


def _grants_in(held: Grants, grants: Grants) -> bool:
    return (
        all(any(_publish_in(mine, given) for mine in held.publish) for given in grants.publish)
        and all(any(covers(mine, given) for mine in held.subscribe) for given in grants.subscribe)
        and all(any(_request_in(mine, given) for mine in held.request) for given in grants.request)
        and all(any(action_covers(mine, given) for mine in held.execute) for given in grants.execute)
        and all(
            any(mine.class_ == given.class_ and narrows(given.to, mine.to) for mine in held.approve)
            for given in grants.approve
        )
        and held.kept.covers(grants.kept)
        and all(any(_declassify_in(mine, given) for mine in held.declassify) for given in grants.declassify)
    )


def _publish_in(held: PublishGrant, given: PublishGrant) -> bool:
    slower = held.rate_per_s == 0 or 0 < given.rate_per_s <= held.rate_per_s
    return (
        covers(held.pattern, given.pattern) and given.severity_max <= held.severity_max and slower
        and names_cover(held.to_organisations, given.to_organisations)
        and names_cover(held.to_communities, given.to_communities)
    )


def _declassify_in(held: DeclassifyGrant, given: DeclassifyGrant) -> bool:
    return covers(held.pattern, given.pattern) and given.from_ <= held.from_ and given.to >= held.to


def _request_in(held: RequestGrant, given: RequestGrant) -> bool:
    return (
        action_covers(held.action, given.action)
        and narrows(given.to, held.to)
        and given.severity_max <= held.severity_max
        and given.scope == held.scope
    )
