"""Declassify grants of a topology, against what else their roles may and see: those that let nobody re-issue anything.

Guarantees: only warnings. What an analyst re-issues it has to have read, and it publishes it as any other message.
"""

from __future__ import annotations

from collections.abc import Iterator

from fabric.protocol.base.errors import Code
from relays.topology.matching import patterns_overlap
from relays.topology.model import DeclassifyGrant, RoleSpec, Topology
from relays.topology.problems import Problem, listed, warning
from relays.wording import shown


def judge_declassifying(topology: Topology) -> Iterator[Problem]:
    """A warning for each grant that comes to nothing, or to less than it says."""
    for role in topology.roles.values():
        for index, grant in enumerate(role.declassify):
            key = f"roles.{role.name}.declassify.{index}"
            yield from _useless(role, grant, key)
            low = [
                point.id for point in topology.points.values()
                if point.role == role.name and point.clearance < grant.from_
            ]
            if low:
                yield warning(
                    key, f"{listed(low)} may see less than {grant.from_.short}, and lowers no more than it sees",
                    "raise its clearance, or write a lower `from`", Code.CLEARANCE_DENIED,
                )


def _useless(role: RoleSpec, grant: DeclassifyGrant, key: str) -> Iterator[Problem]:
    topic = shown(grant.pattern)
    if not any(patterns_overlap(grant.pattern, publish.pattern) for publish in role.publish):
        yield warning(
            key, f"the role publishes nothing on {topic}, so it re-issues nothing there",
            f"add {topic} to its publish grants", Code.PUBLISH_DENIED,
        )
    if not any(patterns_overlap(grant.pattern, pattern) for pattern in role.subscribe):
        yield warning(
            key, f"the role reads nothing on {topic}, so it has nothing to re-issue there",
            f"add {topic} to its subscribe grants", Code.SUBSCRIBE_DENIED,
        )
