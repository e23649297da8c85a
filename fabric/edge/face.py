"""What both faces of a control point share: its options, its components, and every call that does not wait.

`fabric.edge.point` adds what an asyncio program awaits, `fabric.edge.blocking` the same for all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from fabric.edge.acting.attachments import Attachments
from fabric.edge.acting.executing import AT_ONCE, Executing, Use
from fabric.edge.approving.request import ApprovalRequest
from fabric.edge.approving.verdict import Verdict
from fabric.edge.arguments.checks import to_bytes, to_handler, to_seconds, to_text
from fabric.edge.artifacts.artifact import Artifact
from fabric.edge.collecting import Collector
from fabric.edge.effects.lease_list import LeaseEntry, read_leases
from fabric.edge.fetching.fetch import Fetch, FetchProgress, file_for
from fabric.edge.handling.handlers import Handler, Handlers, profiles_of
from fabric.edge.identity.identity import Identity, find_identity, load_identity
from fabric.edge.leaving import Leaving
from fabric.edge.logging.faults import contained
from fabric.edge.logging.log import edge_log
from fabric.edge.loop import EdgeLoop
from fabric.edge.messages import Action, Message
from fabric.edge.publishing.drafts import NO_STAMP, Stamp
from fabric.edge.publishing.intake import Entry
from fabric.edge.publishing.labelling import Labelling
from fabric.edge.publishing.options import ActionOptions, PublishOptions, action_stamp, as_position, to_position
from fabric.edge.publishing.publications import Publication, at_positions
from fabric.edge.publishing.relabelling import relabelled
from fabric.edge.publishing.snapshot import Snapshot, Snapshots, snapshot
from fabric.edge.publishing.stamps import Stamps
from fabric.edge.receiving.notices import Notice
from fabric.edge.requesting.account import Account
from fabric.edge.requesting.accounts import find_account, read_accounts
from fabric.edge.requesting.latest import Latest
from fabric.edge.requesting.request import AnyTarget, Progress, check_sealed, request_arguments
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import ARTIFACTS_BYTES_MAX
from fabric.protocol.vocabulary.tlp import Audience, Label

CONNECT_TIMEOUT_S = 15.0
# Each is a thread, and most handlers are a command or a call to a product.
ACTIONS_MAX = 256
# So long a decision is awaited, and a request that is decided by its id.
VERDICT_WAIT_MS = 10_000
# Of what is refused, and never published.
_NOTHING = Snapshot({}, 0)


def as_identity(identity: Identity | str | Path) -> Identity:
    """The identity itself, the one in this folder, or the one with this id on this machine. Raises FabricError."""
    if isinstance(identity, Identity):
        return identity
    return load_identity(identity) if isinstance(identity, Path) else find_identity(identity)


def at_once(actions: object) -> int:
    """How many actions may be at work at a time. Raises USAGE."""
    if not isinstance(actions, int) or isinstance(actions, bool) or actions not in range(1, ACTIONS_MAX + 1):
        raise FabricError(Code.USAGE, f"actions_at_once={actions!r}", f"give a number from 1 to {ACTIONS_MAX}")
    return actions


class Options(TypedDict, total=False):
    """How a control point is opened, as `Face` says."""

    outbox: Path | str | None
    connect_timeout_s: float | None
    wait_for_relay: bool
    actions_at_once: int
    artifacts: int


class Face:
    """A control point, without the calls that wait."""

    def __init__(
        self,
        identity: Identity | str | Path,
        *,
        outbox: Path | str | None = None,
        connect_timeout_s: float | None = CONNECT_TIMEOUT_S,
        wait_for_relay: bool = False,
        actions_at_once: int = AT_ONCE,
        artifacts: int = ARTIFACTS_BYTES_MAX,
    ) -> None:
        """`identity`: an id, a "fabric/id", an identity's folder, or an `Identity`.

        `outbox`: a file that keeps what is published until the relay holds it. With one, `publish` is done when the
        record is on this machine's disk, a relay that cannot be reached does not stop the program, and the next start
        goes on. `connect_timeout_s`: how long connecting may take; None: as long as it takes. `wait_for_relay`: a relay
        that does not answer is waited for that long; else it is an error at once. `actions_at_once`: how many handlers
        of actions run at a time; more actions wait, within their time to live. `artifacts`: so many bytes of what they
        attach are kept on this disk, for 7 days; for more of one requester its own oldest go.
        """
        self.identity = as_identity(identity)
        self._loop = EdgeLoop(
            self.identity, None if outbox is None else Path(outbox), artifacts=to_bytes(artifacts, "artifacts")
        )
        self._connect_timeout_s = connect_timeout_s
        self._wait_for_relay = wait_for_relay
        self._labelling = Labelling()
        self._snapshots = Snapshots()
        self._stamps = Stamps(self.identity.defaults, self.identity.credential.clearance)
        self._log = edge_log(self.identity.id)
        credential = self.identity.credential
        self._handlers = Handlers(credential.grants.execute, self._loop.denied, profiles_of(credential))
        self._executing = Executing(
            self._loop, self._loop.intake.publish, self._handlers, self._call, self._log, at_once(actions_at_once),
            lambda action: Attachments(self._loop.artifacts, action, credential.clearance, self._log),
            self._loop.unsealing.open,
        )
        self._leaving = Leaving(self._loop, self._executing, self._log)
        self._collector = Collector(self.identity, connect_timeout_s, self._log)

    # -- publish ----------------------------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Records that the relay does not hold yet."""
        return self._loop.lanes.counts.waiting

    @property
    def put_off(self) -> Code | None:
        """Why the relay last said that it takes nothing now: BUSY or RATE_EXCEEDED. None since it took something."""
        return self._loop.core.put_off

    @property
    def held_up(self) -> FabricError | None:
        """Why what is published goes no further at the moment: the outbox's disk is short (DISK_SHORT), no relay is
        connected, or the relay takes nothing in; or why handlers get no actions: another process executes as this
        identity. None while all goes on, as far as is known."""
        return self._loop.held_up

    def position_of(self, source: str) -> str | None:
        """How far this source was read, as far as the outbox knows."""
        return self._loop.intake.position(to_text(source, "a source", "/var/log/zeek/conn.log"))

    def pass_over(self, source: str, position: str) -> None:
        """What is at this position of a source is not published, and need not be read again: it is passed together
        with what was published before it. Needs an outbox."""
        self._loop.intake.pass_over(as_position(source, position))

    def on_refused(self, tell: Callable[[str, int, FabricError], None]) -> None:
        """Be told (envelope id, records, why) when what was in the outbox ends without delivery.

        On the connection's thread: it must not block.
        """
        self._loop.publisher.on_refused = tell

    def on_notice(self, tell: Callable[[Notice], None]) -> None:
        """Be told what relays further up held and could not deliver: expired, denied, withheld, unroutable, no room.

        Counts, some time after it happened. On the connection's thread: it must not block.
        """
        self._loop.deliveries.on_notice = tell

    def on_end(self, tell: Callable[[FabricError], None]) -> None:
        """Be told, once, what ended the connection for good: nothing comes or goes any more, and calls raise it.

        On the connection's thread: it must not block.
        """
        self._loop.ending.call(tell)

    def on_link(self, tell: Callable[[FabricError | None], None]) -> None:
        """Be told each time that a relay has confirmed what this control point takes (None), and each time that it is
        gone (why): what others publish between these may not come here.

        On the connection's thread: it must not block.
        """

        def told(problem: FabricError | None) -> None:
            with contained(self._log, "on_link"):
                tell(problem)

        self._loop.status.on_link(told)

    def _stamped(
        self, topic: str, content: Mapping[str, Any], labels_required: bool, options: PublishOptions
    ) -> tuple[Stamp, Snapshot]:
        stamp, taken = self._stamps.of(topic, options), self._snapshots.of(content)
        if labels_required:
            self._labelling.require(stamp.rules, taken.record)
        return stamp, taken

    def _relabelled(
        self, message: Message, label: Label | str, fields: Iterable[str] | None,
        audience: Audience | Mapping[str, Sequence[str]] | None, ttl: int | str | None,
    ) -> tuple[Stamp, Snapshot]:
        stamp, content = relabelled(
            message, self.identity.credential.organisation, self.identity.defaults, label=label, fields=fields,
            audience=audience, ttl=ttl,
        )
        return stamp, snapshot(content)

    def _entries_of(
        self, topic: str, contents: Sequence[Mapping[str, Any]], labels_required: bool,
        positions: Sequence[tuple[str, str] | None] | None, options: PublishOptions,
    ) -> list[Entry]:
        """Raises FabricError for what is wrong with all of them."""
        stamp = self._stamps.of(topic, options)
        return [
            self._entry(stamp, content, position, labels_required)
            for content, position in at_positions(contents, positions)
        ]

    def _entries(self, publications: Sequence[Publication], labels_required: bool) -> list[Entry]:
        """Whatever is wrong with one is an error of that one."""
        entries = []
        for topic, content, position, options in publications:
            try:
                stamp = self._stamps.of(topic, options)
            except FabricError as error:
                entries.append(Entry(NO_STAMP, _NOTHING, to_position(position), error))
            else:
                entries.append(self._entry(stamp, content, position, labels_required))
        return entries

    def _entry(
        self, stamp: Stamp, content: Mapping[str, Any], position: tuple[str, str] | None, labels_required: bool
    ) -> Entry:
        kept = to_position(position)
        try:
            taken = self._snapshots.of(content)
            if labels_required:
                self._labelling.require(stamp.rules, taken.record)
        except FabricError as error:
            return Entry(stamp, _NOTHING, kept, error)
        return Entry(stamp, taken, kept)

    # -- subscribe --------------------------------------------------------------------------------------

    @property
    def wanted(self) -> tuple[str, ...]:
        """All that this control point subscribes to, with what earlier runs subscribed to durably."""
        return self._loop.attaching.patterns

    def forget(self, pattern: str) -> None:
        """Nothing waits for this durable subscription any more."""
        self._loop.attaching.forget(pattern)

    # -- actions ----------------------------------------------------------------------------------------

    @property
    def executing(self) -> Use:
        """How many actions are at work and wait, and how many may be at work at a time (`actions_at_once`)."""
        return self._executing.use

    def _execute(
        self, action: str, target_type: str, handler: Handler, idempotent: bool, revert: Handler | None,
        ends_itself: bool,
    ) -> None:
        first = not self._handlers
        self._handlers.add(
            to_text(action, "an action", "deny"), to_text(target_type, "a target", "*"), to_handler(handler),
            idempotent=idempotent, revert=revert, ends_itself=ends_itself,
        )
        if first:
            self._loop.ledger.execute(self._executing, self._executing.reverting)

    def _call(self, handler: Handler, action: Action) -> Any:
        """On a thread of `Executing`, where it may block."""
        return handler(action)

    def actions(self, *, open_only: bool = False, last: int = 100) -> list[Account]:
        """What programs of this identity asked for, the newest first, as the book in its folder has it; `open_only`:
        of which something is still awaited. Nobody is asked for it. Raises BOOK_FAILED."""
        return read_accounts(self.identity.folder, open_only=open_only, count=last)

    def leases(self) -> list[LeaseEntry]:
        """The effects that this identity has in force on this machine and that end by themselves, as they were a second
        ago at most while a program executes as it. Raises SPOOL_FAILED."""
        return read_leases(self.identity.folder)[0]

    def action(self, id_: str) -> Account:
        """The one whose id begins so. Raises NO_ACTION where none does, or several, BOOK_FAILED."""
        return find_account(self.identity.folder, id_)

    def _as_cancelled(self, action_id: str, options: ActionOptions) -> ActionOptions:
        """Like the action, as far as the book has it: so what cancels it comes after it, to whom may know of it."""
        known: ActionOptions = {}
        with suppress(FabricError):
            account = self.action(action_id)
            known = {"severity": account.severity, "label": account.label}
        return {**known, **options, "cancels": action_id}

    def _request(
        self, action: str, target: AnyTarget, to: str, args: Mapping[str, Any] | None, command_id: str, wait_ms: int,
        options: ActionOptions, progress: Latest[Progress], key: str = "",
    ) -> Callable[[], Future[bytes]]:
        """Called, it asks. The action's id, when it is on its way; from then on `progress` has what is known of its
        targets."""
        spec, record = request_arguments(action, target, to, args, command_id)
        stamp = action_stamp(spec, to, self.identity.defaults, **options)
        if options.get("seal"):
            check_sealed(record["args"], key)

        def ask() -> Future[bytes]:
            tell = lambda tracker: progress.put(Progress.of(tracker))  # noqa: E731 - beside what it is for
            return self._loop.requester.request(stamp, record, wait_ms, tell, key)

        return ask

    def _fetch(
        self, artifact: Artifact, path: Path | str, progress: FetchProgress | None, timeout_s: float | None
    ) -> tuple[Fetch, Path]:
        """What fetches it, and where to."""
        if not isinstance(artifact, Artifact):
            what = f"an artifact of type {type(artifact).__name__[:64]}"
            raise FabricError(Code.USAGE, what, "give one of an outcome's artifacts")
        fetch = Fetch(self._loop, artifact, progress or (lambda _: None), to_seconds(timeout_s, "a timeout_s"))
        return fetch, file_for(artifact, path)

    # -- approvals --------------------------------------------------------------------------------------

    def _decide(
        self, request: ApprovalRequest | str, approves: bool, why: str, wait_ms: int
    ) -> Future[Verdict]:
        if not isinstance(request, ApprovalRequest):
            request = to_text(request, "the id of an action", "4f1c09")
        return self._loop.approver.decide(
            request, approves=approves, why=to_text(why, "a reason", "maintenance") if why else "", wait_ms=wait_ms
        )

    @property
    def requests_missed(self) -> int:
        """For how many requests of approvals there was no room here: deny or approve some, then connect again."""
        return self._loop.approver.open.missed

    def _end(self, timeout_s: float | None) -> int:
        """Leave, as `Leaving` says, and with it what collects results."""
        try:
            return self._leaving.leave(timeout_s)
        finally:
            self._collector.release()
