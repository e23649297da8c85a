"""The control points of the demo, connected by the library that any control point uses.

Guarantees: all are connected and known to the root when the block is entered, and gone when it is left. What a
subscriber saw and what a device executed is kept as that control point saw it, and nothing of another's.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from fabric.edge import Action
from fabric.edge.blocking import ControlPoint
from fabric.edge.messages import Message, Outcome
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import Code, FabricError
from relays.demo.throwaway import Throwaway, wait_until

SENSOR = "zeek-p1"
SOAR = "soar-1"
# Subscriber: what it subscribes to.
SUBSCRIBERS = {"analyst-1": "detections.>", "analyst-p1": "detections.zeek.conn", "auditor-1": "resolutions.>"}
FIREWALLS = ("fw-dmz", "fw-office", "fw-p1", "fw-p2")
# The firewall that is away when the others block a name.
LATE = "fw-p2"
LEADS = ("lead-1", "lead-2", "lead-3")
EDRS = ("edr-cloud", "edr-office", "edr-p1")
# Where each thing happens; a topology that lacks one of these cannot show it.
RELAYS = ("hq", "region-east", "region-west", "dmz", "plant-1", "plant-2")
_EVERYBODY = (SENSOR, SOAR, *SUBSCRIBERS, *LEADS, *FIREWALLS, *EDRS)
# A member whose identity the forger has; it is not connected otherwise.
FORGED = "sensor-east"

# The address that this firewall cannot block: its rule table is full.
FAILING = "fw-office"
FAILS_FOR = "203.0.113.9"
_WAIT_S = 20.0


class Inbox:
    """What a subscriber received, in the order of arrival."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._messages: list[Message] = []

    def put(self, message: Message) -> None:
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._messages)

    def since(self, position: int) -> list[Message]:
        with self._changed:
            return self._messages[position:]

    def wait_for(self, id_: str, seconds: float = _WAIT_S) -> Message:
        """The message with this id; TIMED_OUT when it does not come."""
        found: list[Message] = []

        def look() -> bool:
            found[:] = [message for message in self._messages if message.id == id_]
            return bool(found)

        with self._changed:
            if not self._changed.wait_for(look, seconds):
                raise FabricError(Code.TIMED_OUT, f"a message that should have arrived did not ({seconds:.0f} s)")
        return found[0]


class Cast:
    """A context: every control point of the demo, connected. Raises USAGE where the topology lacks one of them."""

    def __init__(self, fabric: Throwaway) -> None:
        self._fabric = fabric
        topology = fabric.topology
        missing = [n for n in RELAYS if n not in topology.relays]
        missing += [n for n in (*_EVERYBODY, FORGED) if n not in topology.points]
        if missing:
            raise FabricError(Code.USAGE, f"the topology has no {', '.join(missing)}",
                              "use topologies/enterprise.toml, or a copy of it with other ports")
        self.inboxes = {name: Inbox() for name in SUBSCRIBERS}
        self.executed: dict[str, list[str]] = {name: [] for name in (*FIREWALLS, *EDRS)}
        self.blocking: dict[str, set[str]] = {name: set() for name in FIREWALLS}
        self._points: dict[str, ControlPoint] = {}

    def __enter__(self) -> Cast:
        try:
            self._points = {name: ControlPoint(self._fabric.identity(name)) for name in _EVERYBODY}
            with ThreadPoolExecutor(len(_EVERYBODY)) as pool:
                for done in [pool.submit(self._connect, name) for name in _EVERYBODY]:
                    done.result()
            wait_until(lambda: self._fabric.status("hq").get("routes", 0) >= len(_EVERYBODY), _WAIT_S,
                       "hq knows every control point")
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        with ThreadPoolExecutor(len(_EVERYBODY)) as pool:
            list(pool.map(lambda point: point.close(), self._points.values()))

    def _connect(self, name: str) -> None:
        point = self._points[name]
        point.connect()
        if name in SUBSCRIBERS:
            point.on_message(SUBSCRIBERS[name], self.inboxes[name].put)
        if name in FIREWALLS:
            point.on_action("deny", "ipv4_net")(self._device(name))
            blocking = self.blocking[name]
            point.on_action("deny", "domain_name", revert=lambda action: blocking.discard(action.target.value))(
                lambda action: blocking.add(action.target.value)
            )
        if name in EDRS:
            point.on_action("contain", "device")(self._device(name))
        if name in self.executed:
            point.wait_ready()

    def _device(self, name: str) -> Callable[[Action], dict[str, str]]:
        def execute(action: Action) -> dict[str, str]:
            self.executed[name].append(action.target.value)
            if name == FAILING and action.target.value == FAILS_FOR:
                raise RuntimeError("the rule table is full")
            return {"rule": f"{action.action} {action.target}"}

        return execute

    # -- what they do -----------------------------------------------------------------------------------

    def publish(self, topic: str, records: Iterable[dict[str, object]], **options: Any) -> list[str]:
        """The sensor publishes; the records' ids, when its relay holds all of them."""
        futures = [self._points[SENSOR].publish_later(topic, record, **options) for record in records]
        return _results(futures)

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """This one is away: its program ends, and starts again when the block is left."""
        self._points[name].close()
        try:
            yield
        finally:
            self._points[name] = ControlPoint(self._fabric.identity(name))
            self._connect(name)

    def approve(self, lead: str, id_: str) -> tuple[str, ...]:
        """A lead approves an action that is held: who has by then."""
        point = self._points[lead]
        request = next((one for one in point.approvals(timeout_s=_WAIT_S) if one.id.startswith(id_)), None)
        if request is None:
            raise FabricError(Code.TIMED_OUT, f"{lead} was not asked")
        return point.approve(request).approved_by

    def effects(self, id_: str) -> Counter[str]:
        """What the targets of an action of the SOAR said of the end of its effect, by word."""
        return Counter(effect.word for effect in self._points[SOAR].action(id_).effects.values())

    def request(
        self, action: str, target: str, to: str, ttl: str, watch: Callable[[Request], None] | None = None,
        args: dict[str, object] | None = None,
    ) -> tuple[tuple[str, ...], list[Outcome]]:
        """The SOAR asks for an action, green so that it may pass the DMZ: the targets, and what came of each."""
        asked: list[Request] = []

        def see(request: Request) -> None:
            asked[:] = [request]
            if watch is not None:
                watch(request)

        ended = list(
            self._points[SOAR].request(action, target, to=to, ttl=ttl, label="green", watch=see, args=args)
        )
        targets = asked[0].targets if asked else None
        return targets or (), ended


def _results(futures: Sequence[Future[str]]) -> list[str]:
    deadline = time.monotonic() + _WAIT_S
    try:
        return [future.result(max(0.0, deadline - time.monotonic())) for future in futures]
    except FutureTimeoutError:
        raise FabricError(Code.TIMED_OUT, "the relay did not take all that was published") from None
