"""Everything at the edge that grows by what a peer sends or a program does: filled to its bound, and what happens then.

`BOUNDS` names every container of `fabric.edge`, `fabric.spool` and `fabric.transport`; one that is not in it fails the
first test.
"""

import ast
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import pytest

import fabric
from fabric.edge.connection.mailbox import WAITING_MAX as CALLS_MAX
from fabric.edge.connection.mailbox import Mailbox
from fabric.edge.connection.renewing import ASKED_MAX, Renewing
from fabric.edge.connection.status import Status
from fabric.edge.discovery.measuring import ADDRESSES_MAX, measure
from fabric.edge.publishing import outbox
from fabric.edge.publishing.awaiting_keys import AwaitingKeys
from fabric.edge.publishing.composer import STREAMS_MAX, Composer
from fabric.edge.publishing.drafts import Draft, Position, Stamp
from fabric.edge.publishing.in_flight import URGENT_MAX
from fabric.edge.publishing.lanes import WAITING_MAX
from fabric.edge.publishing.recipients import Recipients
from fabric.edge.publishing.sources import BEGUN_MAX
from fabric.edge.receiving.subscriptions import SUBSCRIBERS_MAX, Subscription, Subscriptions
from fabric.edge.requesting.latest import Latest
from fabric.edge.requesting.requests import OPEN_MAX, Requests
from fabric.edge.requesting.tracking import Tracker
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import SUBSCRIPTIONS_MAX
from fabric.protocol.core.ready import KeepPosition, Published, Ready
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.point.point import Point
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from fabric.spool import Spool
from fabric.spool.damaged import NAMED_MAX, Damaged
from tests.publishing import publishing
from tests.support import EVERYTHING, T0, Authority, entropy

AUTHORITY = Authority("bounds")
ME = AUTHORITY.issue("zeek-1", grants=EVERYTHING)

# Container -> its bound. What a relay sends is bounded by what the core has in hand: credit, and POINT_QUOTA_BYTES.
BOUNDS = {
    # what a program publishes
    "edge/publishing/lanes.py:Lanes._queued": "WAITING_MAX records a lane, BYTES_MAX of large ones; else BUSY",
    "edge/publishing/lanes.py:Lanes._aside": "counted with _queued: what is put aside gives back no room",
    "edge/publishing/lanes.py:Lanes._aside_records": "a number a lane",
    "edge/publishing/lanes.py:Lanes._large_bytes": "a number a lane",
    "edge/publishing/counts.py:Counts.without_place": "one for each thread that waits for a place",
    "edge/publishing/recipients.py:Recipients._selected": "_SELECTORS_MAX, the oldest goes",
    "edge/publishing/recipients.py:Recipients._asked": "ASKED_MAX questions, each over within ASK_MS; BUSY",
    "edge/publishing/awaiting_keys.py:AwaitingKeys._waiting": "WAITING_MAX records; BUSY",
    "edge/publishing/recipients.py:Recipients._under_way": "names of ASKED_MAX questions",
    "edge/publishing/recipients.py:Recipients._missing": "names of ASKED_MAX questions, for one turn; BUSY",
    "edge/publishing/recipients.py:Recipients._problems": "of the names of ASKED_MAX questions, for one turn",
    "edge/receiving/unsealing.py:Unsealing._failed": "_ORIGINS_MAX origins, the one that failed longest ago goes",
    "edge/publishing/in_flight.py:InFlight._groups": "_ENVELOPES_MAX, urgent URGENT_MAX, and as many of each topic "
    "that waits for a reader (TOPICS_APART_MAX a lane); with an outbox one turn's",
    "edge/publishing/publisher.py:Publisher._fresh": "one turn's",
    "edge/publishing/publisher.py:Publisher._sealing": "a burst, and what waited for keys; one turn's",
    "edge/publishing/sources.py:Sources._begun":
    "BEGUN_MAX records a source, of sources of which something waits; BUSY",
    "edge/publishing/publisher.py:Publisher._left":
    "what waited and was in flight when the connection ended, until it is left",
    "edge/publishing/composer.py:Composer._streams": "STREAMS_MAX; the one left longest ago begins anew",
    "edge/publishing/receipts.py:Many._outcomes": "what its program gives at a time",
    "edge/publishing/stamps.py:Stamps._known": "STAMPS_MAX; then made anew",
    "edge/publishing/snapshot.py:Snapshots._known": "_SHAPES_MAX; then made anew",
    "edge/publishing/labelling.py:KnownLabels._known": "_RULES_MAX; then computed anew",
    # what it asks for
    "edge/requesting/requests.py:Requests._requests": "OPEN_MAX; BUSY. Each ends at its deadline",
    "edge/requesting/recorder.py:Recorder._written": "OPEN_MAX and _OTHERS_MAX",
    "edge/requesting/recorder.py:Recorder._open": "OPEN_MAX",
    "edge/requesting/recorder.py:Recorder._others": "_OTHERS_MAX; the oldest is read again when it is heard of",
    "edge/requesting/recorder.py:Recorder._entries": "_GATHER_MS of requests; while a disk fails counted with _changes",
    "edge/requesting/recorder.py:Recorder._changes":
    "_GATHER_MS of words; while a disk fails _WAITING_MAX, of what the core has in hand",
    "edge/requesting/recorder.py:Recorder._unread": "counted with _changes",
    "edge/requesting/recorder.py:Recorder._acknowledge": "what the core has in hand",
    "edge/requesting/requests.py:Requests._over":
    "OVER_MAX of UNKNOWN_MAX targets together; of the oldest nothing is said late",
    "edge/requesting/tracking.py:Tracker._early": "_EARLY_MAX words of _EARLY_BYTES_MAX; more are not heard",
    "edge/requesting/tracking.py:Tracker.ends": "TARGETS_MAX",
    "edge/requesting/tracking.py:Tracker.effects": "TARGETS_MAX",
    "edge/requesting/tracking.py:Tracker.steps": "TARGETS_MAX",
    "edge/requesting/tracking.py:Tracker.news": "what one delivery brings: it is taken after each",
    "edge/requesting/tracking.py:Tracker._early_effects": "_EARLY_MAX words of _EARLY_BYTES_MAX; more are not heard",
    "edge/requesting/tracking.py:Tracker._early_holds": "_EARLY_HOLDS_MAX relays; more are not heard",
    "edge/requesting/request.py:Request.steps": "TARGETS_MAX",
    "edge/requesting/request.py:Progress.outcomes": "TARGETS_MAX",
    "edge/requesting/request.py:Request.outcomes": "TARGETS_MAX",
    "edge/requesting/rollout.py:Rollout.outcomes": "TARGETS_MAX: its targets",
    "edge/requesting/latest.py:Latest._waiting": "1",
    "edge/connection/renewing.py:Renewing._asked": "ASKED_MAX; BUSY. Each ends after ASK_MS",
    "edge/identity/renewal.py:Renewal._asked": "ASKED_MAX and its own one",
    "edge/connection/end_of_connection.py:EndOfConnection._listeners": "one for each thread or task in `run_forever`",
    "edge/connection/mailbox.py:Mailbox._waiting":
    "WAITING_MAX of the program; BUSY. And one for each delivery in hand",
    # what it executes
    "edge/acting/waiting.py:Waiting._heap": "WAITING_MAX; HANDLERS_BUSY. Each ends with its time to live",
    "edge/acting/waiting.py:Waiting._put_off": "effects of these; forgotten ten times a second",
    "edge/acting/letters.py:Letters._waiting":
    "one for each action that the ledger has, at most; a thread of its own takes them all",
    "edge/acting/cancelled.py:Cancelled._words": "CANCELLED_MAX, a share for each who cancels; its own oldest goes",
    "edge/acting/cancelling.py:Cancelling._to_tell": "`actions_at_once`: those whose handlers run",
    "edge/acting/cancelling.py:Cancelling._releases": "one for each action that the ledger has, at most",
    "edge/effects/leases.py:Leases._all": "LEASE_BYTES_MAX, a share for each requester; LEASES_FULL",
    "edge/effects/leases.py:Leases._of": "effects of these",
    "edge/effects/leases.py:Leases._ready": "effects of these",
    "edge/effects/leases.py:Leases._holds": "these",
    "edge/effects/lease.py:OnEffect.ids": "leases",
    "edge/effects/lease.py:OnEffect.upheld": "leases",
    "edge/effects/lease.py:OnEffect.due": "leases",
    "edge/effects/lease.py:OnEffect.fresh": "leases",
    "edge/effects/leases.py:Leases._held": "requesters of these",
    "edge/effects/leases.py:Leases._timers": "twice these, and 32",
    "edge/effects/leases.py:Leases._works": "`actions_at_once`",
    "edge/effects/leases.py:Leases._at_work": "`actions_at_once`",
    "edge/effects/leases.py:Leases._reverting": "effects of leases",
    "edge/effects/leases.py:Leases._to_tell": "leases that are over since the last turn",
    "edge/effects/leasing.py:Leasing._failed": "leases",
    "edge/effects/leasing.py:Leasing._releasing": "one for each action that the ledger has, at most",
    "edge/effects/lease_list.py:LeaseList._fixed": "leases",
    "edge/effects/lease_list.py:LeaseList._unreadable": "_UNREADABLE_MAX",
    "edge/effects/for_good.py:ForGood._kept": "FOR_GOOD_MAX; a requester's own oldest goes",
    "edge/effects/for_good.py:ForGood._of_effect": "those kept",
    "edge/effects/for_good.py:ForGood._of_target": "those kept",
    "edge/effects/leasing.py:Leasing._at_work": "begun and not answered: `actions_at_once`",
    "edge/ledger/left_behind.py:Left.intents": "what a ledger has: LEDGER_BYTES_MAX",
    "edge/ledger/left_behind.py:Left.answers": "what a ledger has: LEDGER_BYTES_MAX",
    "edge/effects/reverting.py:Reverting._waiting": "leases",
    "edge/effects/reverting.py:Reverting._words": "two for each lease",
    "edge/effects/reverting.py:Reverting._began_ms": "_THREADS_MAX",
    "edge/acting/at_work.py:AtWork._all": "WAITING_MAX and `actions_at_once`",
    "edge/control.py:Control._heard_by": "what the handler of one action registers",
    "edge/ledger/executions.py:Executions._all": "ACTIONS_SEEN_MAX, as the core remembers them",
    "edge/ledger/executions.py:Executions._deadlines": "one for each of these",
    "edge/ledger/executions.py:Executions._told":
    "LEDGER_TOLD_BYTES_MAX, a share for each requester; its own oldest is forgotten",
    "edge/ledger/executions.py:Executions._told_held": "requesters of these",
    "edge/ledger/ledger.py:Ledger._ops": "one turn's",
    "edge/ledger/ledger.py:Ledger._owed": "a second's; while the disk is short, two for each action that it has",
    "edge/ledger/ledger.py:Ledger._told": "one for each action that the ledger has; a turn takes them all",
    "edge/ledger/ledger.py:Ledger._to_begin": "`actions_at_once`",
    "edge/ledger/ledger.py:Ledger._to_keep": "one for each action that the ledger has",
    "edge/ledger/requesters.py:Requesters._on_disk": "CREDENTIALS_CACHED_MAX; written again",
    "edge/ledger/recovering.py:Recovery._open": "what a ledger has: LEDGER_BYTES_MAX",
    "edge/ledger/recovering.py:Recovery._answers": "what a ledger has: LEDGER_BYTES_MAX",
    "edge/handling/replies.py:Reply.record": "BYTES_MAX of a result, and who says it",
    "edge/acting/executing.py:Executing._threads": "`actions_at_once`, and one more",
    "edge/point.py:ControlPoint._awaited": "`actions_at_once`",
    "edge/handling/fitting.py:Fitted.result": "BYTES_MAX",
    # what actions left
    "edge/artifacts/store.py:Store._by_id": "its bytes on disk, 64 KiB more for each; its requester's oldest goes",
    "edge/artifacts/store.py:Store._held": "requesters of these",
    "edge/artifacts/store.py:Store._unsettled": "those of these whose time is not sure yet",
    "edge/acting/attachments.py:Attachments._attached": "ARTIFACTS_MAX; the others are counted",
    "edge/acting/serving.py:Serving._served": "requesters of AT_ONCE",
    "edge/acting/serving.py:Serving._refused": "requesters of _REFUSED_AT_ONCE",
    "edge/fetching/fetches.py:Fetches._asked": "two for each range that the program fetches now, whose thread waits",
    "edge/fetching/fetch.py:Fetch._heard": "what came since its thread looked, which does nothing else",
    "edge/fetching/windows.py:Windows._ahead": "two ranges of WINDOW_BYTES_MAX; other pieces are not taken",
    "edge/fetching/windows.py:Windows._open": "_OPEN_MAX",
    # what it decides
    "edge/approving/open_requests.py:OpenRequests._open":
    "OPEN_MAX of BYTES_MAX together, a share for each relay; more are counted as missed. Each ends with its hold",
    "edge/approving/open_requests.py:OpenRequests._count": "relays of these",
    "edge/approving/open_requests.py:OpenRequests._bytes": "relays of these",
    "edge/approving/inbox.py:Inbox._unread": "OPEN_MAX: what is over is taken out",
    "edge/approving/approver.py:Approver._inboxes": "INBOXES_MAX; BUSY",
    "edge/approving/approver.py:Approver._decisions": "DECISIONS_MAX; BUSY. Each ends after its wait_ms, twice at most",
    "edge/approving/approver.py:Approver._over": "_OVER_MAX; of older ones it is said that nobody asks for them",
    # what it takes
    "edge/receiving/subscriptions.py:Subscriptions._subscriptions":
    "SUBSCRIBERS_MAX of SUBSCRIPTIONS_MAX patterns; TOO_LARGE",
    "edge/receiving/subscriptions.py:Subscriptions._durable": "SUBSCRIPTIONS_MAX; TOO_LARGE",
    "edge/receiving/subscriptions.py:Subscriptions._parked": "what the core has in hand",
    "edge/receiving/iterators.py:Messages._waiting": "what the core has in hand",
    "edge/receiving/reader.py:Reader._lanes": "what the core has in hand; one delivery a lane is unpacked",
    "edge/receiving/reader.py:Reader._current": "one of the lanes for each record of a group",
    "edge/handling/handlers.py:Handlers._handlers": "what the program is written to execute",
    "edge/blocking.py:ControlPoint._handlings": "SUBSCRIBERS_MAX that run; those that ended go with the next",
    "edge/point.py:ControlPoint._tasks": "actions that are remembered until their ttl, a share for each requester",
    # on its own disk
    "spool/book.py:Word.said": "one result: BODY_BYTES_MAX",
    "edge/publishing/outbox.py:EdgeOutbox._positions": "SOURCES_MAX; TOO_LARGE",
    "edge/publishing/outbox.py:EdgeOutbox._batches":
    "BATCHES_MAX; the oldest is given out from its begin, if it comes again",
    "spool/owed.py:Owed._ops": "_OWED_MAX, or 50 ms",
    "spool/damaged.py:Damaged._named": "NAMED_MAX; the others are counted",
    "spool/statements.py:Statement.rows": "one commit's",
    "spool/numbers.py:Numbers._known": "rows on disk: the lanes' quotas",
    "spool/sleepers.py:Sleepers._awake": "readers that rows on disk wait for, ten each",
    "spool/sleepers.py:Sleepers._ended": "readers that were forgotten, while rows on disk slept for them",
    "spool/sleepers.py:Sleepers._lines": "readers that rows on disk wait for, ten each",
    "spool/sleepers.py:Sleepers._unwanted": "rows on disk that slept for who was forgotten",
    "spool/backlog.py:Backlog._awake": "awake_max a lane",
    "spool/backlog.py:Backlog._by_id": "rows on disk that sleep",
    "spool/backlog.py:Backlog._numbers": "rows on disk that sleep",
    "spool/backlog.py:Backlog._signers": "signers of rows on disk",
    "spool/backlog.py:Backlog._sizes": "rows on disk that sleep",
    "spool/backlog.py:Backlog._whose": "rows on disk that sleep",
    # relays that are near
    "edge/discovery/nearby.py:Nearby._result": "1: one measurement at a time",
    "edge/discovery/nearby.py:Nearby._round_trips_ms": "ADDRESSES_MAX",
    "edge/connection/status.py:Status._revoking": "relays that it may connect to",
    "edge/connection/status.py:Status._silent": "relays that it may connect to",
    # connections
    "transport/dialler.py:Dialler.counters": "codes",
    "transport/diallers.py:Diallers._all": "peers; former ones until their connection is closed",
    "transport/diallers.py:Diallers._by_link": "one a peer",
    "transport/diallers.py:_Dialled.registered": "2",
    "transport/door.py:DoorTest._knocks": "ways in",
    "transport/door.py:_Knock.answers": "frames within the time of one knock",
    "transport/gate.py:Gate.counters": "a fixed set of words",
    "transport/inbox.py:Inbox._debts_ns": "_DEBTORS_MAX; the smaller half is forgotten",
    "transport/inbox.py:Inbox._links": "frames in it: 32 MiB",
    "transport/inbox.py:Inbox._queues": "frames in it: 32 MiB",
    "transport/inbox.py:Inbox._turns": "one for each queue",
    "transport/inbox.py:Inbox.dropped": "a fixed set of words",
    "transport/unread.py:Unread._taken": "connections that there are",
    "transport/unread.py:Unread._left": "connections that there are",
    "transport/unread.py:Unread._looked": "connections that there are",
    "transport/unread.py:Unread._still": "connections that there are",
    "transport/unread.py:Unsent._given": "connections that there are",
    "transport/inbox.py:_Queue.others": "32 MiB, and no more than what is left; dropped, and sent again",
    "transport/inbox.py:_Queue.urgent": "the same, together with the others",
    "transport/crowds.py:Crowds._kept_out": "KEPT_OUT_MAX",
    "transport/crowds.py:Crowds._tokens": "_HOSTS_MAX; the host that came longest ago is forgotten",
    "transport/strangers.py:Strangers._by_host": "STRANGERS_MAX; the oldest of the host that has most is cut",
    "transport/strangers.py:Strangers._host_of": "STRANGERS_MAX",
    "transport/strangers.py:Strangers._known": "descriptors",
    "transport/listener.py:Listener._accepted": "descriptors",
    "transport/listener.py:Listener._cut": "descriptors",
    "transport/listener.py:Listener._ending": "descriptors",
    "transport/listener.py:Listener._of_peer": "descriptors",
    "transport/listener.py:Listener._by_descriptor": "descriptors",
    "transport/listener.py:Listener._by_route": "descriptors",
    "transport/listener.py:Listener._links": "descriptors",
    "transport/listener.py:Listener._silent": "descriptors",
    "transport/listener.py:Listener.counters": "a fixed set of words",
}
_CONTAINERS = {
    "dict", "list", "set", "deque", "Counter", "Queue", "SimpleQueue", "OrderedDict", "defaultdict", "Latest", "array",
    "Shared", "Holdings",
}


def containers(package: Path) -> list[str]:
    """`edge/file.py:Class.attribute` of what holds many."""
    found = []
    for path in sorted(package.rglob("*.py")):
        for made in [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]:
            for node in ast.walk(made):
                if not isinstance(node, ast.Assign | ast.AnnAssign) or not _holds_many(node):
                    continue
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    of_self = isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
                    if of_self or node in made.body:
                        name = ast.unparse(target).removeprefix("self.")
                        found.append(f"{path.relative_to(package.parent)}:{made.name}.{name}")
    return found


def _holds_many(node: ast.Assign | ast.AnnAssign) -> bool:
    said = node.annotation if isinstance(node, ast.AnnAssign) else None
    made = node.value.func if isinstance(node.value, ast.Call) else None
    if isinstance(node.value, ast.Dict | ast.List | ast.Set | ast.ListComp | ast.DictComp):
        return True
    return any(
        ast.unparse(words).split("[")[0].split(".")[-1] in _CONTAINERS for words in (said, made) if words is not None
    )


@pytest.mark.parametrize("package", ["edge", "spool", "transport"])
def test_every_container_has_a_bound_that_somebody_can_name(package):
    root = Path(fabric.__file__).parent / package
    found = containers(root)
    assert found, "the search works"
    assert [name for name in found if name not in BOUNDS] == [], "say in BOUNDS what bounds it, and fill it below"
    gone = [name for name in BOUNDS if name.startswith(f"{package}/") and name not in found]
    assert gone == [], "BOUNDS names what is not there any more"


# -- what a program publishes -------------------------------------------------------------------------------


def outgoing(durable=False):
    core = Point(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("core"))
    composer = Composer(ME.credential, ME.signer, RootCache(), entropy("composer"))
    made = publishing(core, composer, AwaitingKeys(core, Recipients(core, entropy("keys"))))
    made.in_flight.durable = durable
    return made


def draft(severity=Severity.LOW, source="", kind=Kind.EVENT):
    topic, to = ("deny.ipv4_net", "id=fw-1") if kind is Kind.ACTION else ("detections.x", "")
    stamp = Stamp(kind, topic, severity, Phase.NONE, 60_000, Label.GREEN, to=to)
    return Draft(stamp, {"n": 1}, T0, Future(), 10, Position(source, "1") if source else None)


def refused(call, *arguments):
    with pytest.raises(FabricError) as problem:
        call(*arguments)
    return problem.value.code


def test_records_that_wait_for_the_relay_fill_their_lane_and_no_other():
    made, one = outgoing(), draft()
    for _ in range(WAITING_MAX):
        made.lanes.add(one)
    assert refused(made.lanes.add, one, 0.0) is Code.BUSY
    made.lanes.add(draft(Severity.CRITICAL), 0.0)


def send_one(made, one, ready):
    made.publisher.send_one(made.publisher.seal_one(one), one, T0, ready)


def test_urgent_ones_and_requests_are_sent_without_waiting_only_until_so_many_wait_for_the_relay():
    made, ready = outgoing(), Ready()
    for _ in range(URGENT_MAX // 2):
        send_one(made, draft(kind=Kind.ACTION), ready)
        made.lanes.add(draft(Severity.CRITICAL, kind=Kind.ACTION))
    made.publisher.compose(T0, ready)
    assert refused(made.publisher.seal_one, draft(kind=Kind.ACTION)) is Code.BUSY
    made.lanes.add(draft(Severity.CRITICAL, kind=Kind.ACTION))
    made.publisher.compose(T0, ready)
    assert len(made.in_flight) == URGENT_MAX and len(made.lanes._queued[Lane.URGENT]) == 1
    made.publisher.published(Published(next(iter(made.in_flight._groups)), None, 1))
    send_one(made, draft(kind=Kind.ACTION), ready)


def test_with_an_outbox_requests_are_refused_when_their_lane_is_full_on_disk():
    made = outgoing(durable=True)
    made.publisher._core.custody.open_intake(False)
    assert refused(made.publisher.seal_one, draft(kind=Kind.ACTION)) is Code.BUSY


def test_what_was_begun_and_is_not_ended_holds_back_so_many_of_its_source_and_no_other_source():
    made, one = outgoing(), draft(source="a")
    for _ in range(BEGUN_MAX):
        made.sources.begin(one)
    assert refused(made.sources.begin, one) is Code.BUSY
    made.sources.begin(draft(source="b"))


def test_sources_of_which_nothing_waits_take_no_room():
    made = outgoing()
    for n in range(500):
        one = draft(source=f"file {n}")
        made.sources.begin(one)
        one.taken = True
    made.sources.advance(Ready())
    assert made.sources._begun == {}


def test_streams_and_rules_of_a_program_that_invents_them_are_let_go():
    composer = Composer(ME.credential, ME.signer, RootCache(), entropy("streams"))
    first, other = [(topic, Label.GREEN, Audience(("acme",))) for topic in ("detections.0", "detections.1")]

    def number(of):
        """What `_next_of` gives, taken."""
        stream, sequence = composer._next_of(of)
        composer._streams[of] = stream, sequence + 1
        return stream, sequence

    stream, _ = number(first)
    number(other)
    assert number(first) == (stream, 1)
    for n in range(STREAMS_MAX - 1):
        number((f"more.{n}", Label.GREEN, Audience(("acme",))))
    assert len(composer._streams) == STREAMS_MAX and number(first) == (stream, 2)
    assert number(other)[1] == 0, "the one that was left longest ago begins anew"
    for n in range(3_000):
        stamp = draft().stamp._replace(rules=((f"field {n}", Label.AMBER),))
        composer._labels.of(stamp.rules, stamp.label)
    assert len(composer._labels._known) <= 1_024


def test_positions_of_new_sources_are_refused_when_so_many_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "SOURCES_MAX", 3)
    identity = SimpleNamespace(fabric="acme", id="zeek-1")
    kept = outbox.EdgeOutbox(tmp_path / "outbox", identity, T0)
    for n in range(3):
        kept.check_source(f"file {n}")
        kept.commit([KeepPosition(f"file {n}", "1")], T0)
    assert refused(kept.check_source, "file 3") is Code.TOO_LARGE
    kept.check_source("file 2")
    kept.commit([KeepPosition("file 0", "")], T0)
    kept.check_source("file 3")
    kept.close()


def test_of_batches_that_were_left_in_part_and_never_came_again_the_last_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "BATCHES_MAX", 3)
    monkeypatch.setattr(outbox, "SOURCES_MAX", 1)
    identity = SimpleNamespace(fabric="acme", id="zeek-1")
    kept = outbox.EdgeOutbox(tmp_path / "outbox", identity, T0)
    sources = [outbox.batch_source(n.to_bytes(16).hex()) for n in range(6)]
    kept.commit([KeepPosition(source, "1") for source in sources[:3]], T0)
    kept.commit([KeepPosition(sources[0], "2")], T0)
    kept.commit([KeepPosition("batch of a program's own", "1")], T0)
    kept.commit([KeepPosition(sources[3], "1")], T0)
    for _ in range(2):
        assert [kept.position(source) for source in sources] == ["2", None, "1", "1", None, None]
        assert kept.position("batch of a program's own") == "1"
        kept.close()
        kept = outbox.EdgeOutbox(tmp_path / "outbox", identity, T0)
    kept.commit([KeepPosition(sources[2], "")], T0)
    kept.commit([KeepPosition(source, "1") for source in sources[4:]], T0)
    kept.close()
    spool = Spool(tmp_path / "outbox")
    on_disk = {op.source for op in spool.load(T0) if isinstance(op, KeepPosition)}
    assert on_disk == {sources[3], *sources[4:], "batch of a program's own"}
    spool.close()


def test_rows_that_were_set_aside_are_all_counted_and_so_many_named():
    damaged = Damaged()
    damaged.add(f"messages {n}: checksum" for n in range(NAMED_MAX + 7))
    assert damaged.words() == [*(f"messages {n}: checksum" for n in range(NAMED_MAX)), "7 more rows"]
    words, rows = damaged.take()
    assert len(words) == NAMED_MAX + 1 and rows == NAMED_MAX + 7
    assert damaged.words() == [] and damaged.take() == ([], 0)


# -- what it asks for ---------------------------------------------------------------------------------------


def test_requests_that_nobody_waits_for_end_the_room_for_more_until_their_time_is_over():
    requests = Requests()
    for n in range(OPEN_MAX):
        requests.check_room()
        requests.add(Tracker(n.to_bytes(32), T0, T0 + 1_000), lambda tracker: None)
    assert refused(requests.check_room) is Code.BUSY
    requests.time_out(T0 + 1_000)
    requests.check_room()


def test_who_reads_slowly_finds_the_newest_and_no_queue():
    woken = []
    latest = Latest(lambda: woken.append(1))
    for n in range(10_000):
        latest.put(n)
    assert (latest.get(), latest.take(), len(woken)) == (9_999, None, 1)
    latest.put(1)
    assert (latest.take(), len(woken)) == (1, 2)


def test_asking_for_a_renewal_again_and_again_is_refused():
    waiting = []
    calls = SimpleNamespace(call=lambda ask, lost: waiting.append(ask))
    core = SimpleNamespace(time=SimpleNamespace(now=lambda now_ms: now_ms), step=lambda question, now_ms: Ready())
    ids = iter(range(100))
    renewal = SimpleNamespace(
        held=SimpleNamespace(id="zeek-1", issuers=("plant",)), ask=lambda now_ms: SimpleNamespace(id=next(ids))
    )
    renewing = Renewing(core, calls, None, renewal)  # type: ignore[arg-type]
    futures = [renewing.renew() for _ in range(ASKED_MAX + 1)]
    for ask in waiting:
        ask(T0, Ready())
    assert [future.done() for future in futures] == [False] * ASKED_MAX + [True]
    assert futures[-1].exception().code is Code.BUSY


def test_a_program_that_calls_faster_than_turns_come_is_refused_and_what_came_is_not_lost():
    calls, run = Mailbox(), []
    for _ in range(CALLS_MAX):
        calls.call(lambda now_ms, ready: None)
    assert refused(calls.call, lambda now_ms, ready: None) is Code.BUSY
    calls.call_if_room(lambda now_ms, ready: run.append("left out"))
    calls.call_if_any(lambda now_ms, ready: run.append("an acknowledgement"))
    calls.later(lambda now_ms, ready: run.append("what follows from a frame"))
    calls.run(T0, Ready())
    assert run == ["an acknowledgement", "what follows from a frame"]
    calls.call(lambda now_ms, ready: None)
    calls.close()


# -- what it takes ------------------------------------------------------------------------------------------


def test_subscriptions_have_a_bound_by_pattern_and_by_number():
    told: list[FabricError] = []
    incoming = Subscriptions(lambda id_, problem: None)

    def subscribe(pattern, durable=False):
        return incoming.add(Subscription(pattern, lambda batch, done: None, told.append, durable))

    assert all(subscribe(f"detections.{n}", durable=True) for n in range(SUBSCRIPTIONS_MAX))
    assert not subscribe("detections.more")
    assert all(subscribe("detections.0") for _ in range(SUBSCRIBERS_MAX - SUBSCRIPTIONS_MAX))
    assert not subscribe("detections.0")
    assert [error.code for error in told] == [Code.TOO_LARGE] * 2


# -- relays that are near -----------------------------------------------------------------------------------


def test_a_directory_of_many_addresses_is_measured_in_part():
    assert measure([f"127.0.0.1:{port}" for port in (1, 2)] * ADDRESSES_MAX, 0.05) == {}


def test_silent_relays_are_those_that_it_may_connect_to():
    standing = Status([f"10.0.0.{n}:7700" for n in range(8)])
    for _ in range(100):
        for n in range(8):
            standing.has_no_answer(f"relay-{n}", FabricError(Code.UNREACHABLE, ""))
    assert len(standing._silent) == 8
    standing.relays(["10.0.0.9:7700"])
    assert standing._silent == {}
