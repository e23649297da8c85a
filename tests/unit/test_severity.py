import pytest

from fabric.protocol.vocabulary.severity import (
    Lane,
    Phase,
    Severity,
    lane_of,
    parse_phase,
    parse_severity,
    phase_from_wire,
    severity_from_wire,
)


@pytest.mark.parametrize("n", [99, 7, -1, None, "critical", 5.0, True, 2**64])
def test_other_and_unknown_severities_never_sort_high(n):
    assert severity_from_wire(n) is Severity.UNKNOWN


@pytest.mark.parametrize("n", [8, -1, 99, None, "c2", True])
def test_unknown_phases_are_none(n):
    assert phase_from_wire(n) is Phase.NONE


def test_known_numbers_are_read():
    assert [severity_from_wire(n) for n in range(7)] == list(Severity)
    assert [phase_from_wire(n) for n in range(8)] == list(Phase)


@pytest.mark.parametrize(
    ("text", "severity"),
    [("HIGH", 4), ("info", 1), ("Informational", 1), (" fatal ", 6), ("other", 0), ("hihg", None)],
)
def test_severity_names_are_read(text, severity):
    assert parse_severity(text) == severity


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("command-and-control", Phase.COMMAND_AND_CONTROL),
        ("Command & Control", Phase.COMMAND_AND_CONTROL),
        ("COMMAND_AND_CONTROL", Phase.COMMAND_AND_CONTROL),
        ("c2", Phase.COMMAND_AND_CONTROL),
        ("C&C", Phase.COMMAND_AND_CONTROL),
        ("actions on objectives", Phase.ACTIONS_ON_OBJECTIVES),
        ("none", Phase.NONE),
        ("TA0043", Phase.RECONNAISSANCE),
        ("ta0011", Phase.COMMAND_AND_CONTROL),
        ("TA0040", Phase.ACTIONS_ON_OBJECTIVES),
        ("TA0112", Phase.INSTALLATION),
        ("TA0107", Phase.ACTIONS_ON_OBJECTIVES),
        ("lateral-movement", Phase.ACTIONS_ON_OBJECTIVES),
        ("TA9999", None),
        ("", None),
        ("c2" * 99, None),
    ],
)
def test_phases_and_tactics_are_read(text, phase):
    assert parse_phase(text) is phase


@pytest.mark.parametrize(
    ("kind", "severity", "phase", "lane"),
    [
        ("control", Severity.UNKNOWN, Phase.NONE, Lane.URGENT),
        ("event", Severity.FATAL, Phase.ACTIONS_ON_OBJECTIVES, Lane.CRITICAL),
        ("event", Severity.CRITICAL, Phase.NONE, Lane.CRITICAL),
        ("event", Severity.HIGH, Phase.NONE, Lane.HIGH),
        ("event", Severity.HIGH, Phase.INSTALLATION, Lane.HIGH),
        ("event", Severity.HIGH, Phase.COMMAND_AND_CONTROL, Lane.CRITICAL),
        ("event", Severity.MEDIUM, Phase.NONE, Lane.MEDIUM),
        ("event", Severity.LOW, Phase.COMMAND_AND_CONTROL, Lane.MEDIUM),
        ("event", Severity.INFORMATIONAL, Phase.ACTIONS_ON_OBJECTIVES, Lane.LOW),
        ("event", Severity.UNKNOWN, Phase.NONE, Lane.LOW),
        ("intel", Severity.MEDIUM, Phase.NONE, Lane.MEDIUM),
        ("result", Severity.CRITICAL, Phase.NONE, Lane.CRITICAL),
        ("action", Severity.FATAL, Phase.NONE, Lane.URGENT),
        ("action", Severity.CRITICAL, Phase.NONE, Lane.URGENT),
        ("approval", Severity.CRITICAL, Phase.NONE, Lane.URGENT),
        ("action", Severity.HIGH, Phase.NONE, Lane.CRITICAL),
        ("action", Severity.HIGH, Phase.ACTIONS_ON_OBJECTIVES, Lane.URGENT),
        ("approval", Severity.MEDIUM, Phase.NONE, Lane.HIGH),
        ("action", Severity.UNKNOWN, Phase.NONE, Lane.LOW),
    ],
)
def test_the_lane_follows_from_kind_severity_and_phase(kind, severity, phase, lane):
    assert lane_of(kind, severity, phase) is lane


def test_only_control_and_critical_actions_are_urgent_and_more_is_never_later():
    for phase in Phase:
        for kind in ("event", "intel", "result", "action", "approval"):
            lanes = [lane_of(kind, severity, phase) for severity in Severity]
            assert lanes == sorted(lanes, reverse=True)
            if kind not in ("action", "approval"):
                assert Lane.URGENT not in lanes


@pytest.mark.parametrize(
    ("text", "severity"),
    [("3", Severity.MEDIUM), (" 6 ", Severity.FATAL), ("0", Severity.UNKNOWN), ("99", Severity.UNKNOWN)],
)
def test_ocsf_s_numbers_are_read(text, severity):
    assert parse_severity(text) is severity


@pytest.mark.parametrize("text", ["7", "-1", "3.0", "03", "10", "\u0663"])
def test_numbers_of_other_scales_are_none(text):
    assert parse_severity(text) is None
