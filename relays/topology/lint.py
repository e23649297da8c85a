"""What a topology will do that its author may not have meant: proofs of its asserts, and warnings.

Guarantees: an `[[assert]]` without an error holds for every way that there is (`flow`). Warnings never stop
a fabric from starting; each names the key, what will happen and what to write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from fabric.protocol.base.errors import Code
from fabric.protocol.base.sizes import format_size
from fabric.protocol.vocabulary.tlp import Audience, Label
from fabric.protocol.vocabulary.topics import RESOLUTIONS
from relays.topology.approvals import judge_approvals
from relays.topology.asserts import prove
from relays.topology.audiences import judge_audiences
from relays.topology.declassifying import judge_declassifying
from relays.topology.holding import first_refusal, holds, own, rule_against
from relays.topology.loader import check
from relays.topology.matching import patterns_overlap, publishes_to
from relays.topology.model import PointSpec, RelaySpec, RoleSpec, Topology
from relays.topology.problems import Problem, in_order, listed, warning
from relays.topology.requests import judge_requests


def lint(path: Path) -> list[Problem]:
    """Everything wrong with a file or worth knowing of it, in order of lines. Never raises for the file."""
    checked = check(path)
    found = list(checked.problems)
    if checked.topology is not None:
        for judge in _JUDGES:
            found += [replace(p, line=checked.lines.of(p.key)) for p in judge(checked.topology)]
    return in_order(found)


def _flows(topology: Topology) -> Iterator[Problem]:
    """Content of a publisher that ends on its way to the root."""
    for point in topology.points.values():
        if not topology.roles[point.role].publish:
            continue
        alone = own(point)
        seen: dict[str, tuple[dict[Label, str], Audience]] = {}
        for source in point.sources.values():
            labels = dict.fromkeys(source.labels.values(), "fields")
            if "*" not in source.labels:
                labels.setdefault(
                    topology.defaults.label, "fields without a label of their own (the default is it)"
                )
            audience = alone if source.audience is None else source.audience.signed_by(point.organisation, point.id)
            seen[f"points.{point.id}.sources.{source.name}"] = (labels, audience)
        if not point.sources:
            seen[f"points.{point.id}"] = ({topology.defaults.label: "messages (the default label)"}, alone)
        for key, (labels, audience) in seen.items():
            for label, what in sorted(labels.items()):
                yield from _flow(topology, point, key, label, audience, f"{label.short} {what} from {point.id}")


def _flow(
    topology: Topology, point: PointSpec, key: str, label: Label, audience: Audience, what: str
) -> Iterator[Problem]:
    if label > point.clearance:
        yield warning(
            key,
            f"{what} are refused: nobody publishes above their clearance, which is {point.clearance.short}",
            f'write clearance = "{label.short}", or lower the label',
            Code.CLEARANCE_DENIED,
        )
        return
    if label is Label.RED and not audience.recipients:
        yield warning(
            key, f"{what} are refused where no recipients are named: red is for them alone",
            'name them: audience = { recipients = ["..."] }; or label it amber+strict', Code.NO_RECIPIENTS,
        )
    if point.relay is None:
        return
    stop = first_refusal(topology.path_to_root(point.relay), label, replace(audience, recipients=()), sealed=True)
    if stop is None:
        return
    if stop.id == point.relay:
        cause = f"{what} are withheld from its own relay {_why(stop, label)}: nobody gets them"
    else:
        cause = f"{what} end at {_why(stop, label)}: subscribers above see them withheld"
    yield warning(key, cause, _remedy(stop, label, audience), Code.WITHHELD)


def _why(relay: RelaySpec, label: Label) -> str:
    return f"{relay.id} ({rule_against(relay, label)})"


def _remedy(relay: RelaySpec, label: Label, audience: Audience | None = None) -> str:
    if label is Label.RED and audience is not None:
        return f"write carries_sealed = true at {relay.id}: what is red is sealed, and it cannot read it"
    if label > relay.clearance:
        return (
            f"it may be meant; else label {relay.clearance.short} what may pass, or clear {relay.id} for more"
        )
    return f"it may be meant; else label clear what may pass, or give {relay.id} the same organisation"


def _clearances(topology: Topology) -> Iterator[Problem]:
    for point in topology.points.values():
        if point.relay is None:
            continue
        relay = topology.relays[point.relay]
        if point.clearance > relay.clearance:
            yield warning(
                f"points.{point.id}.clearance",
                f"{point.id} is cleared for {point.clearance.short} and its relay {relay.id} for "
                f"{relay.clearance.short} only: it never sees more than its relay",
                f'write clearance = "{relay.clearance.short}", or move it to a relay with more',
            )


def _backups(topology: Topology) -> Iterator[Problem]:
    """Content that is carried while everybody is where they prefer to be, and not from a backup."""
    placed: list[tuple[str, RelaySpec | PointSpec, str | None]] = [
        *(("relays", relay, relay.parent) for relay in topology.relays.values()),
        *(("points", point, point.relay) for point in topology.points.values()),
    ]
    for section, node, preferred in placed:
        for index, name in enumerate(node.backups if preferred else ()):
            backup = topology.relays[name]
            carried = _carried(node, topology.relays[preferred or ""])
            lost = [label for label in carried if label not in _carried(node, backup)]
            if lost:
                what = f"{lost[0].short} ends" if len(lost) == 1 else f"{lost[0].short} and above end"
                yield warning(
                    f"{section}.{node.id}.backups.{index}",
                    f"while {node.id} is at its backup {_why(backup, lost[0])}, {what} there: "
                    f"{preferred} may hold what {name} may not",
                    f"{_remedy(backup, lost[0])}, or name another backup",
                    Code.WITHHELD,
                )


def _carried(node: RelaySpec | PointSpec, relay: RelaySpec) -> list[Label]:
    """The labels that both may hold of what the node's own organisation says."""
    audience = own(node)
    return [label for label in Label if holds(node, label, audience) and holds(relay, label, audience)]


def _subscribers(topology: Topology) -> Iterator[Problem]:
    """Points that can never receive anything: events come from their own subtree, intel from anywhere."""
    everywhere: Counter[str] = Counter()  # roles, by how many points play them
    below: dict[str, Counter[str]] = {relay: Counter() for relay in topology.relays}
    for point in topology.points.values():
        everywhere[point.role] += 1
        above = topology.relays.values() if point.relay is None else topology.path_to_root(point.relay)
        for relay in above:
            below[relay.id][point.role] += 1
    for point in topology.points.values():
        role = topology.roles[point.role]
        if not role.subscribe:
            continue
        own = Counter([point.role])
        nearby = everywhere if point.relay is None else below[point.relay]
        if any(publishes_to(topology.roles[other], role, "intel") for other in everywhere - own):
            continue
        if any(publishes_to(topology.roles[other], role, "event") for other in nearby - own):
            continue
        if point.sources and publishes_to(role, role, "event"):  # what came in is for those who read it there, too
            continue
        if _hears_resolutions(topology, point, role):
            continue
        where = "in the fabric" if point.relay is None else f"at or below {point.relay}"
        yield warning(
            f"points.{point.id}",
            f"nobody {where} publishes what {point.id} subscribes to: {listed(role.subscribe)}",
            "move it to a relay above the publishers, or give a point there a publish grant",
            Code.NO_INTEREST,
        )


def _hears_resolutions(topology: Topology, point: PointSpec, role: RoleSpec) -> bool:
    """Whether an action can turn at its relay, or below it: from there its resolution climbs."""
    if not any(patterns_overlap(pattern, f"{RESOLUTIONS}.>") for pattern in role.subscribe):
        return False
    played = {other.role for other in topology.points.values()}
    turns_at = {
        grant.scope or topology.root.id for name in played for grant in topology.roles[name].request
    }
    if point.relay is None:
        return bool(turns_at)
    return any(point.relay in [above.id for above in topology.path_to_root(relay)] for relay in turns_at)


def _publishes(topology: Topology) -> Iterator[Problem]:
    for role in topology.roles.values():
        for index, grant in enumerate(role.publish):
            if grant.pattern.partition(".")[0] == RESOLUTIONS:
                yield warning(
                    f"roles.{role.name}.publish.{index}",
                    f"relays alone publish below {RESOLUTIONS}, what became of actions: {grant.pattern} allows nothing",
                    "use another topic",
                    Code.PUBLISH_DENIED,
                )


def _nearest(topology: Topology) -> Iterator[Problem]:
    if any(relay.serves for relay in topology.relays.values()):
        return
    for point in topology.points_nearest():
        yield warning(
            f"points.{point.id}",
            f"{point.id} names no relay, and no relay says which addresses it serves: it goes to the quickest",
            f'write relay = "{topology.root.id}", or give relays serves = ["10.1.0.0/16"]',
        )


def _kept(topology: Topology) -> Iterator[Problem]:
    """Relays whose readers may keep more than there is for them: also those for which a relay is a backup."""
    readers: dict[str, list[tuple[int, str]]] = {relay: [] for relay in topology.relays}
    for point in topology.points.values():
        if topology.role_of(point.id).subscribe:
            for name in dict.fromkeys((point.relay or topology.root.id, *point.backups)):
                readers[name].append((topology.grants_of(point.id).kept.bytes, point.id))
    for relay in topology.relays.values():
        wanted_bytes = sum(bytes_ for bytes_, _ in readers[relay.id])
        if wanted_bytes <= relay.readers_bytes:
            continue
        most = [f"{id_} {format_size(bytes_)}" for bytes_, id_ in sorted(readers[relay.id], reverse=True)]
        yield warning(
            f"relays.{relay.id}",
            f"the readers of {relay.id} may keep {format_size(wanted_bytes)} together and it has "
            f"{format_size(relay.readers_bytes)} for them: {listed(most)}",
            f'write readers = "{_enough(wanted_bytes)}" if its disk has that much, or keep less',
            Code.SUBSCRIBER_SLOW,
        )


def _enough(bytes_: int) -> str:
    """A size that holds these, as it is written."""
    for unit_bytes in (2**30, 2**20):
        if bytes_ >= unit_bytes:
            return format_size(-(-bytes_ // unit_bytes) * unit_bytes)
    return format_size(2**20)


_JUDGES: tuple[Callable[[Topology], Iterator[Problem]], ...] = (
    prove,
    _flows,
    judge_audiences,
    judge_declassifying,
    _clearances,
    _backups,
    _subscribers,
    _publishes,
    judge_requests,
    judge_approvals,
    _nearest,
    _kept,
)
