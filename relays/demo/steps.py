"""The promises, one function each: make it happen, show it, and enter what was seen.

A step waits for conditions, never for a time, and what it enters comes from what control points and relays said.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fabric.edge.messages import Message, Outcome
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Severity
from relays.demo.book import Check
from relays.demo.cast import EDRS, FAILING, FAILS_FOR, FIREWALLS, FORGED, LATE, SENSOR, Cast
from relays.demo.containment import contain
from relays.demo.intruders import RawPeer, knock, signed_event, stranger_like, with_altered_part, with_severity
from relays.demo.show import listed, targets_table
from relays.demo.stage import Stage
from relays.demo.throwaway import wait_until

_AMBER_FIELDS = ("id.orig_h", "id.resp_h")
_PATH = ("plant-1", "dmz", "region-east", "hq")
# About five times what a lane may have in flight on a link, so most of it has to wait.
_FLOOD = 3_000
_BACKLOG_MIN = 20
_WAIT_S = 20.0
_TOO_LATE = "203.0.113.66"
_IN_TIME = "203.0.113.77"
_DEVICE = "laptop-17"

CHECKS = {
    "climbs": Check(1, "the event climbs to hq", " > ".join(_PATH)),
    "loses": Check(1, "hq gets no AMBER field", "0 of 2, withheld"),
    "stripped": Check(1, "AMBER was taken out", "by plant-1"),
    "whole": Check(2, "analyst-p1 gets the same event", "2 of 2 AMBER fields, none withheld"),
    "backlog": Check(3, "a backlog waits at plant-1", f"{_BACKLOG_MIN} or more batches of records"),
    "overtakes": Check(3, "a critical event sent last", f"in the first half of {_FLOOD + 1}"),
    "complete": Check(3, "all of the backlog arrives", f"all {_FLOOD + 1}, each once"),
    "expires": Check(4, "an action with 2 s to live", "expired E501, said by region-west"),
    "unexecuted": Check(4, "fw-p2, when it is back", "executes the next action only"),
    "stranger": Check(5, "a stranger's key", "E203"),
    "header": Check(5, "a header altered after signing", "E301"),
    "part": Check(5, "content altered after signing", "E302"),
    "honest": Check(5, "the same message unaltered", "accepted"),
    "each": Check(6, "role=firewall: a result each", listed(FIREWALLS)),
    "partly": Check(6, "the one that cannot says so", f"3 completed, {FAILING} failed E709"),
    "granted": Check(6, "role=edr: outside plants only", "edr-cloud, edr-office"),
    "held": Check(7, "a name is to be blocked: held", "2 of lead, nobody executes"),
    "quorum": Check(7, "two of three leads approve", "lead-1, lead-3"),
    "contained": Check(7, "who is there blocks it", f"3 completed, {LATE} expired E501"),
    "resolved": Check(7, "hq signs how it ended", f"partly: 3 completed, {LATE} expired"),
    "reverted": Check(7, "the block ends by itself", "3 reverted, nobody blocks it"),
    "audited": Check(7, "the logs of all are whole", "hq, 8 relays and 4 firewalls"),
}


def run_steps(stage: Stage) -> None:
    """All of them, in order. One that ends early fails its own checks and leaves the others their chance."""
    for number, (title, step) in enumerate(_STEPS, 1):
        stage.show.title(f"{number}  {title}")
        try:
            step(stage)
        except FabricError as error:
            for check in stage.book.broke(number, str(error)):
                stage.show.check(check)
        stage.show.pause()


# -- 1 and 2 ------------------------------------------------------------------------------------------------


def _climb(stage: Stage) -> None:
    say = stage.show.say
    say(f"{SENSOR}, a sensor in a plant, sees a Modbus connection that it has never seen before, and reports it. "
        "Its topology labels the two addresses AMBER and everything else GREEN. Between the plant and hq stands a "
        "DMZ that is cleared for GREEN. Whatever hq itself may see: AMBER from the plant cannot get there.")
    labels = stage.fabric.topology.points[SENSOR].sources["conn"].labels
    (stage.event,) = stage.cast.publish("detections.zeek.conn", [stage.zeek.conn()], severity="high", labels=labels)
    seen = stage.cast.inboxes["analyst-1"].wait_for(stage.event)
    stage.show.sees("analyst-1 at hq, cleared for TLP:RED, sees", seen)
    stage.enter("climbs", seen.path == _PATH, " > ".join(seen.path))
    amber = _amber(seen)
    parts = sum(seen.withheld.values())
    stage.enter("loses", not amber and parts == 1 and seen.content != {},
                f"{len(amber)} of {len(_AMBER_FIELDS)}, {'withheld' if parts else 'none withheld'}")
    arrived_ms = time.time_ns() // 1_000_000
    wait_until(lambda: all(stage.fabric.status(relay)["at_ms"] > arrived_ms for relay in _PATH), _WAIT_S,
               "every relay on the way says what it stripped")
    by = [relay for relay in _PATH if stage.fabric.status(relay)["counters"].get("stripped:amber")]
    stage.enter("stripped", by == ["plant-1"], f"by {listed(by)}")


def _whole(stage: Stage) -> None:
    stage.show.say("Below the DMZ nothing stands between the sensor and its own analyst. It is the same message, with "
                   "the same id and the same signature: what is taken out on the way up does not break it.")
    seen = stage.cast.inboxes["analyst-p1"].wait_for(stage.event)
    stage.show.sees("analyst-p1 at plant-1, cleared for TLP:AMBER, sees", seen)
    amber = _amber(seen)
    parts = sum(seen.withheld.values())
    stage.enter("whole", len(amber) == len(_AMBER_FIELDS) and parts == 0,
                f"{len(amber)} of {len(_AMBER_FIELDS)} AMBER fields, {parts or 'none'} withheld")


def _amber(message: Message) -> list[str]:
    return [name for name in _AMBER_FIELDS if name in message.content]


# -- 3 ------------------------------------------------------------------------------------------------------


def _overtake(stage: Stage) -> None:
    fabric, cast, show, inbox = stage.fabric, stage.cast, stage.show, stage.cast.inboxes["analyst-1"]
    show.say(f"The DMZ's relay hangs: its process is stopped. Meanwhile {SENSOR} reports {_FLOOD:,} certificates of "
             "low severity, and then, last of all, one critical event.")
    began = len(inbox)
    with fabric.frozen("dmz"):
        with show.waiting("plant-1 takes them all into custody"):
            flood = cast.publish("detections.zeek.x509", stage.zeek.x509(_FLOOD), severity="low", label="green")
            (critical,) = cast.publish("detections.zeek.notice", [stage.zeek.notice()], severity="critical",
                                       label="green")
            wait_until(lambda: _queued(stage, "plant-1") >= _BACKLOG_MIN, _WAIT_S, "a backlog at plant-1")
        queued = _queued(stage, "plant-1")
        stage.enter("backlog", queued >= _BACKLOG_MIN, f"{queued} batches of {len(flood):,} records")
    show.say("The DMZ's relay goes on. What arrives at hq:", pause=False)
    total = len(flood) + 1
    with show.progress("records at hq", total) as progress:
        def arrived() -> bool:
            progress.update(min(total, len(inbox) - began))
            return len(inbox) - began >= total

        wait_until(arrived, _WAIT_S, f"all {total} records at hq")
    order = [message.id for message in inbox.since(began)]
    position = order.index(critical) + 1 if critical in order else 0
    stage.enter("overtakes", 0 < position <= total // 2, f"number {position} of {len(order)}")
    once = len(order) == len(set(order)) and set(order) == {*flood, critical}
    stage.enter("complete", once, f"{'all' if once else 'not all'} {len(order)}, "
                f"{'each once' if len(order) == len(set(order)) else 'some twice'}")


def _queued(stage: Stage, relay: str) -> int:
    return sum(stage.fabric.status(relay).get("queue", {}).values())


# -- 4 ------------------------------------------------------------------------------------------------------


def _expire(stage: Stage) -> None:
    fabric, cast, show = stage.fabric, stage.cast, stage.show
    show.say("plant-2 loses its relay. hq asks the firewall there to block an address, within two seconds or never.")
    old = fabric.status("plant-2")["pid"]
    with fabric.taken_away("plant-2"):
        with show.waiting("region-west notices"):
            wait_until(lambda: "plant-2" not in fabric.status("region-west").get("children", ()), _WAIT_S,
                       "region-west notices that plant-2 is gone")
        with show.waiting("the action waits at region-west"):
            _, ended = cast.request("deny", f"ipv4_net={_TOO_LATE}", "id=fw-p2", ttl="2s")
    outcome = ended[0] if ended else Outcome("", End.UNKNOWN, "nobody")
    if outcome.code:
        cause = next((code.cause for code in Code if code.label == outcome.code), outcome.reason)
        show.code(f"{outcome.target}: {outcome.end}. {outcome.code} {cause}, says {outcome.by}")
    stage.enter("expires", (outcome.end, outcome.code, outcome.by) == (End.EXPIRED, "E501", "region-west"),
                f"{outcome.end} {outcome.code}, said by {outcome.by}")
    show.say("The relay comes back. Its firewall was never asked, and is not asked late; the next action reaches it.")
    with show.waiting("plant-2 comes back"):
        wait_until(lambda: fabric.status("plant-2").get("pid") != old
                   and "fw-p2" in fabric.status("plant-2").get("points", ()), _WAIT_S, "fw-p2 is connected again")
        wait_until(lambda: _blocks(cast, _IN_TIME), _WAIT_S, "fw-p2 executes again")
    executed = cast.executed["fw-p2"]
    words = {_TOO_LATE: "the expired action", _IN_TIME: "the next action"}
    stage.enter("unexecuted", executed == [_IN_TIME],
                f"executes {' and '.join(words.get(target, 'another') for target in executed) or 'nothing'}"
                f"{' only' if executed == [_IN_TIME] else ''}")


def _blocks(cast: Cast, address: str) -> bool:
    """Asked again until the way to the firewall is known again: before, nobody is selected or it is unroutable."""
    try:
        _, ended = cast.request("deny", f"ipv4_net={address}", "id=fw-p2", ttl="3s")
    except FabricError as error:
        if error.code is not Code.NOBODY:
            raise
        return False
    return any(outcome.end is End.COMPLETED for outcome in ended)


# -- 5 ------------------------------------------------------------------------------------------------------


def _refuse(stage: Stage) -> None:
    fabric, show = stage.fabric, stage.show
    show.say(f"Somebody calls itself {SENSOR}, with a perfectly good key and a credential with the same name "
             "and grants. Only the authority that signed it is not this fabric's.")
    refusal = knock(stranger_like(fabric.identity(SENSOR)))
    if refusal is not None:
        show.code(str(refusal))
    stage.enter("stranger", refusal is not None and refusal.code is Code.BAD_CREDENTIAL,
                "let in" if refusal is None else refusal.code.label)
    show.say(f"A member of the fabric, {FORGED}, speaks the protocol by hand. It signs a message and then raises its "
             "severity to critical; in another it turns one bit of the content. Last it sends one as it was signed.")
    member = fabric.identity(FORGED)
    now_ms = time.time_ns() // 1_000_000
    honest, other = (
        signed_event(member, "detections.zeek.conn", stage.zeek.conn() | dict.fromkeys(_AMBER_FIELDS, "-"), now_ms)
        for _ in range(2)
    )
    forged = (with_severity(honest, Severity.CRITICAL), with_altered_part(other))
    header, part, held = RawPeer(member).offer([*forged, honest], now_ms)
    for code in (header, part):
        if code is not None:
            show.code(f"{code.label} {code.cause}")
    stage.enter("header", header is Code.BAD_SIGNATURE, _answer(header))
    stage.enter("part", part is Code.BAD_DIGEST, _answer(part))
    stage.enter("honest", held is None, _answer(held))


def _answer(code: Code | None) -> str:
    return "accepted" if code is None else code.label


# -- 6 ------------------------------------------------------------------------------------------------------


def _act(stage: Stage) -> None:
    show = stage.show
    show.say(f"The SOAR at hq asks every firewall to block {FAILS_FOR}. It asks in GREEN, so that the DMZ may carry "
             f"it. {FAILING} has no room left in its rule table.")
    targets, ended = _ask(stage, "deny", f"ipv4_net={FAILS_FOR}", "role=firewall")
    stage.enter("each", sorted(targets) == sorted(FIREWALLS) == sorted(o.target for o in ended),
                listed(sorted(o.target for o in ended)))
    completed = [o.target for o in ended if o.end is End.COMPLETED]
    rest = [f"{o.target} {o.end} {o.code}" for o in ended if o.end is not End.COMPLETED]
    good = len(completed) == len(FIREWALLS) - 1 and rest == [f"{FAILING} failed {Code.HANDLER_FAILED.label}"]
    stage.enter("partly", good, f"{len(completed)} completed, {listed(rest)}")
    show.say(f"It asks every EDR to contain {_DEVICE}. Its grant excludes plants, so the one in plant-1 is not asked.")
    targets, ended = _ask(stage, "contain", f"device={_DEVICE}", "role=edr")
    done = sorted(o.target for o in ended if o.end is End.COMPLETED)
    asked = sorted(name for name in EDRS if stage.cast.executed[name])
    stage.enter("granted", done == asked == sorted(targets) == ["edr-cloud", "edr-office"], listed(done))


def _ask(stage: Stage, action: str, target: str, to: str) -> tuple[tuple[str, ...], list[Outcome]]:
    where = {point.id: point.relay or "" for point in stage.fabric.topology.points.values()}
    with stage.show.targets() as live:
        return stage.cast.request(
            action, target, to, ttl="10s", watch=lambda request: live.update(targets_table(request, where))
        )


_STEPS: tuple[tuple[str, Callable[[Stage], None]], ...] = (
    ("An event climbs, and loses what a hop may not carry", _climb),
    ("The same event, whole, where it may be seen", _whole),
    ("A critical event overtakes a backlog", _overtake),
    ("An action that came too late is dropped, and said to be", _expire),
    ("A stranger and a forger are turned away", _refuse),
    ("One action, every firewall, a result from each", _act),
    ("Two people approve a block, and it ends by itself", contain),
)
