"""What lint says of a file's approval policies (SPEC 6.7): who is not asked, who cannot answer, which never decides.

Warnings only: a fabric with such policies is safe, and may be stuck.
"""

from __future__ import annotations

from collections.abc import Iterator

from fabric.protocol.base.errors import Reject
from fabric.protocol.vocabulary.openc2 import ActionClass, action_covers
from fabric.protocol.vocabulary.selectors import parse_selector
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.topology.matching import class_in, executors, is_about
from relays.topology.model import ApprovalSpec, PointSpec, RequestGrant, Topology
from relays.topology.problems import Problem, warning


def judge_approvals(topology: Topology) -> Iterator[Problem]:
    """In the order of the questions: is somebody asked, can they answer, does the rule ever decide."""
    yield from _uncovered(topology)
    for spec in topology.approvals:
        yield from _answers(topology, spec)
    yield from _rivals(topology)


# -- who is not asked ---------------------------------------------------------------------------------------


def _uncovered(topology: Topology) -> Iterator[Problem]:
    """Grants that contain or remediate with nobody asked. A table with require = 0 says that it is meant."""
    policies = (*topology.approvals, *topology.waivers)
    for role in topology.roles.values():
        for index, grant in enumerate(role.request):
            for class_ in _classes(topology, grant.action):
                if class_ not in ("contain", "remediate") or _covered(topology, grant, class_, policies):
                    continue
                yield warning(
                    f"roles.{role.name}.request.{index}",
                    f"'{grant.action}' (class {class_}) needs nobody's approval: the grant is enough",
                    f'where that is meant, add [[approval]] with when = {{ class = "{class_}", to = "{grant.to}" }} '
                    "and require = 0",
                )


def _classes(topology: Topology, pattern: str) -> tuple[ActionClass, ...]:
    """The classes of the actions that a pattern allows."""
    action = pattern.partition(" ")[0]
    if action == "*":
        return ("contain", "remediate")
    return (class_in(topology, action),)


def _covered(
    topology: Topology, grant: RequestGrant, class_: str, policies: tuple[ApprovalSpec, ...]
) -> bool:
    """By a policy for the class (or the action) whose selector takes in every target that the file has.

    One for some labels or severities only covers nothing: the requester says what these are.
    """
    targets = executors(topology, grant)
    for policy in policies:
        if policy.class_ and policy.class_ != class_:
            continue
        if policy.action and not action_covers(policy.action, grant.action):
            continue
        if policy.label > Label.CLEAR or policy.severity > Severity.UNKNOWN:
            continue
        if policy.to in ("", "all", grant.to):
            return True
        selector = parse_selector(policy.to)
        if isinstance(selector, Reject) or not targets:
            continue
        if all(selector.matches(topology.attributes(point.id)) for point in targets):
            return True
    return False


# -- who cannot answer --------------------------------------------------------------------------------------


def _answers(topology: Topology, spec: ApprovalSpec) -> Iterator[Problem]:
    """Rules that nobody can satisfy, by those who are in the file."""
    asked = [(spec.from_, spec.require, "from")]
    if spec.escalation is not None:
        asked.append((spec.escalation.roles, spec.escalation.require, "escalate.from"))
    for roles, require, place in asked:
        key = f"{spec.key}.{place}"
        unplayed = [role for role in roles if not any(point.role == role for point in topology.points.values())]
        for role in unplayed:
            yield warning(
                f"{key}.{roles.index(role)}", f"no point plays the role '{role}': it approves nothing",
                f'give a point role = "{role}", or take it out',
            )
        ungranted = [role for role in roles if role not in unplayed and not _may_approve(topology, role, spec)]
        for role in ungranted:
            yield warning(
                f"{key}.{roles.index(role)}", f"the role '{role}' has no approve grant for {_what(spec)}",
                f'add approve = [{{ class = "{_class_words(topology, spec)}", to = "{spec.to or "all"}" }}] '
                f"to [roles.{role}]",
            )
        if len(unplayed) == len(roles) or ungranted:
            continue
        # Of an escalation those who are named first count as well.
        counted = dict.fromkeys((*roles, *(spec.from_ if place != "from" else ())))
        able = [point for point in topology.points.values() if point.role in counted]
        yield from _too_few(topology, spec, able, require, key)


def _too_few(
    topology: Topology, spec: ApprovalSpec, able: list[PointSpec], require: int, key: str
) -> Iterator[Problem]:
    """Where too few principals are left when the one who asks is one of them."""
    principals = {topology.principal_of(point.id) for point in able}
    requesters = [
        point for point in topology.points.values()
        if any(is_about(topology, spec, grant) for grant in topology.roles[point.role].request)
    ]
    for point in requesters:
        left = principals - {topology.principal_of(point.id)}
        if len(left) < require:
            whose = f" when {point.id} asks, who may not approve itself" if len(left) < len(principals) else ""
            yield warning(
                key, f"{require} must approve and there are {len(left)}{whose}: nobody can satisfy it",
                f"add points of these roles, with principals of their own, or write require = {max(1, len(left))}",
            )
            return
    if not requesters and len(principals) < require:
        yield warning(
            key, f"{require} must approve and there are {len(principals)}: nobody can satisfy it",
            f"add points of these roles, or write require = {max(1, len(principals))}",
        )


def _may_approve(topology: Topology, role: str, spec: ApprovalSpec) -> bool:
    """Whether the role has an approve grant for a class of actions that the rule is about."""
    classes = (spec.class_,) if spec.class_ else _classes(topology, spec.action)
    return any(grant.class_ in classes for grant in topology.roles[role].approve)


def _what(spec: ApprovalSpec) -> str:
    return f"class {spec.class_}" if spec.class_ else f"'{spec.action}'"


def _class_words(topology: Topology, spec: ApprovalSpec) -> str:
    return spec.class_ or _classes(topology, spec.action)[0]


# -- which never decides ------------------------------------------------------------------------------------


def _rivals(topology: Topology) -> Iterator[Problem]:
    """Rules about the same, or about less than a more demanding one: only the most demanding decides."""
    ordered = sorted(topology.approvals, key=lambda spec: spec.rule.demand)
    for place, spec in enumerate(ordered):
        above = next((other for other in ordered[:place] if _takes_in(other, spec)), None)
        if above is None:
            continue
        same = "about the same actions" if _takes_in(spec, above) else "about these and more"
        yield warning(
            spec.key, f"'{spec.name}' never decides: '{above.name}' is {same} and demands more, so it wins",
            "remove one of them, or make this one demand more",
        )
    for waiver in topology.waivers:
        above = next((other for other in ordered if _takes_in(other, waiver)), None)
        if above is not None:
            yield warning(
                waiver.key, f"require = 0 lifts nothing: '{above.name}' is about these actions too, and wins",
                "remove this table, or make the other one about less",
            )


def _takes_in(outer: ApprovalSpec, inner: ApprovalSpec) -> bool:
    """Whether whatever the inner one matches, the outer one does, as far as their texts show it."""
    return (
        (not outer.class_ or outer.class_ == inner.class_)
        and (not outer.action or (bool(inner.action) and action_covers(outer.action, inner.action)))
        and outer.to in ("", "all", inner.to)
        and outer.label <= inner.label
        and outer.severity <= inner.severity
    )
