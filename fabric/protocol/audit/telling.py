"""How components tell what goes into the audit log (SPEC 9.10), where it is told in more places than one."""

from __future__ import annotations

from fabric.protocol.audit import kinds
from fabric.protocol.audit.kinds import Audited
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.signing import digest

# The sender keeps the message and tries again: nothing has become of it.
_NOT_YET = frozenset({Code.BUSY, Code.UNKNOWN_SIGNER})
_PRINT_BYTES = 16


def key_print(key: bytes) -> str:
    """The fingerprint of a CURVE key."""
    return digest(key)[:_PRINT_BYTES].hex()


def refused(who: str, reason: Reject, id_: bytes, by_way_of: str, kind: str = "") -> list[Audited]:
    """A message was refused; nothing where it is only put off. `kind`: its own, as far as it could be read."""
    if reason.code in _NOT_YET:
        return []
    of = {"message": kind} if kind else {}
    return [Audited(kinds.MESSAGE_REFUSED, who, {"code": reason.code.label, "id": id_, "link": by_way_of, **of})]


def link_refused(key: bytes, code: Code, peer: str = "") -> Audited:
    """Whoever has this key was turned away; `peer`: who that is, where its credential was believed."""
    print_ = key_print(key)
    named = {"node": peer} if peer else {}
    return Audited(kinds.LINK_REFUSED, print_, {"code": code.label, **named})


def trusted(kind: str, raw: bytes, version: int) -> Audited:
    """What the authority signed is in force here from now on."""
    return Audited(kind, "", {"version": version, "digest": digest(raw)})
