"""Objects of STIX, what is published of them, and what a reader with a clearance gets of that."""

from itertools import count

from fabric.edge.messages import Message
from fabric.protocol.envelope.field_labels import FieldLabels, label_fields, merge
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.mapping import Mapped, read_mapping
from relays.gateways.options import Options
from relays.gateways.stix.markings import Markings
from relays.gateways.stix.reading import read_objects, read_stix
from relays.gateways.stix.settings import StixSettings

NOW_MS = 1_780_000_000_000
_NUMBERS = count(1)


def id_of(type_, number):
    return f"{type_}--00000000-0000-4000-8000-{number:012}"


def sdo(type_, number, **more):
    return {"type": type_, "spec_version": "2.1", "id": id_of(type_, number), "created": "2026-01-01T00:00:00.000Z",
            "modified": "2026-01-02T00:00:00.000Z", **more}


def indicator(number, pattern, **more):
    return sdo("indicator", number, pattern=pattern, pattern_type="stix", valid_from="2026-01-01T00:00:00Z", **more)


def published(objects, definitions=(), toml=None, settings=None, now_ms=NOW_MS):
    """What becomes of each."""
    markings = Markings({})
    markings.learn([*definitions, *objects])
    options = Options({"topic": "intel.{fabric.kind}.feed", **(toml or {})})
    mapping = read_mapping(options, read_stix)
    assert not options.faults
    found = []
    for record in read_objects(objects, markings, settings or StixSettings()):
        assert isinstance(record, dict), record
        mapped = mapping.apply(record, now_ms=now_ms)
        assert isinstance(mapped, Mapped), mapped
        found.append(mapped)
    return found


def seen(mapped, clearance=Label.RED, default=Label.GREEN, origin="feed-1"):
    """The message as it comes to a reader with this clearance; None where it does not."""
    rest = default if mapped.label is None else mapped.label
    if rest > clearance:
        return None
    content, labels, withheld = {}, {}, {}
    for label, piece in FieldLabels(mapped.labels, rest).split(mapped.content).items():
        if label > clearance:
            withheld[label] = 1
        else:
            merge(content, piece)
            label_fields(piece, label, labels)
    return Message(
        f"{next(_NUMBERS):032x}.0", mapped.topic, "intel", origin, mapped.severity, mapped.phase, rest, NOW_MS, 1000, 0,
        ("hq",), content, labels, withheld,
    )
