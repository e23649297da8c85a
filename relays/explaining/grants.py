"""Grants as they stand in a topology file, so that what is shown can be found there, or written there."""

from __future__ import annotations

import json

from fabric.protocol.trust.credentials import DeclassifyGrant, Grants, PublishGrant, RequestGrant
from fabric.protocol.vocabulary.severity import Severity


def publish_text(grant: PublishGrant) -> str:
    """A publish grant in TOML."""
    more = _severity(grant.severity_max)
    if grant.rate_per_s:
        more.append(f"rate = {grant.rate_per_s}")
    for name, names in (("organisations", grant.to_organisations), ("communities", grant.to_communities)):
        if names:
            more.append(f"{name} = [{', '.join(map(quoted, names))}]")
    return _table(f"topic = {quoted(grant.pattern)}", *more) if more else quoted(grant.pattern)


def request_text(grant: RequestGrant) -> str:
    """A request grant in TOML."""
    scope = [f"scope = {quoted(grant.scope)}"] if grant.scope else []
    return _table(
        f"action = {quoted(grant.action)}", f"to = {quoted(grant.to)}", *_severity(grant.severity_max), *scope
    )


def declassify_text(grant: DeclassifyGrant) -> str:
    """A declassify grant in TOML."""
    return _table(
        f"topic = {quoted(grant.pattern)}", f"from = {quoted(grant.from_.short)}", f"to = {quoted(grant.to.short)}"
    )


def grants_text(kind: str, grants: Grants) -> list[str]:
    """All of one kind: "publish", "subscribe", "request", "execute" or "declassify"."""
    match kind:
        case "publish":
            return [publish_text(grant) for grant in grants.publish]
        case "subscribe":
            return [quoted(pattern) for pattern in grants.subscribe]
        case "request":
            return [request_text(grant) for grant in grants.request]
        case "declassify":
            return [declassify_text(grant) for grant in grants.declassify]
        case _:
            return [quoted(pattern) for pattern in grants.execute]


def quoted(text: str) -> str:
    """A TOML string: JSON's escapes are among its own."""
    return json.dumps(text)


def _severity(severity_max: Severity) -> list[str]:
    return [f"severity_max = {quoted(severity_max.name.lower())}"] if severity_max < Severity.FATAL else []


def _table(*pairs: str) -> str:
    return f"{{ {', '.join(pairs)} }}"
