"""Severity, kill-chain phase, and the lane that follows from both.

Guarantees: a value that is not known never sorts high: 99 ("other") and numbers from the future are UNKNOWN,
the lowest. Every message has exactly one lane, found from its signed header alone, so each hop finds the
same. Refuses to let an event into the urgent lane, however severe it says it is: that one is for control and
critical actions.

Severity is self-declared; what an origin may claim is bounded by its grant, not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, TypeGuard


class Severity(IntEnum):
    """OCSF severity_id, without 99 (other), which is read as UNKNOWN."""

    UNKNOWN = 0
    INFORMATIONAL = 1
    LOW = 2
    MEDIUM = 3
    HIGH = 4
    CRITICAL = 5
    FATAL = 6


class Phase(IntEnum):
    """Lockheed Martin cyber kill chain, with OCSF's phase_id; 0 where none is known."""

    NONE = 0
    RECONNAISSANCE = 1
    WEAPONIZATION = 2
    DELIVERY = 3
    EXPLOITATION = 4
    INSTALLATION = 5
    COMMAND_AND_CONTROL = 6
    ACTIONS_ON_OBJECTIVES = 7


class Lane(IntEnum):
    """Lower goes first."""

    URGENT = 0
    CRITICAL = 1
    HIGH = 2
    MEDIUM = 3
    LOW = 4


# Up to this lane messages are urgent: where a node reads its links they pass those of the others (SPEC 10).
LAST_URGENT: Final = Lane.CRITICAL

_SEVERITIES: Final[Mapping[str, Severity]] = {
    **{severity.name.lower(): severity for severity in Severity},
    "info": Severity.INFORMATIONAL,
    "information": Severity.INFORMATIONAL,
    "other": Severity.UNKNOWN,
    **{str(int(severity)): severity for severity in Severity},
    "99": Severity.UNKNOWN,  # OCSF's number for "other"
}

# Phase names with everything but letters and digits taken out, `&` read as "and".
_PHASES: Final[Mapping[str, Phase]] = {
    **{phase.name.lower().replace("_", ""): phase for phase in Phase},
    "recon": Phase.RECONNAISSANCE,
    "weaponisation": Phase.WEAPONIZATION,
    "exploit": Phase.EXPLOITATION,
    "install": Phase.INSTALLATION,
    "c2": Phase.COMMAND_AND_CONTROL,
    "cnc": Phase.COMMAND_AND_CONTROL,
    "candc": Phase.COMMAND_AND_CONTROL,
    "commandcontrol": Phase.COMMAND_AND_CONTROL,
    "actiononobjectives": Phase.ACTIONS_ON_OBJECTIVES,
    "actionsonobjective": Phase.ACTIONS_ON_OBJECTIVES,
    "objectives": Phase.ACTIONS_ON_OBJECTIVES,
}

# ATT&CK tactics by id and name. No official mapping exists. ATT&CK splits finely what an intruder does once
# inside; Lockheed has one phase for it, the last, so everything that needs a foothold under control goes
# there. What gains, keeps or hides the foothold itself goes to exploitation and installation.
_TACTICS: Final = (
    # Enterprise, in matrix order
    ("ta0043", "reconnaissance", Phase.RECONNAISSANCE),
    ("ta0042", "resourcedevelopment", Phase.WEAPONIZATION),
    ("ta0001", "initialaccess", Phase.DELIVERY),
    ("ta0002", "execution", Phase.EXPLOITATION),
    ("ta0003", "persistence", Phase.INSTALLATION),
    ("ta0004", "privilegeescalation", Phase.EXPLOITATION),
    ("ta0005", "stealth", Phase.INSTALLATION),
    ("ta0005", "defenseevasion", Phase.INSTALLATION),  # the name before v19
    ("ta0112", "defenseimpairment", Phase.INSTALLATION),
    ("ta0006", "credentialaccess", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0007", "discovery", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0008", "lateralmovement", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0009", "collection", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0011", "commandandcontrol", Phase.COMMAND_AND_CONTROL),
    ("ta0010", "exfiltration", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0040", "impact", Phase.ACTIONS_ON_OBJECTIVES),
    # Industrial control systems: the tactics with the names above have ids of their own
    ("ta0108", "initialaccess", Phase.DELIVERY),
    ("ta0104", "execution", Phase.EXPLOITATION),
    ("ta0110", "persistence", Phase.INSTALLATION),
    ("ta0111", "privilegeescalation", Phase.EXPLOITATION),
    ("ta0103", "evasion", Phase.INSTALLATION),
    ("ta0102", "discovery", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0109", "lateralmovement", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0100", "collection", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0101", "commandandcontrol", Phase.COMMAND_AND_CONTROL),
    ("ta0107", "inhibitresponsefunction", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0106", "impairprocesscontrol", Phase.ACTIONS_ON_OBJECTIVES),
    ("ta0105", "impact", Phase.ACTIONS_ON_OBJECTIVES),
)
_TACTIC_PHASES: Final[Mapping[str, Phase]] = {
    key: phase for tactic_id, name, phase in _TACTICS for key in (tactic_id, name)
}
_NOT_ALNUM: Final = re.compile(r"[^a-z0-9]+")
# Longer than any name of a severity or phase.
_TEXT_MAX: Final = 64


def severity_from_wire(n: object) -> Severity:
    """The severity with this number; 99, an unknown number or no number at all is UNKNOWN."""
    return _SEVERITY_OF.get(n, Severity.UNKNOWN) if _is_number(n) else Severity.UNKNOWN


def phase_from_wire(n: object) -> Phase:
    """The phase with this number; an unknown number or no number at all is NONE."""
    return _PHASE_OF.get(n, Phase.NONE) if _is_number(n) else Phase.NONE


def _is_number(n: object) -> TypeGuard[int]:
    return isinstance(n, int) and not isinstance(n, bool)


# Each header is read at every hop: to look a member up costs a third of what it costs to ask its class for it.
_SEVERITY_OF: Final = {int(severity): severity for severity in Severity}
_PHASE_OF: Final = {int(phase): phase for phase in Phase}


def parse_severity(text: str) -> Severity | None:
    """Read OCSF's name in any case, `info`, or OCSF's number; None when it is none of them.

    Other scales number the other way round (syslog), or further (CEF): only OCSF's seven numbers are read, and 99.
    """
    return None if len(text) > _TEXT_MAX else _SEVERITIES.get(text.strip().lower())


def parse_phase(text: str) -> Phase | None:
    """Read a Lockheed phase or an ATT&CK tactic, by name or tactic id; None when it is neither.

    Case, spaces and punctuation do not matter: `command-and-control`, `Command & Control`, `c2`, `TA0011`.
    """
    if len(text) > _TEXT_MAX:
        return None
    word = _NOT_ALNUM.sub("", text.lower().replace("&", "and"))
    phase = _PHASES.get(word)
    return phase if phase is not None else _TACTIC_PHASES.get(word)


# By severity, after it was raised. Two more than there are severities: that is as far as they are raised.
_LANES: Final = (
    Lane.LOW,
    Lane.LOW,
    Lane.LOW,
    Lane.MEDIUM,
    Lane.HIGH,
    Lane.CRITICAL,
    Lane.CRITICAL,
    Lane.CRITICAL,
    Lane.CRITICAL,
)


def lane_of(kind: str, severity: Severity, phase: Phase) -> Lane:
    """The lane of a message: its severity, one step higher late in the kill chain.

    An action or approval goes one step above an event of its severity, and is urgent when it is critical (by
    itself or by its phase): what stops an intruder must not queue behind reports about them.
    """
    if kind == "control":
        return Lane.URGENT
    raised = severity + 1 if phase >= Phase.COMMAND_AND_CONTROL else int(severity)
    if kind in ("action", "approval"):
        return Lane.URGENT if raised >= Severity.CRITICAL else _LANES[raised + 1]
    return _LANES[raised]
