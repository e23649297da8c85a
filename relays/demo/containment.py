"""A block that two people approve, of which one target hears too late, and that ends by itself."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from fabric.audit.verifying import verify_log
from fabric.edge.identity.home import AUDIT, audit_folder
from fabric.edge.messages import Outcome
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End
from relays.demo.cast import FIREWALLS, LATE, LEADS
from relays.demo.show import listed
from relays.demo.stage import Stage
from relays.demo.throwaway import wait_until

_NAME = "update.example.net"
# Long enough for the end of the one that is away, short enough to look on.
_TTL = "3s"
_LASTS_MS = 5_000
_WAIT_S = 20.0


class _Asking:
    """What the SOAR hears of the action while it waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._seen: Request | None = None

    def see(self, request: Request) -> None:
        with self._changed:
            self._seen = request
            self._changed.notify_all()

    def held(self) -> str:
        """The action's id, when it is held for approvals."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._seen is not None and self._seen.approval is not None, _WAIT_S):
                raise FabricError(Code.TIMED_OUT, "the action is not held")
            assert self._seen is not None
            return self._seen.action_id


def contain(stage: Stage) -> None:
    """The step, from the request to the logs."""
    cast, show = stage.cast, stage.show
    show.say(f"{LATE} is away. The SOAR asks every firewall to block a name for {_LASTS_MS // 1000} seconds. The "
             "fabric's policies want two of three leads for that: it is held at hq, for these targets and no others.")
    asked = _Asking()
    with cast.without(LATE), ThreadPoolExecutor(1) as pool:
        ending: Future[tuple[tuple[str, ...], list[Outcome]]] = pool.submit(
            cast.request, "deny", f"domain_name={_NAME}", "role=firewall", _TTL, asked.see, {"duration": _LASTS_MS}
        )
        id_ = asked.held()
        first = cast.approve(LEADS[0], id_)
        early = _blocking(stage)
        stage.enter("held", not early, f"2 of lead, {listed(early) if early else 'nobody'} executes")
        approved_by = cast.approve(LEADS[2], id_)
        stage.enter("quorum", len(first) == 1 and len(approved_by) == 2, listed(approved_by))
        with show.waiting(f"{LATE} is asked until the time of the action is over"):
            _, ended = ending.result()
    completed = [outcome.target for outcome in ended if outcome.end is End.COMPLETED]
    rest = [f"{o.target} {o.end} {o.code}" for o in ended if o.end is not End.COMPLETED]
    good = len(completed) == len(FIREWALLS) - 1 and rest == [f"{LATE} expired {Code.EXPIRED.label}"]
    stage.enter("contained", good, f"{len(completed)} completed, {listed(rest)}")
    _resolved(stage, id_)
    with show.waiting("the time of the block is over"):
        wait_until(lambda: cast.effects(id_)["reverted"] == len(completed), _WAIT_S, "the block ends by itself")
    left = _blocking(stage)
    stage.enter("reverted", not left, f"{len(completed)} reverted, {listed(left) if left else 'nobody'} blocks it")
    show.say("Every relay and every firewall has a log of what it did, chained so that a rewritten one shows.")
    _audited(stage)


def _blocking(stage: Stage) -> list[str]:
    return [name for name in FIREWALLS if _NAME in stage.cast.blocking[name]]


def _resolved(stage: Stage, id_: str) -> None:
    inbox = stage.cast.inboxes["auditor-1"]

    def found() -> Mapping[str, Any] | None:
        return next((each.content for each in inbox.since(0) if str(each.content.get("action")).startswith(id_)), None)

    wait_until(lambda: found() is not None, _WAIT_S, "a resolution")
    said = found() or {}
    targets = said.get("targets", {})
    counts = Counter({end: len(names) for end, names in targets.items()})
    good = said.get("by") == "hq" and targets.get("expired") == [LATE] and counts["completed"] == len(FIREWALLS) - 1
    stage.enter("resolved", good, f"{said.get('outcome')}: {counts['completed']} completed, "
                f"{listed(targets.get('expired', []))} expired")


def _audited(stage: Stage) -> None:
    fabric = stage.fabric
    relays = [audit_folder(fabric.name, relay, fabric.home) for relay in fabric.topology.relays]
    points = [fabric.identity(name).folder / AUDIT for name in FIREWALLS]
    key = fabric.identity(FIREWALLS[0]).authority_key
    whole = [verify_log(folder, key, fabric.name).is_whole for folder in (*relays, *points)]
    others = len(relays) - 1
    stage.enter("audited", all(whole), f"hq, {others} relays and {len(points)} firewalls" if all(whole)
                else f"{whole.count(False)} of {len(whole)} are not")
