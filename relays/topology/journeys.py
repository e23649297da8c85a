"""What one control point can say to another by their grants (intel, actions, results, approvals), and where it turns.

Events are not here: they climb past every relay to the root, and whoever reads on their way gets them. What relays say
themselves (reports, notices, resolutions) is not either: it goes to whoever the message came from, or up, under the
same label, and has nothing in it but names and how something ended.

Guarantees: whatever `permissions` allows is here, for every severity and action that a grant covers; also what ends or
fetches from an earlier action, which needs no execute grant. Whether an approver agrees is not asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from fabric.protocol.access.permissions import CANCEL
from fabric.protocol.vocabulary.fetching import FETCH
from fabric.protocol.vocabulary.openc2 import action_covers, action_matches, split_topic
from fabric.protocol.vocabulary.tlp import Audience
from relays.topology.holding import own, widest
from relays.topology.matching import able, by_organisation, is_about, publishes_to, selected
from relays.topology.model import ApprovalSpec, PointSpec, RequestGrant, RoleSpec, Topology

Points = tuple[PointSpec, ...]
ACTION: Final = "as an action"
RESULT: Final = "as a result"
INTEL: Final = "as intel"


@dataclass(frozen=True, slots=True)
class Journey:
    """From any of `sources` up to the relay where it turns, and from there down to any of `receivers`.

    `own`: its audience where nobody chooses another; `widest`: the widest that it may have. `turn`: a grant's scope;
    empty is the root. `past`: the grant's scope where it turns at the root all the same, because the requester is not
    below that scope. `if_back`: it goes back to the requester.
    """

    carrier: str
    sources: Points
    receivers: Points
    own: Audience
    widest: Audience
    turn: str = ""
    past: str = ""
    if_back: bool = False

    @property
    def sealed(self) -> bool:
        """Whether what is RED of it is sealed to its receivers."""
        return self.carrier == INTEL

    @property
    def avoids_up(self) -> str:
        """The relay that its way up does not lead by; empty for none."""
        return "" if self.if_back else self.past

    @property
    def avoids_down(self) -> str:
        """The relay that its way down does not lead by; empty for none."""
        return self.past if self.if_back else ""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A part of what a role may request: where it turns and whom it selects."""

    scope: str
    targets: Points
    grant: RequestGrant | None = None  # that of an action that executes something


def journeys_of(topology: Topology) -> Iterator[Journey]:
    """All that there can be, in the order of the file's roles."""
    players = {
        role.name: by_organisation(point for point in topology.points.values() if point.role == role.name)
        for role in topology.roles.values()
    }
    for role in topology.roles.values():
        for members in players[role.name].values():
            for reader in topology.roles.values():
                if publishes_to(role, reader, "intel"):
                    readers = tuple(point for some in players[reader.name].values() for point in some)
                    # They have one role and one organisation, so what is true of one is of all of them.
                    yield Journey(INTEL, members, readers, own(members[0]), widest(topology, members[0]))
        if players[role.name]:
            asked = list(_asked_by(topology, role))
            for members in players[role.name].values():
                for each in asked:
                    yield from _both_ways(topology, each, members)


def climbs(role: RoleSpec) -> bool:
    """Whether what it says by itself climbs up to the root: events, intel, what ends an action, what nobody awaits."""
    return publishes(role) or bool(role.request or role.approve)


def publishes(role: RoleSpec) -> bool:
    """Whether it says events or intel."""
    return any(not grant.pattern.startswith("resolutions.") for grant in role.publish)


def _both_ways(topology: Topology, asked: _Asked, requesters: Points) -> Iterator[Journey]:
    """An action is addressed to its requester's own organisation, and what is said of it is too."""
    audience = own(requesters[0])
    turns = [("", "")] if not asked.scope else [(asked.scope, ""), ("", asked.scope)]
    for turn, past in turns:
        yield Journey(ACTION, requesters, asked.targets, audience, audience, turn, past)
        yield Journey(RESULT, asked.targets, requesters, audience, audience, turn, past, if_back=True)
    for spec in topology.approvals if asked.grant is not None else ():
        if asked.grant is not None and is_about(topology, spec, asked.grant):
            yield from _approvals(asked, requesters, _approvers(topology, spec), audience)


def _approvals(asked: _Asked, requesters: Points, approvers: Points, audience: Audience) -> Iterator[Journey]:
    """Where it turns approvers are asked, with all of the action; what they say goes on to its targets, and back.

    Whoever is asked, or asks, may move meanwhile: then it climbs on, and turns at the root.
    """
    for turn in dict.fromkeys((asked.scope, "")):
        yield Journey("to be approved", requesters, approvers, audience, audience, turn)
        yield Journey("as an approval", approvers, requesters, audience, audience, turn)
        yield Journey("as an approval", approvers, asked.targets, audience, audience, turn)


def _asked_by(topology: Topology, role: RoleSpec) -> Iterator[_Asked]:
    grants = role.request
    for index, grant in enumerate(grants):
        if not any(_shadows(other, grant) for other in grants[:index]):
            yield _Asked(grant.scope, tuple(able(topology, grant)), grant)
    if not grants:
        return
    for scope, selectors in _fetches(grants):
        yield _Asked(scope, _executing(topology, selectors))
    # Who may cancel others' actions does so where those turned.
    if cancelling := [grant.to for grant in grants if action_matches(grant.action, *split_topic(CANCEL))]:
        scopes = dict.fromkeys(grant.scope for other in topology.roles.values() for grant in other.request)
        for scope in scopes:
            yield _Asked(scope, _executing(topology, cancelling))


def _shadows(other: RequestGrant, grant: RequestGrant) -> bool:
    """Whether all that `grant` allows runs under `other`, which is before it, and turns elsewhere."""
    return (
        other.scope != grant.scope and other.severity_max >= grant.severity_max
        and action_covers(other.action, grant.action)
    )


def _fetches(grants: Sequence[RequestGrant]) -> Iterator[tuple[str, list[str]]]:
    """Where what fetches turns, and which selectors it may use: by severity, in the order of `request_grants`."""
    covering = [grant for grant in grants if action_matches(grant.action, *split_topic(FETCH))]
    ordered = [*covering, *(grant for grant in grants if grant not in covering)]
    below: int = -1
    for grant in ordered:
        if grant.severity_max > below:
            yield grant.scope, [other.to for other in ordered if other.severity_max > below]
            below = grant.severity_max


def _executing(topology: Topology, selectors: Sequence[str]) -> Points:
    """Whom one of these selects, and who executes anything at all."""
    found = {point.id: point for to in dict.fromkeys(selectors) for point in selected(topology, to)}
    return tuple(point for point in found.values() if topology.roles[point.role].execute)


def _approvers(topology: Topology, spec: ApprovalSpec) -> Points:
    roles = {*spec.from_, *(spec.escalation.roles if spec.escalation is not None else ())}
    granted = {name for name in roles if topology.roles[name].approve}
    return tuple(point for point in topology.points.values() if point.role in granted)
