"""Hands what the core delivers to this program's subscriptions, requests, approver and listeners for notices.

Guarantees: a delivery comes again until it ends, as handled or as unreadable; of a batch that an earlier run read in
part only the rest is given out; gap markers are accepted from this node's own relays only, notices from relays only.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from fabric.edge.approving.approver import Approver
from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.fetching.fetches import Fetches
from fabric.edge.logging.faults import contained
from fabric.edge.messages import messages_of
from fabric.edge.publishing.outbox import batch_source
from fabric.edge.receiving.batch import Batch
from fabric.edge.receiving.notices import Notice, notice_of
from fabric.edge.receiving.subscriptions import Subscriptions
from fabric.edge.receiving.unsealing import Unsealing
from fabric.edge.requesting.recorder import Recorder
from fabric.edge.requesting.requests import Requests
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.core.ready import Delivery, Handled, KeepPosition, Ready
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.reports import GAP_TOPIC, NOTICE_TOPIC
from fabric.protocol.point.point import Point
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.fetching import FETCH


class Deliveries:
    """Events, intel and results; actions are not handled here. `position`: how far a source is, as the outbox knows."""

    def __init__(
        self, core: Point, mailbox: Mailbox, position: Callable[[str], str | None], recorder: Recorder,
        approver: Approver, fetches: Fetches, unsealing: Unsealing, log: structlog.typing.FilteringBoundLogger,
    ) -> None:
        self._unsealing = unsealing
        self._core = core
        self._mailbox = mailbox
        self._position = position
        self._log = log
        self.subscriptions = Subscriptions(self._handled)
        self._recorder = recorder
        self._approver = approver
        self._fetches = fetches
        self.requests = Requests(recorder)
        self.on_notice: Callable[[Notice], None] | None = None

    def take(self, delivery: Delivery, now_ms: int) -> None:
        header, id_ = delivery.message.header, delivery.message.id
        by_relay = delivery.message.credential.kind is NodeKind.RELAY
        if header.kind is not Kind.RESULT:
            taken = int(self._position(batch_source(id_.hex())) or 0)
            self.subscriptions.take(id_, header.topic, Batch(delivery, taken, open_=self._unsealing.open))
        elif header.topic == GAP_TOPIC and by_relay and header.origin in self._core.parents:
            # Its own relays alone know what they had no room for.
            self.subscriptions.gap(id_, Batch(delivery, kind="gap"))
        else:
            self._take_result(delivery, by_relay, now_ms)

    def _take_result(self, delivery: Delivery, by_relay: bool, now_ms: int) -> None:
        topic, id_ = delivery.message.header.topic, delivery.message.id
        messages = messages_of(delivery, self._unsealing.open)
        if isinstance(messages, Reject):
            self._handled(id_, messages)
            return
        if topic == NOTICE_TOPIC and by_relay:
            self._take_notice(notice_of(messages[0]))
        elif topic == FETCH:
            self._fetches.take(delivery.message, messages)
        elif by_relay and self._approver.take(delivery.message, messages, now_ms):
            pass  # an approver is asked, or told
        elif topic not in (GAP_TOPIC, NOTICE_TOPIC):  # anybody else's word of these is let go
            header = delivery.message.header
            for late in self.requests.take(delivery.message, messages, now_ms):
                # Its requester was told `unknown`, and asks no more: whoever looks for the end finds it here.
                self._log.warning("result came late", action=header.correlation.hex(), target=late.target,
                                  end=str(late.end), code=Code.TIMED_OUT.label)
        self._recorder.when_written(lambda: self._handled(id_))

    def _take_notice(self, notice: Notice) -> None:
        for code, records in notice.by_code().items():
            self._log.warning("not delivered", relay=notice.relay, code=code, records=records)
        if self.on_notice is not None:
            with contained(self._log, "on_notice"):
                self.on_notice(notice)

    def _handled(self, id_: bytes, problem: Reject | None = None) -> None:
        source = batch_source(id_.hex())

        def handled(now_ms: int, ready: Ready) -> None:
            ready.merge(self._core.step(Handled(id_, problem), now_ms))
            if self._position(source):
                ready.persist.append(KeepPosition(source, ""))

        self._mailbox.call_if_any(handled)
