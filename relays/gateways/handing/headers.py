"""What a broker's consumers route by, beside a message: its labels, severity and origin."""

from __future__ import annotations

from fabric.edge.messages import Message


def headers_of(message: Message) -> dict[str, str]:
    """Names and values in ASCII. `Fabric-Id` is the same in a copy."""
    return {
        "Fabric-Id": message.id,
        "Fabric-Topic": message.topic,
        "Fabric-Kind": message.kind,
        "Fabric-Origin": message.origin,
        "Fabric-Severity": message.severity.name.lower(),
        "Fabric-Label": message.label.short,
        "Fabric-Tlp": message.highest_label.short,
    }
