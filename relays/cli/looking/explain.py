"""`fabric explain ...`: why somebody may or may not, by which grant, and how far it gets. Nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any, NoReturn

import typer

from fabric.edge.arguments.checks import check_wanted
from fabric.edge.publishing.options import action_stamp, publish_stamp, to_label
from fabric.edge.requesting.request import request_arguments
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import DIGEST_BYTES
from fabric.protocol.envelope.header import Relabels
from fabric.protocol.envelope.lifetime import format_duration
from fabric.protocol.trust.policies import Rule
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.cli.messages.points import field_labels, given_text
from relays.cli.shared.exits import DENIED, DONE, NOBODY, PARTLY, USAGE, command
from relays.cli.shared.options import (
    ActionLabel,
    As,
    AsJson,
    FieldLabels_,
    Label_,
    Severity_,
    ToCommunity,
    ToOrg,
    ToRecipient,
    needed,
    to_audience_option,
    wall_ms,
)
from relays.cli.shared.scene import File, Scene, scene_of
from relays.explaining import (
    Asker,
    Explanation,
    Field,
    Hop,
    Sample,
    Target,
    explain_action,
    explain_publish,
    explain_relabel,
    explain_subscribe,
    matched_rules,
    sample_of,
)
from relays.reading import parse_record
from relays.terminal import say, say_json
from relays.wall import of_version

app = typer.Typer(no_args_is_help=True, help="Why somebody may or may not, and how far it gets. Nothing is sent.\n\nExample: fabric explain subscribe 'detections.>' --as analyst-1")
_EXITS = {"allowed": DONE, "partly": PARTLY, "nobody": NOBODY, "denied": DENIED}
_MINUTE_MS = 60_000
# Of a sample: a screenful or two; a record of ten thousand fields is for a program to read.
_FIELDS_SHOWN = 60


@app.command()
@command
def publish(
    topic: Annotated[str, typer.Argument(help="E.g. detections.zeek.conn")],
    record: Annotated[str | None, typer.Argument(metavar="[JSON | -]", help="A sample record: each field's label, and how far it goes.")] = None,
    identity: As = "",
    severity: Severity_ = "informational",
    label: Label_ = None,
    field_label: FieldLabels_ = None,
    to_org: ToOrg = None,
    community: ToCommunity = None,
    recipient: ToRecipient = None,
    topology: File = None,
    as_json: AsJson = False,
) -> None:
    """Say whether it may be published: by which grant, or for want of which, and what of it each relay on the way up
    may hold.

    Exit codes: 0 allowed and whole up to the root, 2 a --field-label names no field of the sample, 3 something is
    stripped or ends on the way, or a recipient is not known here, 5 denied.

    Example: fabric explain publish detections.zeek.conn --as zeek-p1 --label green --field-label id.orig_h=amber

    Example: head -1 conn.log | fabric explain publish detections.zeek.conn - --as zeek-p1 --field-label id.orig_h=amber
    """
    scene = scene_of(needed(identity), topology)
    stamp = publish_stamp(
        topic, scene.defaults, severity=severity, label=label, labels=field_labels(field_label),
        audience=to_audience_option(to_org, community, recipient), clearance=scene.asker.credential.clearance,
    )
    content = None if record is None else parse_record(given_text(record, "the sample"), "the sample")
    # A rule for a field that is not there strips nothing.
    there = stamp if content is None else stamp._replace(rules=matched_rules(stamp, content))
    said = explain_publish(scene.asker, there, scene.tree)
    sample = None if content is None else sample_of(content, stamp, said.hops)
    _tell(said, f"publish {topic}", scene, as_json, sample, by_default=label is None)


@app.command()
@command
def subscribe(
    pattern: Annotated[str, typer.Argument(help="E.g. 'detections.>'; * is one word, > the rest.")],
    identity: As = "",
    topology: File = None,
    as_json: AsJson = False,
) -> None:
    """Say whether it may be subscribed to: by which grant, or for want of which, and what this reader and its relay may
    hold.

    Exit codes: 0 allowed, 5 denied.

    Example: fabric explain subscribe 'detections.>' --as analyst-1
    """
    scene = scene_of(needed(identity), topology)
    check_wanted(pattern)
    _tell(explain_subscribe(scene.asker, pattern, scene.tree), f"subscribe {pattern}", scene, as_json)


@app.command()
@command
def relabel(
    topic: Annotated[str, typer.Argument(help="Of the message that is to be re-issued, e.g. detections.zeek.conn")],
    from_: Annotated[str, typer.Option("--from", metavar="LABEL", help="The message's own label: the highest of what is re-issued.")],
    label: Annotated[str, typer.Option("--label", help="The lower label that it is to have.")],
    identity: As = "",
    severity: Severity_ = "informational",
    to_org: ToOrg = None,
    community: ToCommunity = None,
    topology: File = None,
    as_json: AsJson = False,
) -> None:
    """Say whether a message on this topic may be re-issued at a lower label: by which declassify grant, or for want of
    which, and how far it gets then.

    Exit codes: 0 allowed, and it goes up to the root, 3 it ends on the way, 5 denied.

    Example: fabric explain relabel detections.zeek.conn --from amber --label green --as analyst-1
    """
    scene = scene_of(needed(identity), topology)
    stamp = publish_stamp(
        topic, scene.defaults, severity=severity, label=label, audience=to_audience_option(to_org, community, None)
    )
    stamp = stamp._replace(relabels=Relabels(bytes(DIGEST_BYTES), 0, to_label(from_)))
    said = explain_relabel(scene.asker, stamp, scene.tree)
    _tell(said, f"relabel {topic} from {to_label(from_).short} to {said.label.short if said.label else label}", scene, as_json)


@app.command()
@command
def act(
    action: Annotated[str, typer.Argument(help="An OpenC2 action: deny, contain, scan, ...")],
    target: Annotated[str, typer.Argument(help="An OpenC2 target: ipv4_net=203.0.113.9")],
    to: Annotated[str, typer.Option("--to", help="Who: 'role=firewall and segment=ot-1'.")],
    identity: As = "",
    severity: Severity_ = "high",
    label: ActionLabel = None,
    topology: File = None,
    as_json: AsJson = False,
) -> None:
    """Say whether an action may be asked for: by which grant, or for want of which; whom it selects, where it turns, whom
    it reaches, and who is to approve it.

    Exit codes: 0 allowed and every target is reached, 3 some are not, or are not covered by the grant, 4 nobody is
    selected, 5 denied, or it ends before it turns.

    Example: fabric explain act deny ipv4_net=203.0.113.9 --to 'role=firewall' --as soar-1
    """
    scene = scene_of(needed(identity), topology)
    spec, _ = request_arguments(action, target, to, None)
    stamp = action_stamp(spec, to, scene.defaults, severity=severity, label=label)
    said = explain_action(scene.asker, stamp, scene.tree, scene.policies, scene.revocations or Revocations())
    _tell(said, f"act {spec.text} to {to}", scene, as_json, by_default=label is None)


# -- how it is told -------------------------------------------------------------------------------------------


def _tell(
    said: Explanation, asked: str, scene: Scene, as_json: bool, sample: Sample | None = None, *, by_default: bool = False
) -> NoReturn:
    """`by_default`: nobody chose the label."""
    mistaken = sample is not None and sample.unmatched and said.verdict != "denied"
    if as_json:
        told = _json(said, scene) | ({"label_by_default": by_default} if said.label is not None else {})
        if mistaken and sample is not None:
            told |= _mistake_json(sample)
        say_json(told | (_sample_json(sample) if sample is not None else {}))
    else:
        verdict = f"not published: {Code.UNMATCHED_LABEL.label}" if mistaken else said.verdict
        say(f"{asked}, as {said.asker.credential.id}: {verdict}")
        lines = _lines(said, scene, by_default) + (_sample_lines(said, sample) if sample is not None else [])
        say(*[f"  {name:<13} {words}" for name, words in lines])
    raise typer.Exit(USAGE if mistaken else _EXITS[said.verdict])


def _mistake_json(sample: Sample) -> dict[str, Any]:
    code = Code.UNMATCHED_LABEL
    return {"verdict": "not_published", "code": code.label, "reason": code.reason, "cause": code.cause,
            "next": code.next_step, "detail": sample.words}


def _sample_json(sample: Sample) -> dict[str, Any]:
    fields = [
        {"field": field.name, "label": field.label.short, "reaches": list(field.reaches),
         "stops_before": field.stops_before or None}
        for field in sample.fields
    ]
    return {"sample": fields, "unmatched": list(sample.unmatched)}


def _sample_lines(said: Explanation, sample: Sample) -> list[tuple[str, str]]:
    lines = [("field", f"{field.name} ({field.label.short}) {reach_words(said, field)}".rstrip())
             for field in sample.fields[:_FIELDS_SHOWN]]
    if len(sample.fields) > _FIELDS_SHOWN:
        lines.append(("", f"and {len(sample.fields) - _FIELDS_SHOWN:,} more: --json has them"))
    if sample.unmatched:
        lines.append((Code.UNMATCHED_LABEL.label, f"{Code.UNMATCHED_LABEL.cause}: {sample.words}"))
        lines.append(("next", Code.UNMATCHED_LABEL.next_step))
    return lines


def reach_words(said: Explanation, field: Field) -> str:
    """How far up a field gets."""
    if not said.hops:
        return ""
    if not field.stops_before:
        last = field.reaches[-1] if field.reaches else said.asker.relay
        return f"goes up to {last}" + (", and above it nobody here knows" if said.unknown_above else "")
    return f"goes up to {field.reaches[-1]}, not to {field.stops_before}" if field.reaches else "goes nowhere"


def _json(said: Explanation, scene: Scene) -> dict[str, Any]:
    credential, code = said.asker.credential, said.code
    told: dict[str, Any] = {
        "verdict": said.verdict, "verb": said.verb, "what": said.what, "as": credential.id,
        "code": code.label if code else None, "reason": code.reason if code else "",
        "cause": code.cause if code else "", "next": said.next_step or (code.next_step if code else ""), "detail": said.detail,
        "grants": list(said.grants), "held": list(said.held), "wanted": said.wanted,
        "credential": {
            "on_this_machine": scene.identity is not None, "issuers": list(credential.issuers),
            "not_after_ms": credential.not_after_ms if scene.identity else None,
            "revocations": scene.revocations.version if scene.revocations else None,
            "differs_from_file": scene.differs,
        },
        "relay": said.asker.relay, "nearest": said.asker.nearest,
    }
    if said.verb == "subscribe":
        return {**told, "reads": [label.short for label in said.reads]}
    told |= {
        "label": said.label.short if said.label is not None else None,
        "fields": {name: label.short for name, label in said.fields},
        "path": [
            {"relay": hop.relay, "clearance": hop.clearance.short, "ends": hop.ends,
             "code": Code.WITHHELD.label if hop.ends else None,
             "stripped": {label.short: _fields_of(said, label) for label in hop.stripped}}
            for hop in said.hops
        ],
        "unknown_above": said.unknown_above,
    }
    if said.verb in ("publish", "relabel"):
        assert said.audience is not None, "whatever has a stamp has an audience"
        nobody = [{"code": each.code.label, "name": each.detail} for each in said.nobody]
        return {**told, "rate": said.rate_per_s, "audience": asdict(said.audience), "nobody": nobody}
    return {
        **told, "turn": said.turn, "class": said.class_, "policies": scene.policies.version,
        "approval": None if said.rule is None else _rule_json(said.rule),
        "targets": [
            {"id": each.id, "grant": each.grant, "path": list(each.way), "code": each.code.label if each.code else None,
             "by": each.by}
            for each in said.targets
        ],
        "not_granted": list(said.not_granted), "not_able": list(said.not_able), "elsewhere": list(said.elsewhere),
        "revoked": list(said.revoked),
    }


def _lines(said: Explanation, scene: Scene, by_default: bool) -> list[tuple[str, str]]:
    kind = _kind_of(said)
    lines: list[tuple[str, str]] = []
    if said.code is not None:
        lines.append((said.code.label, f"{said.code.cause}: {said.detail}" if said.detail else said.code.cause))
    if said.grants:
        lines.append(("granted by", _list_of(kind, said.grants)))
    if said.wanted:
        lines += [("has", _list_of(kind, said.held) if said.held else f"no {kind} grant"),
                  ("would do", f"{said.wanted} {_where(said)}")]
    elif said.code is not None:
        lines.append(("next", said.next_step or said.code.next_step))
    if said.label is not None:
        lines.append(("label", said.label.short + (", the topology's default" if by_default else "")))
    if said.audience is not None and said.verb in ("publish", "relabel"):
        lines += [("for", words) for words in _audience_lines(said.audience)]
    for each in said.nobody:
        if (each.code, each.detail) != (said.code, said.detail):
            lines += [(each.code.label, f"{each.code.cause}: {each.detail}"), ("next", each.code.next_step)]
    if said.rate_per_s:
        lines.append(("rate", f"{said.rate_per_s} a second; beyond it the relay puts off what comes (E406)"))
    lines.append(("credential", _standing(said.asker, scene)))
    if scene.differs:
        lines.append(("", "the topology file says otherwise: run `fabric up` with it, and relays will follow it"))
    if said.asker.nearest:
        lines.append(("", f"it takes the nearest relay: it is supposed to be at {said.asker.relay}"))
    if said.reads:
        lines.append(("reads", f"{', '.join(label.short for label in said.reads)} at {said.asker.relay or 'its relay'}"))
    lines += [(hop.relay, _hop_words(said, hop)) for hop in said.hops]
    if said.unknown_above:
        lines.append((said.unknown_above, "not known on this machine: name the file with --topology"))
    if said.turn:
        lines.append(("turns at", said.turn))
    lines += [(each.id, _target_words(each)) for each in said.targets]
    if said.verb == "act" and said.class_:
        lines.append(("approval", _rule_words(said.rule, said.class_)))
    for names, words in (
        (said.not_granted, "selected and able, but the grant does not cover:"),
        (said.elsewhere, f"would be targets, but are not below {said.turn}:"),
        (said.not_able, "selected, but may not execute it:"),
        (said.revoked, f"selected, but revoked ({Code.REVOKED.label}):"),
    ):
        if names:
            lines.append(("not", f"{words} {', '.join(names)}"))
    return lines


def _kind_of(said: Explanation) -> str:
    """Of the grants that decided. What is re-issued has to be published, too."""
    if said.verb == "relabel":
        return "declassify" if said.code in (None, Code.DECLASSIFY_DENIED) else "publish"
    return "request" if said.verb == "act" else said.verb


def _list_of(kind: str, grants: Sequence[str]) -> str:
    return f"{kind} = [{', '.join(grants)}]"


def _where(said: Explanation) -> str:
    if said.code is Code.CLEARANCE_DENIED:
        return f"at points.{said.asker.credential.id}, or a lower label"
    return f"in roles.{said.asker.role}" if said.asker.role else "in its role"


def _standing(asker: Asker, scene: Scene) -> str:
    credential = asker.credential
    if scene.identity is None:
        return "none on this machine: as the topology file would have it issued"
    issuers = " <- ".join((*credential.issuers, "the authority"))
    left_ms = credential.not_after_ms - wall_ms()
    left = f"{format_duration(max(_MINUTE_MS, left_ms // _MINUTE_MS * _MINUTE_MS))} left" if left_ms > 0 else "over"
    listed = f"list {of_version(scene.revocations.version)}" if scene.revocations else "no revocation list here"
    revoked = "revoked" if asker.problem is not None and asker.problem.code is Code.REVOKED else "not revoked"
    return f"vouched for by {issuers}, {left}, {revoked} ({listed})"


def _rule_json(rule: Rule) -> dict[str, Any]:
    later = rule.escalation
    return {
        "rule": rule.name, "require": rule.require, "from": list(rule.roles), "within_ms": rule.within_ms,
        "escalate": None if later is None
        else {"after_ms": later.after_ms, "from": list(later.roles), "require": later.require},
    }


def _rule_words(rule: Rule | None, class_: str) -> str:
    if rule is None:
        return f"none: no policy is about it (class {class_}), the grant is enough"
    words = f"{rule.require} of {', '.join(rule.roles)} within {format_duration(rule.within_ms)}"
    later = rule.escalation
    if later is not None:
        words += f"; after {format_duration(later.after_ms)} also {later.require} of {', '.join(later.roles)}"
    return f"{words} (policy '{rule.name}', class {class_}), and never who asks"


def _audience_lines(audience: Audience) -> list[str]:
    """Who may have it, by Traffic Light Protocol; nothing where it is for the own organisation alone, as it mostly is."""
    if len(audience.organisations) < 2 and not audience.communities and not audience.recipients:
        return []
    lines = [f"organisations {', '.join(audience.organisations)}, and up to amber their direct clients"]
    if audience.communities:
        lines.append(f"up to green the communities {', '.join(audience.communities)}")
    if audience.recipients:
        lines.append(f"of what is red only {', '.join(audience.recipients)}")
    return lines


def _hop_words(said: Explanation, hop: Hop) -> str:
    clearance = f"({hop.clearance.short})"
    if hop.ends and hop.is_cleared_for(said.label):
        return f"{clearance} ends here: {Code.WITHHELD.label}, the audience does not reach it"
    if hop.ends:
        return (
            f"{clearance} ends here: {Code.WITHHELD.label}, it may not hold {said.label.short if said.label is not None else 'it'}"
            + (f"; carries_sealed = true at {hop.relay} lets it pass" if said.label is Label.RED else "")
        )
    if not hop.stripped:
        gone = any(other.stripped for other in said.hops[: said.hops.index(hop)])
        words = "passes on what is left" if gone else "passes whole"
        # What is red gets past such a relay only where it carries what is sealed.
        sealed = hop.clearance < Label.RED and Label.RED in _labels_past(said, hop)
        return f"{clearance} {words}" + (", and cannot read what is red of it" if sealed else "")
    words = "; ".join(f"{', '.join(_fields_of(said, label))} ({label.short})" for label in hop.stripped)
    return f"{clearance} stripped before it gets there: {words}"


def _labels_past(said: Explanation, hop: Hop) -> set[Label | None]:
    """What of the message's labels was not stripped up to and with this hop."""
    gone = {label for other in said.hops[: said.hops.index(hop) + 1] for label in other.stripped}
    return {said.label, *(label for _, label in said.fields)} - gone


def _fields_of(said: Explanation, label: Label) -> list[str]:
    return [name for name, of in said.fields if of is label]


def _target_words(target: Target) -> str:
    way = f"via {' '.join(target.way)}" if target.way else "where it turns"
    if target.code is None:
        return f"selected, {way}"
    return f"selected, but ends at {target.by} on its way {way}: {target.code.label}"
