"""Whom a topology addresses, against who is in it: organisations, communities and recipients that nobody is, and
recipients who get nothing for it.

Guarantees: only warnings. Who joins later through an issuer is in no file, so a name that nobody has yet may be meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fabric.edge.publishing.options import ROLE
from fabric.protocol.base.errors import Code
from fabric.protocol.trust.credentials import begins
from fabric.protocol.vocabulary.tlp import Audience, Label, may_hold
from relays.topology.model import Topology
from relays.topology.problems import Problem, warning
from relays.wording import closest, shown

_ORGANISATION, _COMMUNITY, _RECIPIENT = "organisation", "community", "recipient"


def judge_audiences(topology: Topology) -> Iterator[Problem]:
    """A warning for each name that nobody has, and for each recipient that is left out."""
    organisations = tuple(dict.fromkeys(node.organisation for node in topology.nodes))
    communities = tuple(dict.fromkeys(name for node in topology.nodes for name in node.communities))
    roles = dict.fromkeys(ROLE + point.role for point in topology.points.values())
    ids = (*topology.relays, *topology.points, *roles)
    for organisation in topology.organisations.values():
        yield from _unknown(f"organisations.{organisation.name}", _ORGANISATION, [organisation.name], organisations)
    for key, providers in _providers(topology):
        yield from _unknown(key, _ORGANISATION, providers, organisations)
    for role in topology.roles.values():
        for index, grant in enumerate(role.publish):
            key = f"roles.{role.name}.publish.{index}"
            yield from _unknown(f"{key}.organisations", _ORGANISATION, grant.to_organisations, organisations)
            yield from _unknown(f"{key}.communities", _COMMUNITY, grant.to_communities, communities)
    for point in topology.points.values():
        for source in point.sources.values():
            key, audience = f"points.{point.id}.sources.{source.name}.audience", source.audience or Audience(())
            yield from _unknown(f"{key}.organisations", _ORGANISATION, audience.organisations, organisations)
            yield from _unknown(f"{key}.communities", _COMMUNITY, audience.communities, communities)
            yield from _unknown(f"{key}.recipients", _RECIPIENT, audience.recipients, ids)
            signed = audience.signed_by(point.organisation, point.id)
            yield from _left_out(f"{key}.recipients", topology, signed, point.id)


def _left_out(key: str, topology: Topology, audience: Audience, origin: str) -> Iterator[Problem]:
    """Recipients who get nothing for being named: recipients narrow what is red, and widen nothing. Not the origin,
    whom nobody named: what it may not publish is said elsewhere."""
    for node in topology.nodes:
        if node.id != origin and node.id in audience.recipients and not may_hold(node, Label.RED, audience):
            is_cleared = node.clearance >= Label.RED
            write = f'name its organisation too: organisations = ["{node.organisation}"]'
            yield warning(
                key, f"{node.id} may not have what is red of this",
                write if is_cleared else f'write clearance = "red" at {node.id}, or leave it out', Code.BAD_AUDIENCE,
            )


def _providers(topology: Topology) -> Iterator[tuple[str, Sequence[str]]]:
    """Whose clients there are, with the key where that is said."""
    for organisation in topology.organisations.values():
        yield f"organisations.{organisation.name}.client_of", organisation.client_of
    for section, nodes in (("relays", topology.relays), ("points", topology.points)):
        for node in nodes.values():
            given = topology.organisations.get(node.organisation)
            if given is None or given.client_of != node.client_of:
                yield f"{section}.{node.id}.client_of", node.client_of


def _unknown(key: str, what: str, patterns: Iterable[str], known: Sequence[str]) -> Iterator[Problem]:
    for pattern in patterns:
        if any(begins(pattern, name) for name in known):
            continue
        code = Code.RECIPIENT_UNKNOWN
        if what == _COMMUNITY:
            code, cause = Code.COMMUNITY_EMPTY, f"nobody is in the community {shown(pattern)}"
            write = 'write who is in it: communities = ["..."] in [organisations]'
        elif what == _RECIPIENT:
            cause, write = f"no relay and no point is named {shown(pattern)}", "correct the name"
            if pattern.startswith(ROLE):
                cause = f"no point has the role {shown(pattern.removeprefix(ROLE))}"
        else:
            cause = f"no relay and no point is of an organisation {shown(pattern)}"
            write = 'correct the name, or write organisation = "..." at its relays and points'
        yield warning(key, cause, write + closest(pattern, known), code)
