"""From objects of STIX to what is published: kinds and topics, values, severities, and labels over all that follows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.gateways.mapping import Mapped, Unfit, read_mapping
from relays.gateways.options import Options
from relays.gateways.stix.markings import DEFINITION, Markings
from relays.gateways.stix.reading import read_object, read_stix
from relays.gateways.stix.settings import StixSettings, read_settings
from tests.unit.gateways import stix_support as support
from tests.unit.gateways.stix_support import NOW_MS
from tests.unit.gateways.test_stix_markings import AMBER, GREEN, OWN, RED, definition, granular

ID = "8f9c2b1e-6d0b-4a3d-9c5e-1a2b3c4d5e6f"
INDICATOR = {
    "type": "indicator", "spec_version": "2.1", "id": f"indicator--{ID}", "created": "2026-01-01T00:00:00.000Z",
    "modified": "2026-01-02T00:00:00.000Z", "pattern": "[ipv4-addr:value = '198.51.100.7']", "pattern_type": "stix",
    "valid_from": "2026-01-01T00:00:00Z", "name": "C2",
}
C2 = [{"kill_chain_name": "lockheed-martin-cyber-kill-chain", "phase_name": "command-and-control"}]


def published(each, *definitions, **more):
    """What becomes of an object."""
    (mapped,) = support.published([each], definitions, **more)
    return mapped


def test_an_indicator_keeps_all_that_it_has_and_says_what_can_be_blocked():
    mapped = published(INDICATOR)
    assert mapped.topic == "intel.ipv4.feed"
    assert mapped.content == {**INDICATOR, "fabric": {"kind": "ipv4", "values": {"ipv4": ["198.51.100.7"]}}}
    assert (mapped.label, mapped.labels, mapped.at_ms) == (None, {}, 1_767_312_000_000)


@pytest.mark.parametrize(("type_", "pattern", "topic"), [
    ("indicator", "[url:value = 'http://x.example/']", "intel.url.feed"), ("malware", None, "intel.malware.feed"),
    ("indicator", "[process:name = 'x']", "intel.indicator.feed"), ("x-acme-thing", None, "intel.x-acme-thing.feed"),
    ("ipv4-addr", None, "intel.ipv4-addr.feed"), ("url", None, "intel.observed-data.feed"),
    ("marking-definition", None, "intel.marking-definition.feed"),
])
def test_topics_are_what_something_is_about(type_, pattern, topic):
    each = {"type": type_, "id": f"{type_}--{ID}", **({"pattern": pattern} if pattern else {})}
    assert published(each).topic == topic


@pytest.mark.parametrize(("more", "why"), [
    ({"revoked": True}, "revoked"), ({"revoked": "no"}, "revoked"),
    ({"indicator_types": ["benign"]}, "benign"), ({"labels": ["x", "benign"]}, "benign"),
    ({"valid_until": "2026-02-01T00:00:00Z"}, "valid no more"),
    ({"valid_until": "soon"}, "valid no more"), ({"pattern_type": "snort"}, "none of STIX"),
    ({"pattern": 5}, "none of STIX"),
    ({"pattern": "[ipv4-addr:value LIKE '198.%']"}, "says more"),
])
def test_values_are_only_of_what_is_to_be_blocked_now(more, why):
    mapped = published({**INDICATOR, **more})
    assert "values" not in mapped.content["fabric"]
    assert why in mapped.notes[0]
    assert "values" in published({**INDICATOR, "valid_until": "2036-02-01T00:00:00Z",
        "revoked": False}).content["fabric"]


@pytest.mark.parametrize(("more", "severity", "phase"), [
    ({}, Severity.LOW, Phase.NONE), ({"confidence": 15}, Severity.LOW, Phase.NONE),
    ({"confidence": 30}, Severity.MEDIUM, Phase.NONE),
    ({"confidence": 100}, Severity.MEDIUM, Phase.NONE), ({"confidence": 70, "kill_chain_phases": C2}, Severity.HIGH,
     Phase.COMMAND_AND_CONTROL),
    ({"kill_chain_phases": C2}, Severity.MEDIUM, Phase.COMMAND_AND_CONTROL),
    ({"confidence": 900}, Severity.LOW, Phase.NONE),
    ({"confidence": True}, Severity.LOW, Phase.NONE), ({"kill_chain_phases": [*C2, None,
     {"kill_chain_name": [], "phase_name": 5}]},
     Severity.MEDIUM, Phase.COMMAND_AND_CONTROL),
    ({"kill_chain_phases": [{"kill_chain_name": "mitre-attack", "phase_name": "initial-access"}]}, Severity.LOW,
     Phase.DELIVERY),
    ({"kill_chain_phases": [{"kill_chain_name": "ours", "phase_name": "delivery"}]}, Severity.LOW, Phase.NONE),
])
def test_severity_and_phase(more, severity, phase):
    mapped = published({**INDICATOR, **more})
    assert (mapped.severity, mapped.phase) == (severity, phase)
    malware = published({**INDICATOR, "type": "malware", "id": f"malware--{ID}", **more})
    assert (malware.severity, malware.phase) == (Severity.INFORMATIONAL, phase)
    assert published({**INDICATOR, **more}, toml={"severity": "critical"}).severity is Severity.CRITICAL


def test_labels_of_markings_and_of_the_declaration():
    marked = {**INDICATOR, "object_marking_refs": [GREEN], "granular_markings": granular(description=RED)}
    mapped = published(marked)
    assert (mapped.label, mapped.labels) == (Label.GREEN, {"description": Label.RED, "granular_markings": Label.RED})
    mapped = published(marked, toml={"label": "amber"})
    assert (mapped.label, mapped.labels["description"]) == (Label.AMBER, Label.RED)
    mapped = published(marked, toml={"labels": {"name": "amber", "description": "green"},
        "rename": {"description": "text"}})
    assert mapped.labels["name"] is Label.AMBER
    assert published(INDICATOR, settings=StixSettings(unmarked=Label.CLEAR)).label is Label.CLEAR
    assert published(marked, settings=StixSettings(unmarked=Label.CLEAR)).label is Label.GREEN


@pytest.mark.parametrize(("marked", "passed_on"), [
    ({"object_marking_refs": [GREEN]}, True), ({}, True), ({"object_marking_refs": [AMBER]}, False),
    ({"object_marking_refs": [GREEN], "granular_markings": granular(description=AMBER)}, False),
    ({"object_marking_refs": ["marking-definition--" + ID]}, False),
])
def test_what_was_given_to_us_above_green_no_declaration_passes_on(marked, passed_on):
    toml = {"audience": {"organisations": ["guard"], "communities": ["isac"]}, "label": "amber"}
    found = published({**INDICATOR, **marked}, toml=toml)
    assert found.audience == (Audience(("guard",), ("isac",)) if passed_on else None)
    assert "own" not in found.content["fabric"]


def test_of_what_is_red_by_its_marking_recipients_stay():
    toml = {"audience": {"organisations": ["guard"], "recipients": ["lead-1"]}, "label": "amber"}
    found = published({**INDICATOR, "object_marking_refs": [RED]}, toml=toml)
    assert found.audience == Audience((), (), ("lead-1",)), "in the own organisation"


def test_a_field_that_is_renamed_takes_the_label_of_its_marking_along():
    each = {**INDICATOR, "description": "secret", "object_marking_refs": [GREEN],
        "granular_markings": granular(description=RED)}
    mapped = published(each, toml={"rename": {"description": "text"}})
    assert mapped.content["text"] == "secret"
    assert mapped.labels["text"] is Label.RED


def test_a_marking_that_nobody_knows_is_red_and_that_is_said():
    mapped = published({**INDICATOR, "object_marking_refs": [OWN]})
    assert (mapped.label, mapped.notes) == (Label.RED, ("it is labelled red: a marking that nobody knows",))
    tlp = definition(definition_type="tlp", definition={"tlp": "green"})
    assert published({**INDICATOR, "object_marking_refs": [OWN]}, tlp).label is Label.GREEN


@pytest.mark.parametrize("field", ["pattern", "valid_until", "revoked", "pattern_type", "indicator_types"])
def test_nothing_that_follows_from_a_field_is_below_it(field):
    each = {**INDICATOR, "object_marking_refs": [GREEN], "granular_markings": granular(**{field: AMBER})}
    mapped = published(each)
    assert mapped.topic == "intel.indicator.feed"
    assert mapped.labels["fabric.values"] is Label.AMBER
    low = FieldLabels(mapped.labels, Label.GREEN).split(mapped.content)[Label.GREEN]
    assert low["fabric"] == {"kind": "indicator"}


@pytest.mark.parametrize("field", ["confidence", "kill_chain_phases", "kill_chain_phases.[0].phase_name"])
def test_severity_and_phase_tell_nothing_of_what_is_withheld(field):
    each = {**INDICATOR, "confidence": 100, "kill_chain_phases": C2, "granular_markings": granular(**{field: AMBER})}
    assert (published(each).severity, published(each).phase) == (Severity.LOW, Phase.NONE)


def test_a_record_that_was_not_read_as_stix_is_red():
    options = Options({"topic": "intel.{fabric.kind}.feed"})
    mapping = read_mapping(options, read_stix)
    for fabric in (None, {"label": "ultra"}, 5):
        mapped = mapping.apply({**INDICATOR, **({"fabric": fabric} if fabric else {})}, now_ms=NOW_MS)
        assert isinstance(mapped, Mapped) and mapped.label is Label.RED
    assert mapping.label_max(Label.GREEN) is Label.RED
    assert published({**INDICATOR, "fabric": {"label": "clear", "values": {"ipv4": ["10.0.0.1"]}},
        "object_marking_refs": [AMBER]}).label is Label.AMBER


@pytest.mark.parametrize("each", [
    None, 5, [], {}, {"type": "indicator"}, {"type": "indicator", "id": "x"},
    {"type": "malware", "id": INDICATOR["id"]},
    {"type": "Indicator", "id": f"Indicator--{ID}"}, {"type": 5, "id": INDICATOR["id"]},
    {"type": "a" * 70, "id": f"{'a' * 70}--{ID}"},
    {"type": "bundle", "id": f"bundle--{ID}", "objects": []}, {"type": "indicator", "id": f"indicator--{ID} "},
])
def test_what_is_no_object_of_stix_is_refused(each):
    error = read_object(each, Markings({}), StixSettings())
    assert isinstance(error, FabricError) and error.code is Code.BAD_INPUT and error.next_step


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 200) | st.text(max_size=6) | st.sampled_from([AMBER, RED, OWN, "name",
        "pattern", "a.b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["selectors", "marking_ref", "lang", "definition", "tlp", "kill_chain_name", "phase_name", "a", "a.b"]), inner,
        max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([
    *INDICATOR, "object_marking_refs", "granular_markings", "confidence", "kill_chain_phases", "revoked", "valid_until",
    "definition_type", "definition", "extensions", "fabric",
]), _VALUES, max_size=6))
def test_whatever_is_in_an_object_it_is_published_or_refused(fields):
    each = {**INDICATOR, **fields}
    markings = Markings({})
    markings.learn([each, {**each, "type": DEFINITION}])
    record = read_object(each, markings, StixSettings())
    if isinstance(record, FabricError):
        return
    mapped = read_mapping(Options({"topic": "intel.{fabric.kind}.feed"}), read_stix).apply(record, now_ms=NOW_MS)
    if not isinstance(mapped, Unfit):
        assert {name: value for name, value in mapped.content.items() if name != "fabric"} == {
            name: value for name, value in each.items() if name != "fabric"}
        assert all(label > (mapped.label or Label.CLEAR) for label in mapped.labels.values())


def test_settings_are_read_strictly():
    options = Options({"unmarked": "green", "markings": {OWN: "amber", f"{DEFINITION}--x": "none"}})
    assert read_settings(options) == (Label.GREEN, {OWN: Label.AMBER, f"{DEFINITION}--x": None})
    options = Options({"unmarked": "gren", "markings": {RED: "green", "x": "green", OWN: 5}})
    read_settings(options)
    assert [fault.key for fault in options.faults] == ["unmarked", f"markings.{RED}", "markings.x", f"markings.{OWN}"]
    assert "green" in options.faults[0].write


def test_a_marking_of_what_all_see_raises_the_object_and_never_lowers_it():
    each = {**INDICATOR, "granular_markings": granular(type=GREEN)}
    assert published(each).label is Label.RED, "nobody knows whether the identity's default is higher"
    assert published(each, settings=StixSettings(unmarked=Label.AMBER)).label is Label.AMBER
    assert published({**each, "object_marking_refs": [definition()["id"]]}).label is Label.RED
    assert published({**each, "object_marking_refs": [AMBER]}).label is Label.AMBER
    assert published({**each, "object_marking_refs": [GREEN],
        "granular_markings": granular(type=RED)}).label is Label.RED
