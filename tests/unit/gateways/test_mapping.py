"""What a record becomes: severity, phase, label, and what a declaration may not say."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.gateways.mapping import KEYS, Unfit
from tests.unit.gateways.mapping_support import declared, mapped, read

SEVERITY = 'severity = { field = "sev", table = { "1" = "critical", "70..100" = "high", "Odd" = 2, "*" = "medium" } }'


@pytest.mark.parametrize(("value", "severity"), [
    (1, Severity.CRITICAL), ("1", Severity.CRITICAL), (1.0, Severity.CRITICAL), (70, Severity.HIGH),
    ("99.5", Severity.HIGH), (100.1, Severity.MEDIUM), ("odd", Severity.LOW), (" ODD ", Severity.LOW),
    (True, Severity.MEDIUM), ([1], Severity.MEDIUM), ({}, Severity.MEDIUM), ("x" * 9_999, Severity.MEDIUM),
    (2**63, Severity.MEDIUM),
])
def test_a_table_decides_by_word_then_by_range_then_by_its_star(value, severity):
    assert mapped(SEVERITY, {"sev": value}).severity is severity


def test_a_field_without_a_table_says_it_itself():
    toml = 'severity = { field = "sev" }\nphase = { field = "tactic" }'
    found = mapped(toml, {"sev": "High", "tactic": "TA0011"})
    assert (found.severity, found.phase, found.notes) == (Severity.HIGH, Phase.COMMAND_AND_CONTROL, ())
    found = mapped(toml, {"sev": "loud", "tactic": "no such"})
    assert (found.severity, found.phase) == (Severity.UNKNOWN, Phase.NONE)
    assert [note.split(":")[0] for note in found.notes] == ["severity is unknown", "no phase is known"]
    assert "loud" not in str(found.notes)
    assert mapped(toml, {}).severity is Severity.INFORMATIONAL


def test_what_the_source_knows_counts_where_the_declaration_says_nothing():
    assert mapped("", {}, severity=Severity.HIGH).severity is Severity.HIGH
    assert mapped('severity = "low"', {}, severity=Severity.HIGH).severity is Severity.LOW
    assert mapped('severity = { field = "sev" }', {}, severity=Severity.HIGH).severity is Severity.HIGH
    toml = 'severity = { field = "sev", default = "medium" }'
    assert mapped(toml, {"sev": "?"}, severity=Severity.HIGH).severity is Severity.MEDIUM


LABEL = 'label = { field = "tlp", default = "green" }\nlabels = { src = "amber", note = "clear" }'


@pytest.mark.parametrize(("record", "rest", "src", "note"), [
    ({"tlp": "TLP:CLEAR"}, Label.CLEAR, Label.AMBER, Label.CLEAR),
    ({"tlp": "red"}, Label.RED, Label.RED, Label.RED),
    ({"tlp": "purple"}, Label.RED, Label.RED, Label.RED),
    ({"tlp": ["green"]}, Label.RED, Label.RED, Label.RED),
    ({}, Label.GREEN, Label.AMBER, Label.GREEN),
])
def test_a_label_of_the_record_itself_lowers_none_that_is_declared(record, rest, src, note):
    found = mapped(LABEL, record)
    assert (found.label, dict(found.labels)) == (rest, {"src": src, "note": note})


def test_without_a_word_of_labels_the_identity_s_default_is_taken():
    assert mapped("", {"a": 1}).label is None
    assert mapped('labels = { "*" = "green", a = "amber" }', {"a": 1}).label is Label.GREEN
    assert mapped('label = "clear"', {"a": 1}).options["label"] is Label.CLEAR


@pytest.mark.parametrize(("toml", "most"), [
    ("", Label.AMBER), ('label = "green"', Label.GREEN), ('label = "green"\nlabels = { a = "red" }', Label.RED),
    ('labels = { "*" = "green" }', Label.GREEN), ('label = { field = "tlp" }', Label.RED),
    ('preset = "ocsf"', Label.RED),
    ('label = { field = "c", table = { a = "green", "*" = "amber+strict" } }', Label.AMBER_STRICT),
    ('label = { field = "c", table = { a = "green" } }', Label.RED),
])
def test_the_highest_label_that_a_source_can_give(toml, most):
    assert declared(toml).label_max(Label.AMBER) is most


def test_a_record_that_no_message_can_hold_does_not_fit():
    mapping = declared('label = "green"')
    deep: dict = {}
    for _ in range(64):
        deep = {"a": deep}
    for ugly in (deep, {"n": float("nan")}, {"s": "\ud800"}, {"\ud800": 1}, {"n": 2**64}, {1: 2}, {"o": object()},
                 {"s": {1, 2}}):
        found = mapping.apply(ugly)
        assert isinstance(found, Unfit) and found.error.code is Code.UNMAPPED
        assert found.error.detail.isprintable()


def test_nothing_of_a_record_is_said():
    found = declared('topic = "detections.{kind}"').apply({"kind": "///secret///" * 20})
    assert isinstance(found, Unfit) and found.field == "kind" and "secret" not in str(found.error)


@pytest.mark.parametrize(("toml", "key"), [
    ('topic = "a..b"', "topic"), ('topic = "detections.>"', "topic"), ('topic = "{kind}.x"', "topic"),
    ('topic = "x-{kind}.x"', "topic"), ('topic = "a.{}"', "topic"), ('topic = "resolutions.x"', "topic"),
    ('topic = { template = "a.{b}", default = "a.*" }', "topic.default"), ('topic = { field = "k" }', "topic.table"),
    ('topic = { field = "k", table = { a = "x.>" } }', "topic.table.a"),
    ('topic = { templat = "a.b" }', "topic.templat"),
    ('severity = "hihg"', "severity"), ('severity = { field = "s", table = { a = "loud" } }', "severity.table.a"),
    ('severity = { table = { a = "low" } }', "severity.field"),
    ('severity = { field = "s", defualt = 1 }', "severity.defualt"),
    ('severity = { field = "s", table = { "5..1" = "low" } }', "severity.table.5..1"),
    ('severity = { field = "s", table = { "1..5" = "low", "5..9" = "high" } }', "severity.table.5..9"),
    ('severity = { field = "s", table = { a = "low", A = "high" } }', "severity.table.A"),
    ('severity = { field = "s", table = {} }', "severity.table"), ('phase = "x"', "phase"),
    ('phase = { field = "" }', "phase.field"), ('label = "purple"', "label"),
    ('label = "red"\nlabels = { "*" = "green" }', "label"), ('labels = { id.orig_h = "amber" }', "labels.id"),
    ('labels = { a = "ambre" }', "labels.a"), ('labels = { "a..b" = "amber" }', "labels.a..b"),
    ('time = { field = "t", unit = "m" }', "time.unit"), ('time = ""', "time"), ('time = { fld = "t" }', "time.fld"),
    ('ttl = "soon"', "ttl"), ('ttl = "400d"', "ttl"), ('drop = "a..b"', "drop"), ("drop = [1]", "drop"),
    ('rename = { a = "a" }', "rename.a"), ('rename = { "a.b" = "a" }', "rename.a.b"),
    ('rename = { a = "c", b = "c" }', "rename.b"), ('rename = { a = "b", b = "c" }', "rename.a"),
    ('rename = { a = "b" }\nlabels = { b = "red" }', "labels.b"),
    ('rename = { a = "b.c" }\nlabels = { b = "red" }', "labels.b"),
    ('rename = { a = "b" }\nset = { b = 1 }', "set.b"), ("set = { a = [1] }", "set.a"), ("set = { a = inf }", "set.a"),
    ('set = { "a..b" = 1 }', "set.a..b"), ('preset = "cef"', "preset"), ('drop = "a"\nset = 1', "set"),
])
def test_each_fault_of_a_declaration_has_its_key_and_what_to_write(toml, key):
    _, faults = read(toml)
    assert key in [fault.key for fault in faults], faults
    assert all(fault.write and fault.cause for fault in faults)
    assert key.split(".")[0] in KEYS


def test_all_faults_come_at_once():
    _, faults = read('topic = "a..b"\nseverity = "x"\nlabel = "y"\nttl = "z"\ndrop = [""]')
    assert [fault.key for fault in faults] == ["topic", "label", "severity", "ttl", "drop"]


def test_whom_the_records_are_for_is_said_with_each():
    found = mapped('audience = { organisations = ["msp"], communities = ["isac"] }', {"a": 1})
    assert found.audience == found.options["audience"] == Audience(("msp",), ("isac",))
    assert "audience" not in mapped("", {"a": 1}).options


RECIPIENTS = 'audience = { organisations = ["msp"], recipients = ["lead-1"] }\n'


@pytest.mark.parametrize(("toml", "record", "named"), [
    ('label = "red"', {"a": 1}, True), ('labels = { a = "red", "*" = "green" }', {"a": 1}, True),
    ('label = "amber"', {"a": 1}, False),
    ('label = { field = "tlp" }\nlabels = { "*" = "green" }', {"tlp": "red"}, True),
    ('label = { field = "tlp" }\nlabels = { "*" = "green" }', {"tlp": "amber"}, False),
    ('label = { field = "tlp" }\nlabels = { "*" = "green" }', {"tlp": "?"}, True),
    ('label = { field = "tlp" }', {}, True),  # the default of the identity may be red: nobody else is to have that
])
def test_recipients_are_named_where_something_is_red_or_may_be(toml, record, named):
    audience = mapped(RECIPIENTS + toml, record).audience
    assert audience == Audience(("msp",), (), ("lead-1",) if named else ())


@pytest.mark.parametrize(("toml", "key"), [
    ('audience = { organisation = ["msp"] }', "audience.organisation"), ("audience = 7", "audience"),
    ('audience = { communities = ["I SAC"] }', "audience.communities"), (RECIPIENTS, "audience.recipients"),
])
def test_an_audience_that_cannot_be_is_named_with_its_key(toml, key):
    _, faults = read(toml)
    assert [fault.key for fault in faults] == [key]
