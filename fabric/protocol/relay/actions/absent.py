"""Actions that are held for targets which are away (SPEC 9.2): each goes when its target is back, within its time.

Guarantees: what is held here was never sent to whom it is held for, so its end is `expired` and never `unknown`; it
goes once, to a node that is a target by its credential of that moment too.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Op, Put, Ready
from fabric.protocol.custody.custody import Custody, HeldKey
from fabric.protocol.custody.outbox import Held, Row
from fabric.protocol.custody.sessions import AWAY
from fabric.protocol.relay.actions.action_reports import ActionReports
from fabric.protocol.relay.actions.cancelling import Cancelling
from fabric.protocol.relay.actions.dispatch import Dispatch
from fabric.protocol.relay.below.roster import Roster
from fabric.protocol.relay.port import MessagePort
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End

# How often everybody is looked for for whom something is held: nobody waits for it whose coming was noticed.
_LOOK_MS: Final = 10_000


class Absent:
    """Which actions wait for whom."""

    def __init__(
        self, roster: Roster, custody: Custody, dispatch: Dispatch, cancelling: Cancelling, reports: ActionReports,
        messages: MessagePort,
    ) -> None:
        self._roster = roster
        self._custody = custody
        self._dispatch = dispatch
        self._cancelling = cancelling
        self._reports = reports
        self._messages = messages
        self._targets: dict[HeldKey, tuple[str, ...]] = {}  # of each row for those who are away
        self._held_for: dict[str, dict[HeldKey, None]] = {}  # the same by target
        self._look_at_ms = 0
        self._back: dict[str, None] = {}  # executors that came since the last look

    # -- what the relay tells it ----------------------------------------------------------------------------

    def rows_changed(self, held: Held) -> None:
        """Rows of this message were made, or have ended."""
        row = held.rows.get(AWAY)
        if row is not None or self._targets:
            self._note((held.message.id, held.direction), row.targets if row is not None else ())

    def restored(self, op: Op) -> None:
        """This was read back from disk."""
        if isinstance(op, Put):
            self._note((op.id, op.direction), dict(op.destinations).get(AWAY, ()))

    def is_back(self, node: str) -> None:
        """This node executes, and the way to it is known."""
        if node in self._held_for:
            self._back[node] = None

    @property
    def actions(self) -> int:
        """How many are held."""
        return len(self._targets)

    @property
    def targets(self) -> int:
        """For how many targets something is held."""
        return len(self._held_for)

    def waits_for(self, names_max: int) -> dict[str, int]:
        """For whom they are held, those first for whom most are, and how many."""
        most = sorted(self._held_for.items(), key=lambda held: (-len(held[1]), held[0]))
        return {node: len(keys) for node, keys in most[:names_max]}

    def list_changed(self) -> None:
        """Somebody may be revoked for whom something is held."""
        self._look_at_ms = 0

    def tick(self, now_ms: int, ready: Ready) -> None:
        """A few times a second: send what waited to those who are back."""
        if now_ms >= self._look_at_ms:
            self._look_at_ms = now_ms + _LOOK_MS
            self._back.update(dict.fromkeys(
                node for node in self._held_for
                if self._roster.executor(node, now_ms) or self._roster.is_revoked(node)
            ))
        back, self._back = self._back, {}
        for key in dict.fromkeys(key for node in back for key in self._held_for.get(node, ())):
            held = self._custody.get(*key)
            if held is not None and AWAY in held.rows:
                self._send(held.rows[AWAY], back, now_ms, ready)

    # -- inside -------------------------------------------------------------------------------------------

    def _send(self, row: Row, back: Container[str], now_ms: int, ready: Ready) -> None:
        held = row.held
        action = held.message
        selection = self._cancelling.selection(action)
        here: list[str] = []
        denied: list[str] = []
        revoked: list[str] = []
        for target in [target for target in row.targets if target in back]:
            executor = self._roster.executor(target, now_ms)
            if self._roster.is_revoked(target):
                revoked.append(target)
            elif executor is not None:
                (here if selection.takes(executor.credential) else denied).append(target)
        ways = self._dispatch.ways_to(action, here, now_ms)
        busy = {target for way, targets in ways if held.is_under_way(way) for target in targets}
        self._back.update(dict.fromkeys(busy))  # what goes there now is answered first: it must not be sent again
        ways = [(way, targets) for way, targets in ways if busy.isdisjoint(targets)]
        gone = {*denied, *revoked, *(target for _, targets in ways for target in targets)}
        if not gone:
            return
        left = tuple(target for target in row.targets if target not in gone)
        for some, code in ((denied, Code.EXECUTE_DENIED), (revoked, Code.REVOKED)):
            if some:
                self._reports.say(action, End.REFUSED, tuple(some), code, now_ms, ready)
        if ways:
            sent = tuple(target for _, targets in ways for target in targets)
            self._reports.say(action, State.DISPATCHED.word, sent, None, now_ms, ready)
        if ways or left:
            self._messages.readdress(row, ways, left or None, now_ms, ready)
        else:
            self._custody.end(row, ready)
            self.rows_changed(held)

    def _note(self, key: HeldKey, targets: Sequence[str]) -> None:
        for target in self._targets.pop(key, ()):
            keys = self._held_for[target]
            keys.pop(key, None)
            if not keys:
                del self._held_for[target]
        if targets:
            self._targets[key] = tuple(targets)
            for target in targets:
                self._held_for.setdefault(target, {})[key] = None
