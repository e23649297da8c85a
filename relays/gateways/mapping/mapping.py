"""What each record of a source becomes, from its declaration: a declaration is read once, a record is looked up.

    topic = "detections.{vendor}.{kind}"
    severity = { field = "sev", table = { "1" = "critical", "70..100" = "high", "*" = "low" } }
    labels = { "id.orig_h" = "amber", "*" = "green" }

Guarantees: a declaration is read whole, and every fault of it is named, with its key and what to write instead. `apply`
raises nothing, whatever is in a record. What comes out has every field that came in, but those that are dropped or set;
no field bears less than its label says, under its old name or a new one, and none less than the record says of itself.
Nothing here does I/O or knows the time. What is said of a record names its fields, never what is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from fabric.edge.publishing.options import AUDIENCE_PARTS, PublishOptions, to_audience
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import TTL_MAX_MS
from fabric.protocol.envelope.lifetime import format_duration, parse_duration
from fabric.protocol.vocabulary.severity import Phase, Severity, parse_phase, parse_severity
from fabric.protocol.vocabulary.tlp import Audience, Label, parse_label
from fabric.protocol.vocabulary.topics import kind_of_topic
from relays.gateways.mapping.lookups import Lookup, Missing, read_lookup, word_of
from relays.gateways.mapping.moving import Moves, read_moves
from relays.gateways.mapping.ocsf import read_ocsf
from relays.gateways.mapping.paths import Path, path_of
from relays.gateways.mapping.said import NOTHING_SAID, Preset, Said, raised
from relays.gateways.mapping.times import TimeRule, read_time
from relays.gateways.mapping.topics import Template, TopicRule, read_topic
from relays.gateways.options import Options
from relays.reading.records import fault_of
from relays.wording import LABEL_WRITE, LABELS, closest, shown

# The keys of a declaration that are read here.
KEYS: Final = (
    "topic", "severity", "phase", "ttl", "label", "labels", "audience", "time", "drop", "rename", "set", "preset",
)
_PRESETS: Final[Mapping[str, Preset]] = {"ocsf": read_ocsf}
_SEVERITIES: Final = tuple(severity.name.lower() for severity in Severity)
_SEVERITY_WRITE: Final = f"write one of {', '.join(_SEVERITIES)}"
_PHASE_WRITE: Final = "write e.g. delivery, or TA0011"


class Mapped(NamedTuple):
    """A record as it is published.

    `label` is that of the fields that `labels` does not name; None is the identity's default. `at_ms`: when it
    happened, where the record says it and it is believed. `notes`: what of the record was not understood or not done,
    in words that name fields only.
    """

    topic: str
    content: dict[str, Any]
    severity: Severity
    phase: Phase
    ttl_ms: int | None
    label: Label | None
    labels: Mapping[str, Label]
    at_ms: int | None = None
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    audience: Audience | None = None

    @property
    def options(self) -> PublishOptions:
        """As `publish_later` takes them."""
        said: PublishOptions = {"severity": self.severity, "phase": self.phase, "ttl": self.ttl_ms,
                                "label": self.label, "labels": self.labels}
        if self.audience is not None:
            said["audience"] = self.audience
        return said


class Unfit(NamedTuple):
    """A record that is not published. `field`: of which the mapping found nothing that it can use; or empty."""

    error: FabricError
    field: str = ""


@dataclass(frozen=True)
class RecordMapping:
    """A declaration that was read. `labels`: field to label, as declared, `*` for the rest where it is said. `preset`:
    reads what a record says of itself."""

    topic: TopicRule
    severity: Severity | Lookup[Severity] | None
    phase: Phase | Lookup[Phase] | None
    ttl_ms: int | None
    label: Label | Lookup[Label] | None
    labels: Mapping[str, Label]
    time: TimeRule | None
    moves: Moves
    preset: Preset | None = None
    audience: Audience | None = None  # whom all of it is for, besides the own organisation

    @property
    def patterns(self) -> tuple[str, ...]:
        """Of all topics on which it can publish: what its role has to be granted."""
        return self.topic.patterns

    def on(self, topic: str) -> RecordMapping:
        """The same, on this topic. It is well formed."""
        return replace(self, topic=Template((topic,), ""))

    def label_max(self, default: Label) -> Label:
        """The highest label that a record of this source can bear. `default`: the identity's. Where a record itself can
        say any label it is RED."""
        said: list[Label] = list(self.labels.values())
        if self.preset is not None or isinstance(self.label, Lookup) and self.label.words is None:
            return Label.RED
        if isinstance(self.label, Lookup):
            # A value that no row is for is not understood.
            return max(said + self.label.results + ([Label.RED] if self.label.other is None else []) + [default])
        rest = self.label if self.label is not None else self.labels.get("*", default)
        return max([*said, rest])

    def apply(
        self, record: Mapping[str, Any], *, now_ms: int | None = None, severity: Severity | None = None,
        checked: bool = False,
    ) -> Mapped | Unfit:
        """What this record becomes. It is not changed. `severity`: what the source itself knows of it, where the
        declaration says nothing. `checked`: the record came through `parse_record`."""
        given = record if isinstance(record, dict) else dict(record)
        fault = "" if checked else fault_of(given)
        if fault:
            return Unfit(FabricError(Code.UNMAPPED, fault, "change it where it comes from"))
        said = NOTHING_SAID if self.preset is None else self.preset(given, now_ms)
        given = given if said.record is None else said.record
        topic = self.topic.of(given)
        if isinstance(topic, Path):
            is_there = topic.value(given) is not None
            why = "no topic can be made of it" if is_there else "the topic needs it, and it is not there"
            error = FabricError(Code.UNMAPPED, f"{topic.text}: {why}", "correct topic where the source is declared")
            return Unfit(error, topic.text)
        notes = list(said.notes)
        rest, least = self._rest(given, said, notes)
        moves = self.moves
        if said.labels:
            moves = replace(moves, labels=raised(moves.labels, said.labels, rest or Label.CLEAR))
        moved = moves.of(given)
        notes += [f"{old} keeps its name: there is {new} already" for old, new in moved.kept]
        labels = moved.labels if least is None else {name: max(label, least) for name, label in moved.labels.items()}
        audience = self._audience(said, rest, labels, notes)
        return Mapped(
            topic, moved.content, self._severity(given, said, severity, notes), self._phase(given, said, notes),
            self.ttl_ms, rest, labels, self._at_ms(given, said, now_ms, notes), moved.dropped, moved.renamed,
            tuple(notes), audience,
        )

    def _audience(
        self, said: Said, rest: Label | None, labels: Mapping[str, Label], notes: list[str]
    ) -> Audience | None:
        """Recipients are for what is red: what is known to have nothing of it names none. How far goes what others
        gave us, they have said, and no declaration here widens that."""
        audience = self.audience
        if audience is not None and said.own and (audience.organisations or audience.communities):
            notes.append("it is for the own organisation only, by its own marking")
            audience = replace(audience, organisations=(), communities=()) if audience.recipients else None
        if audience is None or not audience.recipients or rest is None or Label.RED in (rest, *labels.values()):
            return audience
        return replace(audience, recipients=())

    def _severity(
        self, record: dict[str, Any], said: Said, otherwise: Severity | None, notes: list[str]
    ) -> Severity:
        if isinstance(self.severity, Lookup):
            found = self.severity.of(record)
            if not isinstance(found, Missing):
                return found
            if found is Missing.UNKNOWN:
                notes.append(f"severity is unknown: {self.severity.path.text}: {found.value}")
                return Severity.UNKNOWN
        elif self.severity is not None:
            return self.severity
        known = said.severity if said.severity is not None else otherwise
        return Severity.INFORMATIONAL if known is None else known

    def _phase(self, record: dict[str, Any], said: Said, notes: list[str]) -> Phase:
        if isinstance(self.phase, Lookup):
            found = self.phase.of(record)
            if not isinstance(found, Missing):
                return found
            if found is Missing.UNKNOWN:
                notes.append(f"no phase is known: {self.phase.path.text}: {found.value}")
        elif self.phase is not None:
            return self.phase
        return said.phase or Phase.NONE

    def _rest(self, record: dict[str, Any], said: Said, notes: list[str]) -> tuple[Label | None, Label | None]:
        """The label of the fields that have none of their own, and the least that each field bears. What the record
        says of itself lowers none of them."""
        least = said.label
        if isinstance(self.label, Lookup):
            found = self.label.of(record)
            if found is Missing.UNKNOWN:
                notes.append(f"it is labelled red: {self.label.path.text}: {found.value}")
                found = Label.RED
            if isinstance(found, Label):
                least = found if least is None else max(found, least)
            rest = self.labels.get("*")
        else:
            rest = self.label if self.label is not None else self.labels.get("*")
        if least is None:
            return rest, None
        return (least if rest is None else max(rest, least)), least

    def _at_ms(self, record: dict[str, Any], said: Said, now_ms: int | None, notes: list[str]) -> int | None:
        at = said.at if self.time is None else self.time.of(record, now_ms)
        if isinstance(at, str):
            notes.append(f"{'time' if self.time is None else self.time.path.text}: not believed, {at}")
            return None
        return at


def read_mapping(options: Options, preset: Preset | None = None) -> RecordMapping:
    """What is declared; whether it may be used, `options.faults` says. `preset`: that of the kind itself."""
    if options.has("preset"):
        if preset is not None:
            options.wrong("preset", "this kind reads what its records say of themselves", "leave it out")
        preset = _PRESETS.get(options.choice("preset", tuple(_PRESETS), ""), preset)
    topic = read_topic(options)
    labels = _read_labels(options)
    named = {name: each for name, each in labels.items() if name != "*"}
    label = _read_value(options, "label", _label_of, "a TLP label", LABEL_WRITE, LABELS, Code.BAD_LABEL)
    if isinstance(label, Lookup):  # what says that it is a label, and is none that anybody knows, is RED
        label = replace(label, default_if_unknown=False)
    if isinstance(label, Label) and "*" in labels:
        options.wrong("label", "labels has '*' for the rest already", "leave one of them out")
    audience = _read_audience(options)
    if audience is not None and audience.recipients and label is None and "*" not in labels:
        options.wrong("audience.recipients", "they are for what is red, and what is not labelled may be",
                      "say what the rest bears: label = ..., or '*' in labels", Code.BAD_AUDIENCE)
    return RecordMapping(
        topic,
        _read_value(options, "severity", _severity_of, "a severity", _SEVERITY_WRITE, _SEVERITIES),
        _read_value(options, "phase", _phase_of, "a kill chain phase", _PHASE_WRITE, ()),
        _read_ttl(options, topic), label, labels, read_time(options), read_moves(options, named), preset,
        audience,
    )


def _read_audience(options: Options) -> Audience | None:
    said = options.table("audience")
    faults = len(options.faults)
    for part, names in said.items():
        key = f"audience.{part}"
        if part not in AUDIENCE_PARTS:
            options.wrong(key, f"there is no key '{part}' here",
                          f"write one of {', '.join(AUDIENCE_PARTS)}{closest(part, AUDIENCE_PARTS)}", Code.BAD_AUDIENCE)
            continue
        try:
            to_audience({part: names})
        except FabricError as error:
            options.wrong(key, error.detail, f'write audience = {{ {part} = ["..."] }}, {error.next_step}', error.code)
    return to_audience(said) if len(options.faults) == faults else None


def _read_value(
    options: Options, key: str, read: Any, what: str, write: str, known: tuple[str, ...],
    code: Code = Code.TOPOLOGY_INVALID,
) -> Any:
    """One for all records, or what a field says."""
    value = options.value(key)
    if value is None:
        return None
    if isinstance(value, Mapping):
        return read_lookup(options, key, read, what, write, code=code)
    found = read(value)
    if found is None:
        options.wrong(key, f"{shown(value)} is not {what}", f"{write}{closest(value, known)}", code)
    return found


def _severity_of(value: Any) -> Severity | None:
    word = None if isinstance(value, bool) else word_of(value)
    return None if word is None else parse_severity(word)


def _phase_of(value: Any) -> Phase | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return Phase(value) if 0 <= value <= max(Phase) else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 1:
        return _phase_of(int(value))
    return parse_phase(value) if isinstance(value, str) else None


def _label_of(value: Any) -> Label | None:
    return parse_label(value) if isinstance(value, str) else None


def _read_labels(options: Options) -> dict[str, Label]:
    labels = {}
    for name, value in options.table("labels").items():
        key = f"labels.{name}"
        label = _label_of(value)
        if isinstance(value, Mapping):
            inner = next(iter(value), "...")
            options.wrong(key, "a table stands where a label belongs: TOML splits keys at dots",
                          f'quote the whole key: "{name}.{inner}" = "amber"')
        elif label is None:
            write = f"{LABEL_WRITE}{closest(value, LABELS)}"
            options.wrong(key, f"{shown(value)} is not a TLP label", write, Code.BAD_LABEL)
        elif name != "*" and path_of(name) is None:
            options.wrong(key, f"{shown(name)} is no field's name", 'write e.g. "id.orig_h": keys, joined by dots')
        else:
            labels[name] = label
    return labels


def _read_ttl(options: Options, topic: TopicRule) -> int | None:
    value = options.value("ttl")
    if value is None:
        return None
    try:
        ttl_ms = parse_duration(value) if isinstance(value, str) else 0
    except FabricError:
        ttl_ms = 0
    most = min(TTL_MAX_MS[kind_of_topic(pattern)] for pattern in topic.patterns)
    if ttl_ms <= 0:
        options.wrong("ttl", f"{shown(value)} is not a duration", 'write it like "30s", "10m", "24h" or "7d"')
    elif ttl_ms > most:
        options.wrong("ttl", f"{format_duration(ttl_ms)} is longer than any message on its topic lives",
                      f'write at most "{format_duration(most)}"', Code.TTL_TOO_LONG)
    return ttl_ms
