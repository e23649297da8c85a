"""What a record in OCSF (https://schema.ocsf.io) says of itself: severity, phase of the kill chain, label and time.

Severity is `severity_id`. The phase is the furthest in `kill_chain` (`phase_id`) of the finding or the event; where
there is none, the furthest of the ATT&CK tactics in `attacks`. The label is the highest in `osint` (`tlp`). A label
that nobody understands is RED.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fabric.protocol.vocabulary.severity import Phase, parse_phase, phase_from_wire, severity_from_wire
from fabric.protocol.vocabulary.tlp import Label, parse_label
from relays.gateways.mapping.said import Said
from relays.gateways.mapping.times import believed, time_ms


def read_ocsf(record: dict[str, Any], now_ms: int | None) -> Said:
    """Of any record: what is not as OCSF has it is as if it were not there."""
    severity = severity_from_wire(record["severity_id"]) if "severity_id" in record else None
    at = record.get("time")
    when = None if at is None else believed(time_ms(at, "ms" if isinstance(at, int) else ""), now_ms)
    return Said(severity, _phase(record), _label(record), when)


def _phase(record: dict[str, Any]) -> Phase | None:
    finding = record.get("finding_info")
    holders = [record, *_objects(finding)]
    phases = [
        phase_from_wire(each.get("phase_id")) for holder in holders for each in _objects(holder.get("kill_chain"))
    ]
    if not any(phases):
        for holder in holders:
            for attack in _objects(holder.get("attacks")):
                for tactic in (*_objects(attack.get("tactic")), *_objects(attack.get("tactics"))):
                    phases += [phase for name in ("uid", "name") if (phase := _tactic(tactic.get(name)))]
    return max(phases, default=None) or None


def _tactic(value: Any) -> Phase | None:
    return parse_phase(value) if isinstance(value, str) else None


def _label(record: dict[str, Any]) -> Label | None:
    said = [each["tlp"] for each in _objects(record.get("osint")) if each.get("tlp") is not None]
    labels = [(parse_label(text) if isinstance(text, str) else None) for text in said]
    return max((Label.RED if label is None else label for label in labels), default=None)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Itself, or those of an array of them."""
    items = value if isinstance(value, list) else [value]
    for item in items:
        if isinstance(item, dict):
            yield item
