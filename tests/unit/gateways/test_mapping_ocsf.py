"""Records in OCSF say severity, phase, label and time themselves."""

import pytest

from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.unit.gateways.mapping_support import mapped

FINDING = {
    "class_uid": 2004, "severity_id": 5, "time": 1_773_144_000_000,
    "finding_info": {"kill_chain": [{"phase_id": 1}, {"phase_id": 6, "phase": "Command & Control"}]},
    "osint": [{"tlp": "GREEN"}, {"tlp": "AMBER STRICT"}, {"value": "203.0.113.9"}],
}


def test_a_finding_says_it_all():
    found = mapped('preset = "ocsf"\nlabels = { osint = "green", raw_data = "red" }', FINDING)
    assert (found.severity, found.phase, found.at_ms) == (Severity.CRITICAL, Phase.COMMAND_AND_CONTROL, FINDING["time"])
    assert found.label is Label.AMBER_STRICT
    assert dict(found.labels) == {"osint": Label.AMBER_STRICT, "raw_data": Label.RED}
    assert found.content == FINDING


def test_tactics_stand_in_for_phases():
    attacks = [{"tactic": {"uid": "TA0043"}}, {"tactics": [{"name": "Exfiltration"}, {"uid": 7}]}, "x"]
    assert mapped('preset = "ocsf"', {"attacks": attacks}).phase is Phase.ACTIONS_ON_OBJECTIVES


def test_what_is_declared_goes_before():
    found = mapped('preset = "ocsf"\nseverity = "low"\nphase = "delivery"\nlabel = "green"', FINDING)
    assert (found.severity, found.phase) == (Severity.LOW, Phase.DELIVERY)
    assert found.label is Label.AMBER_STRICT, "no declaration lowers what a record says of itself"


@pytest.mark.parametrize("record", [
    {}, {"severity_id": 99}, {"severity_id": "x", "osint": 7},
    {"osint": [[{"tlp": "red"}]], "kill_chain": {"phase_id": 99}},
    {"finding_info": [1], "attacks": {"tactic": []}, "time": "no"},
])
def test_what_is_not_as_ocsf_has_it_is_not_there(record):
    found = mapped('preset = "ocsf"', record)
    assert found.phase is Phase.NONE and found.label is None and found.at_ms is None
    assert found.severity in (Severity.INFORMATIONAL, Severity.UNKNOWN)


def test_a_label_that_nobody_knows_is_red():
    assert mapped('preset = "ocsf"', {"osint": {"tlp": "ULTRA"}}).label is Label.RED
    assert mapped('preset = "ocsf"', {"osint": {"tlp": 3}}).label is Label.RED
