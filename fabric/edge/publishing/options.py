"""From words to stamps: how a program says severity, label, audience and lifetime, and what it gets when it says
nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from fabric.edge.arguments.checks import to_record, to_text
from fabric.edge.identity.identity import Defaults
from fabric.edge.publishing.drafts import Position, Stamp
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import AUDIENCE_NAMES_MAX, DIGEST_BYTES, TTL_MAX_MS
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.trust.credentials import name_ok
from fabric.protocol.vocabulary.openc2 import ActionSpec
from fabric.protocol.vocabulary.severity import Phase, Severity, parse_phase, parse_severity
from fabric.protocol.vocabulary.tlp import Audience, Label, parse_label
from fabric.protocol.vocabulary.topics import advice_on, check_topic, kind_of_topic

RECIPIENTS = "recipients"
AUDIENCE_PARTS = ("organisations", "communities", RECIPIENTS)
# Before the name of a role: all who have it.
ROLE = "role="
# The own organisation, and for recipients the origin itself, have a place too.
ADDRESSED_MAX = AUDIENCE_NAMES_MAX - 1
# What an action says besides its header (SPEC 9.1).
ACTION_FIELDS = ("action", "target", "args", "command_id")
_TTL_MS = {"event": 86_400_000, "intel": 7 * 86_400_000, "action": 60_000, "result": 86_400_000}


class PublishOptions(TypedDict, total=False):
    """What may be said of a record.

    `severity`: informational unless given. `phase`: of the kill chain. `ttl`: milliseconds, or words like "30s".
    `label`: who may see it; the identity's default unless given. `labels`: field to label, for those that bear their
    own: `id.orig_h` names that key, and `orig_h` in `id`; `hosts.ip` each `ip` in an array `hosts`; exactly as it is
    written (SPEC 3.3). One that names no field of the content raises UNMATCHED_LABEL, and nothing was taken, unless the
    record is published with `labels_required=False`.

    `audience`: whom it is for besides the own organisation: `{"organisations": [...], "communities": [...],
    "recipients": [...]}`, at most 15 names each, or an `Audience`. AMBER goes to direct clients of the organisations
    too, GREEN to who is in a community as well, and RED to nobody but recipients, who are named by their ids or as
    `role=NAME`: it is sealed to them, and nobody on the way can read it. Raises NO_RECIPIENTS for what is RED without
    any; BAD_AUDIENCE for what is no audience, and for recipients where nothing is RED; AUDIENCE_DENIED where no publish
    grant lets it address them, RECIPIENT_UNKNOWN and RECIPIENT_REVOKED for those to whom nothing can be sealed.
    """

    severity: Severity | str
    phase: Phase | str | None
    ttl: int | str | None
    label: Label | str | None
    labels: Mapping[str, Label | str] | None
    audience: Audience | Mapping[str, Sequence[str]] | None


class ActionOptions(TypedDict, total=False):
    """What may be said of an action. `severity`: high unless given. `ttl` and `label` as in `PublishOptions`.

    `require_all`: it is for nobody while one of its targets is away. `dry_run`: everything is checked on the way and at
    each target, which answers `ready` where it would begin, and nothing is executed. `cancels`: the id of the action
    that a `cancel command` ends; see `cancel`.

    `seal`: target and arguments are RED, and sealed to the targets, at most 15 of them: relays on the way carry what
    they cannot read, and `label` says who may know that there is such an action. Raises RECIPIENT_UNKNOWN where nobody
    is known whom `to` selects.
    """

    severity: Severity | str
    ttl: int | str | None
    label: Label | str | None
    require_all: bool
    dry_run: bool
    cancels: str
    seal: bool


def to_leaf(action_id: object) -> bytes:
    """An action's id, as it was given to whoever asked for it. Raises USAGE."""
    try:
        leaf = bytes.fromhex(action_id) if isinstance(action_id, str) else b""
    except ValueError:
        leaf = b""
    if len(leaf) != DIGEST_BYTES:
        raise FabricError(
            Code.USAGE, "not the id of an action",
            f"give all its {2 * DIGEST_BYTES} digits, as `fabric actions --json` shows them",
        )
    return leaf


def to_label(value: Label | str) -> Label:
    """The label, from itself or from any spelling that `parse_label` knows. Raises BAD_LABEL."""
    label = value if isinstance(value, Label) else parse_label(value) if isinstance(value, str) else None
    if label is None:
        raise FabricError(Code.BAD_LABEL, repr(value))
    return label


def to_audience(value: object) -> Audience | None:
    """Whom something is for besides the own organisation; None for nobody else. Raises BAD_AUDIENCE."""
    if value is None:
        return None
    if isinstance(value, Audience):
        parts: tuple[object, ...] = (value.organisations, value.communities, value.recipients)
    elif isinstance(value, Mapping) and all(part in AUDIENCE_PARTS for part in value):
        parts = tuple(value.get(part, ()) for part in AUDIENCE_PARTS)
    else:
        raise FabricError(
            Code.BAD_AUDIENCE, f"{value!r} is no audience",
            'give e.g. {"organisations": ["msp"], "communities": ["isac"], "recipients": ["lead-1"]}',
        )
    read = Audience(*(_names(part, names) for part, names in zip(AUDIENCE_PARTS, parts, strict=True)))
    return read if read != Audience(()) else None


def _names(part: str, names: object) -> tuple[str, ...]:
    if not isinstance(names, list | tuple):
        raise FabricError(Code.BAD_AUDIENCE, f"{part} is no list of names", f'give e.g. {{"{part}": ["msp"]}}')
    for name in names:
        named = name.removeprefix(ROLE) if part == RECIPIENTS and isinstance(name, str) else name
        if not name_ok(named):
            raise FabricError(
                Code.BAD_AUDIENCE, f"{name!r} of {part} is no name", "use lower case letters, digits and -, at most 63"
            )
    if len(names) > ADDRESSED_MAX:
        raise FabricError(Code.BAD_AUDIENCE, f"{len(names)} {part}, and at most {ADDRESSED_MAX} can be named")
    return tuple(dict.fromkeys(names))


def to_severity(value: Severity | str) -> Severity:
    """The severity, from itself, its name or its number (OCSF). Raises USAGE."""
    # A plain number is read as its digits are; a flag is none.
    words = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    severity = value if isinstance(value, Severity) else parse_severity(words) if isinstance(words, str) else None
    if severity is None:
        raise FabricError(
            Code.USAGE, f"{value!r} is no severity",
            "write informational, low, medium, high, critical or fatal",
        )
    return severity


def to_phase(value: Phase | str | None) -> Phase:
    """The kill chain phase, from itself, its name or a tactic of ATT&CK; NONE for None. Raises USAGE."""
    if value is None:
        return Phase.NONE
    phase = value if isinstance(value, Phase) else parse_phase(value) if isinstance(value, str) else None
    if phase is None:
        raise FabricError(
            Code.USAGE, f"{value!r} is no kill chain phase", "write e.g. delivery, command-and-control or TA0011"
        )
    return phase


def to_ttl_ms(value: int | str | None, kind: Kind, defaults: Defaults) -> int:
    """`value`: milliseconds, or words like "30s"."""
    if value is None:
        return int(defaults.ttl_ms.get(kind.word, _TTL_MS.get(kind.word, 60_000)))
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise FabricError(Code.USAGE, f"{value!r} is no ttl", 'give whole milliseconds, or words like "30s"')
    ttl_ms = value if isinstance(value, int) else parse_duration(value)
    if ttl_ms > TTL_MAX_MS[kind.word]:
        raise FabricError(Code.TTL_TOO_LONG, f"{ttl_ms} ms for a message of kind {kind.word}")
    if ttl_ms <= 0:
        raise FabricError(Code.USAGE, "a ttl is longer than nothing")
    return ttl_ms


def to_position(value: object) -> Position | None:
    """(source, position), both text. Raises USAGE."""
    if value is None:
        return None
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise FabricError(Code.USAGE, "a position that is no pair of texts", 'give e.g. ("queue", "4711")')
    return as_position(*value)


def as_position(source: object, position: object) -> Position:
    """Both text. Raises USAGE."""
    if not (isinstance(source, str) and isinstance(position, str)):
        raise FabricError(Code.USAGE, "a position that is no pair of texts", 'give e.g. ("queue", "4711")')
    return Position(source, position)


def publish_stamp(
    topic: str,
    defaults: Defaults,
    clearance: Label = Label.RED,
    *,
    severity: Severity | str = Severity.INFORMATIONAL,
    phase: Phase | str | None = None,
    ttl: int | str | None = None,
    label: Label | str | None = None,
    labels: Mapping[str, Label | str] | None = None,
    audience: Audience | Mapping[str, Sequence[str]] | None = None,
) -> Stamp:
    """The stamp of an event, or of intel when the topic says so. Raises USAGE, BAD_LABEL, BAD_AUDIENCE, BAD_TOPIC,
    TTL_TOO_LONG or NO_RECIPIENTS.

    `clearance`: its origin's. What is above that is refused for that, whoever it is for.
    """
    problem = check_topic(to_text(topic, "a topic", "detections.zeek.conn"))
    if problem is not None:
        raise FabricError(problem.code, problem.detail, advice_on(topic, is_topic=True))
    kind = Kind.INTEL if kind_of_topic(topic) == "intel" else Kind.EVENT
    rules = {name: to_label(value) for name, value in to_record(labels or {}, "labels").items()}
    rest = rules.pop("*", defaults.label if label is None else to_label(label))
    named = to_audience(audience)
    has_recipients = named is not None and bool(named.recipients)
    highest = max([rest, *rules.values()])
    if highest == clearance == Label.RED and not has_recipients:
        raise FabricError(Code.NO_RECIPIENTS)
    if has_recipients and highest < Label.RED:
        raise FabricError(
            Code.BAD_AUDIENCE, "recipients narrow what is red, and nothing of this is",
            "label it red, or a field of it; or leave the recipients out",
        )
    return Stamp(
        kind, topic, to_severity(severity), to_phase(phase), to_ttl_ms(ttl, kind, defaults), rest,
        tuple(rules.items()), audience=named,
    )


def action_stamp(
    spec: ActionSpec,
    to: str,
    defaults: Defaults,
    *,
    severity: Severity | str = Severity.HIGH,
    ttl: int | str | None = None,
    label: Label | str | None = None,
    require_all: bool = False,
    dry_run: bool = False,
    cancels: str = "",
    seal: bool = False,
) -> Stamp:
    """The stamp of an action to the targets that the selector `to` selects. Raises USAGE, BAD_LABEL or TTL_TOO_LONG."""
    known_to = defaults.label if label is None else to_label(label)
    if seal and known_to is Label.RED:
        raise FabricError(
            Code.USAGE, "the label of what is sealed says who may know of it, and relays on the way have to",
            "label it amber+strict or lower: what it says is red in any case",
        )
    return Stamp(
        Kind.ACTION, spec.topic, to_severity(severity), Phase.NONE, to_ttl_ms(ttl, Kind.ACTION, defaults),
        known_to, to=to,
        correlation=to_leaf(cancels) if cancels else b"",
        terms=Terms(dry_run=bool(dry_run), require_all=bool(require_all)),
        rules=tuple((name, Label.RED) for name in ACTION_FIELDS) if seal else (),
        audience=Audience((), (), (to,)) if seal else None,
    )
