"""Entries of an audit log as OCSF events (https://schema.ocsf.io), for those who collect logs of many products.

Who is let in, turned away or leaves is Authentication (3002): a node proves who it is. A log that was rewritten is a
Detection Finding (2004): somebody has to look. Everything else is API Activity (6003) whose operation is the kind of
the entry: somebody asked the node for something, and it did or refused it. The entry itself is in `unmapped`, complete.
"""

from __future__ import annotations

from typing import Any

from fabric import __version__
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import Entry

VERSION = "1.3.0"
_LOGON, _LOGOFF, _CREATE, _OTHER = 1, 2, 1, 99
_SUCCESS, _FAILURE = 1, 2
_INFORMATIONAL, _MEDIUM, _HIGH = 1, 3, 4
_AUTHENTICATION = {
    kinds.LINK_OPENED: _LOGON, kinds.LINK_REFUSED: _LOGON, kinds.LINK_ENDED: _LOGOFF, kinds.SESSION_ENDED: _LOGOFF,
}
_REFUSALS = (
    kinds.LINK_REFUSED, kinds.MESSAGE_REFUSED, kinds.APPROVAL_REFUSED, kinds.APPROVAL_DENIED, kinds.HEAD_REFUSED,
)


def ocsf(entry: Entry, fabric: str, node: str) -> dict[str, Any]:
    """One event, with every attribute that its class requires."""
    who = str(entry.fields.get("who", "")) or node
    class_uid, activity, own = _class_of(entry, node, who)
    refused = entry.kind in _REFUSALS
    event: dict[str, Any] = {
        "category_uid": class_uid // 1_000, "class_uid": class_uid, "activity_id": activity,
        "type_uid": class_uid * 100 + activity, "time": entry.at_ms,
        "severity_id": _HIGH if entry.kind == kinds.HEAD_REFUSED else _MEDIUM if refused else _INFORMATIONAL,
        "status_id": _FAILURE if refused else _SUCCESS,
        "metadata": {
            "version": VERSION, "uid": f"{fabric}/{node}/{entry.number}", "sequence": entry.number,
            "log_name": "audit", "event_code": entry.kind,
            "product": {"name": "Message Fabric", "vendor_name": "Message Fabric", "version": __version__},
        },
        **own, "unmapped": entry_json(entry),
    }
    if code := entry.fields.get("code"):
        event["status_code"] = code
    if activity == _OTHER:
        event["activity_name"] = entry.kind
    action = entry.fields.get("action")
    if isinstance(action, bytes):
        event["metadata"]["correlation_uid"] = action.hex()
    return event


def _class_of(entry: Entry, node: str, who: str) -> tuple[int, int, dict[str, Any]]:
    """Its class, its activity, and what only this class has."""
    if entry.kind in _AUTHENTICATION:
        user = {"uid": str(entry.fields.get("node", "")) or who}
        return 3002, _AUTHENTICATION[entry.kind], {
            "user": user, "dst_endpoint": {"uid": node}, "auth_protocol_id": _OTHER, "auth_protocol": "CURVE",
            "is_remote": True,
        }
    if entry.kind == kinds.HEAD_REFUSED:
        title = "An audit log is not what its signed heads said before"
        return 2004, _CREATE, {"finding_info": {"title": title, "uid": f"{node}/{entry.number}"}}
    return 6003, _OTHER, {
        "actor": {"user": {"uid": who}}, "api": {"operation": entry.kind},
        "src_endpoint": {"uid": str(entry.fields.get("link", "")) or who}, "dst_endpoint": {"uid": node},
    }


def entry_json(entry: Entry) -> dict[str, Any]:
    """The entry as it is, bytes in hex; the number of the entry that a head is of is `head_number`."""
    own: dict[str, Any] = {"number": entry.number, "at_ms": entry.at_ms, "kind": entry.kind}
    fields = {
        f"head_{name}" if name in own else name: value.hex() if isinstance(value, bytes) else value
        for name, value in entry.fields.items()
    }
    return {**own, **fields}
