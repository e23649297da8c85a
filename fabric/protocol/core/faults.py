"""A fault of this program that a peer's frame triggered (SPEC 10): it ends that peer's link, and nothing else.

Guarantees: a fault is counted by its type and noted with its place, never with its text, which could hold what a peer
wrote; one of the same kind within a minute is an alarm, since somebody may have found out how to cause it. Each is a
bug to be fixed: nothing that is noted here should happen.
"""

from __future__ import annotations

from collections import OrderedDict

from fabric.protocol.base.errors import Code, Fault
from fabric.protocol.core.ready import Note

# The event of its line in the log, by which tests know one.
FAULT = "fault"
# A second one of a kind within this is no accident.
AGAIN_MS = 60_000
# Kinds that are remembered. Places are in this program's own code, so there are few.
_KINDS_MAX = 64
_PACKAGE = __name__.partition(".")[0] + "."


def fault_of(error: BaseException) -> Fault:
    """What may be said of an exception. Of code that others wrote the line here that called it is named."""
    where, entry = "?", error.__traceback__
    while entry is not None:
        module = str(entry.tb_frame.f_globals.get("__name__", "?"))
        if module.startswith(_PACKAGE) or where == "?":
            where = f"{module}:{entry.tb_lineno}"
        entry = entry.tb_next
    return Fault(type(error).__name__, where)


class Faults:
    """Those of one node, and which of them were seen lately."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Fault, int] = OrderedDict()  # when each kind was seen last

    def note(self, fault: Fault, peer: str, now_ms: int) -> list[Note]:
        """The lines for the log: of each, and an alarm when it happened before within a minute."""
        fields: dict[str, str | int] = {"type": fault.kind, "where": fault.where, "peer": peer}
        notes = [Note(FAULT, fields)]
        before_ms = self._seen.pop(fault, None)
        self._seen[fault] = now_ms
        if len(self._seen) > _KINDS_MAX:
            self._seen.popitem(last=False)
        if before_ms is not None and now_ms - before_ms <= AGAIN_MS:
            code = Code.INTERNAL
            said = {"code": code.label, "cause": code.cause, "next": code.next_step}
            notes.append(Note("the same fault again", {**fields, **said}, alarm=True))
        return notes
