"""Submits a program's requests for actions, from any thread."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

from fabric.edge.connection.mailbox import Mailbox, fail
from fabric.edge.locks import Pending
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.drafts import Draft, Stamp
from fabric.edge.publishing.publisher import Publisher
from fabric.edge.requesting.account import asked_of
from fabric.edge.requesting.recorder import Recorder
from fabric.edge.requesting.requests import Requests, Tell
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import Code, FabricError, code_of
from fabric.protocol.base.limits import ID_BYTES
from fabric.protocol.core.ready import Deny, Ready
from fabric.protocol.envelope.field_labels import Record
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.point.point import Point
from fabric.protocol.trust.policies import Asked, demand_of
from fabric.protocol.vocabulary.openc2 import split_topic
from fabric.protocol.wire.frames import Direction
from fabric.spool.book import Entry

_REFUSED_NEXT = "ask under another key: its relay did not take it"


class Requester:
    """`requests`: those that are open; `recorder`: where they are written down."""

    def __init__(
        self, core: Point, mailbox: Mailbox, publisher: Publisher, requests: Requests, recorder: Recorder,
        awaiting_keys: AwaitingKeys,
    ) -> None:
        self._awaiting_keys = awaiting_keys
        self._core = core
        self._mailbox = mailbox
        self._publisher = publisher
        self._requests = requests
        self._recorder = recorder

    def request(self, stamp: Stamp, record: Record, wait_ms: int, tell: Tell, key: str = "") -> Future[bytes]:
        """The action's id, when a relay or the outbox has it; `tell` runs on the connection's thread whenever its
        tracker has learnt something. What no target has answered `wait_ms` after its time to live is unknown.

        `key`: the action that was asked for under it, if there was one. Raises KEY_TAKEN, BOOK_FAILED, and BUSY where
        nobody keeps what becomes of it.
        """
        begun: Pending[bytes] = Pending()

        def begin(now_ms: int, ready: Ready) -> None:
            if not begun.set_running_or_notify_cancel():
                return
            draft = Draft(stamp, record, now_ms, begun)
            if stamp.audience is None:
                ask(draft, now_ms, ready)
                return
            # It is sealed to its targets: who that is has to be known first. Its time counts from when it was asked
            # for, however long that takes.
            go = partial(ask, draft)
            self._awaiting_keys.when_known(draft, go, lambda error: fail(begun, error), now_ms, ready)

        def ask(draft: Draft, now_ms: int, ready: Ready) -> None:
            try:
                if now_ms >= draft.at_ms + stamp.ttl_ms:
                    raise FabricError(Code.EXPIRED, "before it was known whom to seal it to")
                self._check_unseen(draft.stamp)
                self._requests.check_room()
                known = self._recorder.known(key, stamp, record) if key else None
                if known is None:
                    known = self._begin(draft, key, wait_ms, tell, now_ms, ready)
                if known is not None:
                    self._go_on(known, draft, wait_ms, tell, now_ms, ready)
            except FabricError as error:
                fail(begun, error)

        self._mailbox.call(begin, lambda error: fail(begun, error))
        return begun

    def _check_unseen(self, stamp: Stamp) -> None:
        """Raises APPROVAL_DUE for what is sealed, and somebody would have to see to approve it."""
        if stamp.audience is None:
            return
        targets = [self._core.trust.credentials.newest(id_) for id_ in stamp.audience.recipients]
        asked = Asked(*split_topic(stamp.topic), stamp.label, stamp.severity)
        rule = demand_of(self._core.trust.policies, asked, [each for each in targets if each is not None])
        if rule is not None:
            raise FabricError(
                Code.APPROVAL_DUE, f"rule {rule.name}: what is sealed to its targets nobody else can approve",
                "ask without sealing it, by relays that may have its label",
            )

    def _begin(
        self, draft: Draft, key: str, wait_ms: int, tell: Tell, now_ms: int, ready: Ready
    ) -> Entry | None:
        """A new action. What there was under its key, where another process was quicker."""
        stamp = draft.stamp
        message = self._publisher.seal_one(draft)
        if key and (refused := self._core.why_not(message, now_ms)) is not None:
            # Nothing was sent, so its key is for another try. Without one it is refused as everything else is.
            ready.merge(self._core.step(Deny(refused.code), now_ms))
            raise FabricError(refused.code, refused.detail)
        entry = self._recorder.write_down(message, key, now_ms)
        if entry is not None and entry.id != message.leaf:
            return entry
        deadline_ms = draft.at_ms + stamp.ttl_ms + wait_ms
        if entry is None:
            tracker = Tracker(
                message.leaf, now_ms, deadline_ms, ttl_ms=stamp.ttl_ms, wait_ms=wait_ms, dry_run=stamp.terms.dry_run
            )
        else:
            tracker = self._recorder.begin(entry, deadline_ms, wait_ms)
        self._send(message, draft, now_ms, ready)
        self._requests.add(tracker, tell)
        return None

    def _go_on(self, entry: Entry, draft: Draft, wait_ms: int, tell: Tell, now_ms: int, ready: Ready) -> None:
        """An action that is in the book already: it is awaited, and sent again where it may not have arrived."""
        token = draft.token
        header, _ = asked_of(entry.envelope)
        left_ms = max(0, header.issued_at_ms + header.ttl_ms - self._core.time.to_sign(now_ms))
        open_ = self._requests.get(entry.id)
        if open_ is not None:
            open_.wait_until(now_ms + left_ms + wait_ms)
            self._requests.add(open_, tell)
            token.set_result(entry.id[:ID_BYTES])
            return
        if entry.refused:
            raise FabricError(code_of(entry.refused), entry.why, _REFUSED_NEXT)
        tracker = self._recorder.begin(entry, now_ms + left_ms + wait_ms, wait_ms)
        if left_ms and not entry.arrived and self._core.custody.get(entry.id[:ID_BYTES], Direction.UP) is None:
            self._core.trust.introduce(entry.credential)
            self._send(self._publisher.opened(entry.envelope), draft, now_ms, ready)
        else:
            token.set_result(entry.id[:ID_BYTES])
        self._requests.add(tracker, tell)

    def _send(self, message: Verified, draft: Draft, now_ms: int, ready: Ready) -> None:
        self._publisher.send_one(message, draft, now_ms, ready)
        if not self._publisher.durable:
            draft.token.add_done_callback(lambda token: self._told(message.leaf, token))

    def _told(self, leaf: bytes, token: Future[bytes]) -> None:
        """A relay has it, or said that it never will. Where the connection ended, or its time, nobody knows."""
        error = token.exception()
        if error is None:
            self._recorder.arrived(leaf)
        elif isinstance(error, FabricError) and self._mailbox.ended is None and error.code is not Code.EXPIRED:
            self._recorder.refused(leaf, error)

    def look(self, now_ms: int) -> None:
        """Each turn: what other processes of this identity have heard of what is open here."""
        for tracker in self._recorder.look(now_ms):
            self._requests.tell(tracker)
