"""Submits a program's requests for actions, from any thread."""

from __future__ import annotations

from concurrent.futures import Future

from fabric.edge.connection.mailbox import Mailbox, fail
from fabric.edge.locks import Pending
from fabric.edge.publishing.composer import Draft, Stamp
from fabric.edge.publishing.publisher import Publisher
from fabric.edge.requesting.requests import Requests, Tell
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import FabricError
from fabric.protocol.core.ready import Ready
from fabric.protocol.envelope.field_labels import Record


class Requester:
    """`requests`: those that are open."""

    def __init__(self, mailbox: Mailbox, publisher: Publisher, requests: Requests) -> None:
        self._mailbox = mailbox
        self._publisher = publisher
        self._requests = requests

    def request(self, stamp: Stamp, record: Record, wait_ms: int, tell: Tell) -> Future[bytes]:
        """The action's id, when it is submitted; `tell` runs on the connection's thread whenever its tracker has learnt
        something. What no target has answered `wait_ms` after its time to live is unknown."""
        begun: Pending[bytes] = Pending()

        def begin(now_ms: int, ready: Ready) -> None:
            if not begun.set_running_or_notify_cancel():
                return
            draft = Draft(stamp, record, now_ms, begun)
            try:
                self._requests.check_room()
                message = self._publisher.submit_one(draft, now_ms, ready)
            except FabricError as error:
                begun.set_exception(error)
                return
            deadline_ms = now_ms + stamp.ttl_ms + wait_ms
            self._requests.add(Tracker(message.leaf, now_ms, deadline_ms, dry_run=stamp.terms.dry_run), tell)

        self._mailbox.call(begin, lambda error: fail(begun, error))
        return begun
