"""Actions at work: how many at a time, who waits and for how long, and that each ends in one answer."""

import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import structlog
from structlog.testing import capture_logs

from fabric.edge.acting import executing
from fabric.edge.acting.executing import Executing
from fabric.edge.acting.letters import Letters
from fabric.edge.handling.handlers import Answer, Handlers
from fabric.edge.handling.replies import Reply
from fabric.edge.identity.identity import Defaults
from fabric.protocol.access.permissions import CANCEL
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.trust.credentials import Grants, RequestGrant
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import EVERYTHING, HOUR_MS, T0, Authority, verified

ORIGIN = Authority("executing").issue("soar-1", grants=EVERYTHING)
ME = Authority("executing").issue("fw-1", grants=EVERYTHING)
CLOSED = FabricError(Code.CLOSED)


def action(number, severity=Severity.HIGH, ttl_ms=60_000, body=None, terms=Terms()):  # noqa: B008 - a tuple
    address = f"192.0.2.{number}"
    message = verified(
        ORIGIN, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", severity=severity, ttl_ms=ttl_ms, terms=terms,
        records=[body or {"action": "deny", "target": {"ipv4_net": address}, "args": {}}],
    )
    return Delivery(message, 0, ())


class Records:
    """A ledger that remembers in which order it was asked. `fails`: what it cannot write."""

    def __init__(self):
        self.steps = []
        self.replies = {}
        self.fails = {}
        self.lasts = []
        self.effects = {}  # of which action, whose
        self.releases = []
        self.commits = None  # of what is begun in a turn, where it has one

    def begin(self, id_, lasts=None):
        self.lasts.append(lasts)
        return self._done("begin", id_)

    def begin_now(self, id_, lasts, _now_ms):
        if self.commits is None:
            return self.begin(id_, lasts)
        self.lasts.append(lasts)
        self.steps.append(("begin now", id_))
        self.commits.append(Future())
        return self.commits[-1]

    def requester_of_effect(self, id_):
        return self.effects.get(id_)

    def cancelled(self, ops):
        self.steps += [("cancelled", op.id) for op in ops]

    def release(self, id_, tell):
        self.releases.append((id_, tell))

    def reverted(self, id_, answer):
        self.steps.append(("reverted", id_, answer))

    def lease_told(self, id_):
        self.steps.append(("lease told", id_))

    def keep(self, reply):
        self.replies[reply.id] = Reply.unpack(reply.pack())
        return self._done("keep", reply.id)

    def told(self, id_):
        self.steps.append(("told", id_))

    def _done(self, step, id_):
        done = Future()
        self.steps.append((step, id_))
        if step in self.fails:
            done.set_exception(self.fails[step])
        else:
            done.set_result(None)
        return done


class Loop:
    """What of a connection an execution asks for. `refuses`: why each that is published is not taken."""

    def __init__(self):
        self.identity = SimpleNamespace(id="fw-1", credential=ME.credential, defaults=Defaults(Label.GREEN, {}))
        self.now_ms = T0
        self.clock = SimpleNamespace(now_ms=lambda: self.now_ms)
        self.late = None
        self.refuses = []
        self.ended = None
        self.ledger = Records()
        self.published = []  # (correlation, record)
        self.changed = threading.Condition()

    def still_valid(self, _delivery, _arrived_ms):
        return self.late

    def publish(self, stamp, record):
        future = Future()
        with self.changed:
            problem = self.refuses.pop(0) if self.refuses else None
            self.published.append((stamp, record))
            self.changed.notify_all()
        if isinstance(problem, Exception):
            if problem is CLOSED:
                raise problem
            future.set_exception(problem)
        else:
            future.set_result("id")
        return future

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.ends()) >= count, 10), f"{count} answers"
        return self.ends()

    def ends(self):
        """What was said of actions that have ended."""
        return [record for _, record in self.published if "end" in record]


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def start(loop):
    made = []

    def begin(handler, at_once=2):
        handlers = Handlers(["deny ipv4_net"])
        handlers.add("deny", "ipv4_net", handler)
        log = structlog.get_logger()
        made.append(Executing(loop, loop.publish, handlers, lambda call, given: call(given), log, at_once))
        return made[-1]

    yield begin
    for one in made:
        one.finish(0.0)
        one.abandon()


class Gate:
    """A handler that works until it is let go."""

    def __init__(self):
        self.at_work = []
        self.open = threading.Event()
        self.changed = threading.Condition()

    def __call__(self, given):
        with self.changed:
            self.at_work.append(given.target.value)
            self.changed.notify_all()
        assert self.open.wait(10)

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.at_work) >= count, 10)


def test_no_more_than_so_many_run_at_a_time_and_the_log_says_once_that_some_wait(start):
    gate = Gate()
    with capture_logs() as logs:
        one = start(gate)
        for number in range(5):
            one.take(action(number))
        gate.wait(2)
        assert one.use == (2, 3, 2) and len(gate.at_work) == 2
        gate.open.set()
        gate.wait(5)
    (said,) = [line for line in logs if line["event"] == "all handlers are busy"]
    assert said["running"] == 2 and said["next"]


def test_the_most_urgent_one_that_waits_is_next(start, loop):
    gate = Gate()
    one = start(gate, at_once=1)
    one.take(action(1))
    gate.wait(1)
    for number, severity in ((2, Severity.LOW), (3, Severity.HIGH), (4, Severity.LOW), (5, Severity.CRITICAL)):
        one.take(action(number, severity))
    gate.open.set()
    loop.wait(5)
    assert gate.at_work == [f"192.0.2.{number}" for number in (1, 5, 3, 2, 4)]


def test_who_waits_until_its_time_is_over_is_expired_and_never_begun(start, loop):
    gate = Gate()
    with capture_logs() as logs:
        one = start(gate, at_once=1)
        one.take(action(1))
        gate.wait(1)
        one.take(action(2, ttl_ms=2_000))
        one.take(action(3, ttl_ms=60_000))
        loop.now_ms += 2_000
        (record,) = loop.wait(1)
    assert (record["end"], record["code"], record["by"]) == ("expired", "E719", "fw-1")
    assert [line["count"] for line in logs if line["event"].startswith("actions expired")] == [1]
    gate.open.set()
    loop.wait(3)
    assert gate.at_work == ["192.0.2.1", "192.0.2.3"]


def test_time_is_asked_immediately_before_the_handler_too(start, loop):
    gate = Gate()
    one = start(gate)
    loop.late = Reject(Code.CLOCK_SUSPECT)
    one.take(action(1))
    assert loop.wait(1)[0]["code"] == Code.CLOCK_SUSPECT.label and not gate.at_work


def test_more_than_may_wait_are_refused(start, loop, monkeypatch):
    monkeypatch.setattr(executing, "WAITING_MAX", 2)
    gate = Gate()
    one = start(gate, at_once=1)
    one.take(action(0))
    gate.wait(1)
    for number in range(1, 4):
        one.take(action(number))
    assert [(r["end"], r["code"]) for r in loop.wait(1)] == [("refused", "E719")] and one.use.waiting == 2
    gate.open.set()
    loop.wait(4)


def boom(_):
    raise ValueError("no route to 198.51.100.7" + "x" * 9_999)


def leave(_):
    raise SystemExit(0)


def interrupt(_):
    raise KeyboardInterrupt


class Unshown(Exception):
    def __str__(self):
        raise RuntimeError


def unshown(_):
    raise Unshown


@pytest.mark.parametrize("handler", [boom, leave, interrupt, unshown, lambda _: 7, lambda _: Answer(End.UNKNOWN),
                                     lambda _: Answer(status="ok"), lambda _: Answer(result=[1])])
def test_whatever_a_handler_does_it_ends_in_an_answer_and_the_next_one_runs(start, loop, handler):
    with capture_logs() as logs:
        one = start(handler, at_once=1)
        one.take(action(1))
        one.take(action(2))
        records = loop.wait(2)
    assert [(r["end"], r["code"], r["status"]) for r in records] == [("failed", "E709", 500)] * 2
    assert "198.51.100.7" not in str(records)
    for line in logs:
        assert len(line.get("trace", "")) <= 4_000
    if handler is boom:
        first = next(line for line in logs if line["event"] == "handler failed")
        assert first["error"] == "ValueError" and "xxxx" in first["trace"]


def test_a_body_that_says_something_else_and_no_handler_are_answered_too(start, loop):
    one = start(Gate())
    one.take(action(1, body={"action": "allow"}))
    assert loop.wait(1)[0]["code"] == Code.BAD_ACTION.label
    one._handlers._handlers.clear()
    one.take(action(2))
    assert loop.wait(2)[1]["code"] == Code.NO_HANDLER.label


def test_a_dry_run_is_checked_and_begins_nothing(start, loop):
    begun = []
    execution = start(begun.append)
    execution.take(action(1, terms=Terms(dry_run=True)))
    execution.take(action(2, body={"action": "deny", "target": {"ipv4_net": "10.0.0.1/8"}, "args": {}},
                          terms=Terms(dry_run=True)))
    loop.wait(2)
    loop.late = Reject(Code.EXPIRED)
    execution.take(action(3, terms=Terms(dry_run=True)))
    execution.finish(1.0)
    execution.take(action(4, terms=Terms(dry_run=True)))
    assert [record["end"] for record in loop.wait(4)] == ["ready", "refused", "expired", "refused"] and not begun


@pytest.mark.parametrize("code", [Code.CLEARANCE_DENIED, Code.TOO_LARGE, Code.BAD_INPUT])
def test_a_result_that_is_refused_on_its_way_is_told_without_itself(start, loop, code):
    loop.refuses = [FabricError(code, "some detail")]
    one = start(lambda _: Answer(result={"rule": 7}, label=Label.RED))
    one.take(action(1))
    first, second = loop.wait(2)
    assert first["result"] == {"rule": 7}
    assert (second["end"], second["code"], "result" in second) == ("completed", "E715", False)
    assert code.cause in second["reason"] and "some detail" not in second["reason"]
    assert [stamp.label for stamp, _ in loop.published] == [Label.RED, Label.GREEN]
    assert one.finish(5) == 0


def test_it_is_tried_once_more_and_not_for_ever(start, loop):
    loop.refuses = [FabricError(Code.PUBLISH_DENIED)] * 9
    with capture_logs() as logs:
        one = start(lambda _: {"rule": 7})
        one.take(action(1))
        loop.wait(2)
        assert one.finish(5) == 0
    assert len(loop.published) == 2 and logs[-1]["event"] == "result not sent"


def test_whose_answer_is_on_its_way_is_at_work_no_more(start, monkeypatch):
    tell, told, goes_on = Letters.tell, threading.Event(), threading.Event()

    def stop_after(self, letters):
        tell(self, letters)
        told.set()
        assert goes_on.wait(10)

    monkeypatch.setattr(Letters, "tell", stop_after)
    one = start(lambda _: {"rule": 7})
    one.take(action(1))
    assert told.wait(10)
    assert one.finish(5) == 0
    goes_on.set()


def test_after_the_end_it_is_in_the_log_that_nobody_was_told(start, loop):
    loop.refuses = [CLOSED]
    with capture_logs() as logs:
        one = start(lambda _: None)
        one.take(action(1))
        loop.wait(1)
        assert one.finish(5) == 0
    assert (logs[-1]["event"], logs[-1]["code"]) == ("result not sent", "E910")


def test_finishing_refuses_what_waits_and_what_comes_and_waits_for_what_runs(start, loop):
    gate = Gate()
    one = start(gate, at_once=1)
    one.take(action(1))
    gate.wait(1)
    one.take(action(2))
    assert one.finish(0.05) == 1
    one.take(action(3))
    assert [(r["end"], r["code"]) for r in loop.wait(2)] == [("refused", "E716")] * 2
    gate.open.set()
    assert one.finish(10) == 0 and loop.published[-1][1]["end"] == "completed"


def test_a_handler_that_finishes_its_own_control_point_does_not_wait_for_itself(start, loop):
    one = start(lambda _: {"left": one.finish(10)})
    began = time.monotonic()
    one.take(action(1))
    assert loop.wait(1)[0]["result"] == {"left": 0} and time.monotonic() - began < 5


def test_no_thread_keeps_a_program_from_its_end_and_those_that_wait_go(start):
    gate = Gate()
    with capture_logs() as logs:
        one = start(gate)
        for number in range(3):
            one.take(action(number))
        gate.wait(2)
        assert all(thread.daemon for thread in one._threads) and len(one._threads) == 3
        one.finish(0.0)
        one.abandon()
    assert [line["running"] for line in logs if line["event"].startswith("closed while")] == [2]
    gate.open.set()
    for thread in one._threads:
        thread.join(10)
        assert not thread.is_alive()


# -- the ledger -----------------------------------------------------------------------------------------------


def test_it_is_begun_before_the_handler_and_kept_before_it_is_told(start, loop):
    one = start(lambda _: loop.ledger.steps.append(("handler", b"")) or {"rule": 7})
    given = action(1)
    one.take(given)
    loop.wait(1)
    assert one.finish(5) == 0
    assert [step for step, _ in loop.ledger.steps] == ["begin", "handler", "keep", "told"]
    kept = loop.ledger.replies[given.message.id]
    assert (kept.stamp, kept.record) == loop.published[0]


def test_what_cannot_be_written_down_is_not_begun_and_nothing_is_said_of_it(start, loop):
    """It is the next process's: what is on disk says that it only waited."""
    loop.ledger.fails["begin"] = FabricError(Code.SPOOL_FAILED)
    begun = []
    with capture_logs() as logs:
        one = start(begun.append)
        one.take(action(1))
        with one._changed:
            assert one._changed.wait_for(lambda: one.use[:2] == (0, 0), 10)
        assert one.finish(5) == 0
    assert not begun and not loop.published
    assert [line["code"] for line in logs if line["event"] == "action not begun"] == ["E906"]


def test_an_answer_that_cannot_be_written_down_is_told_and_the_log_says_so(start, loop):
    loop.ledger.fails["keep"] = FabricError(Code.SPOOL_FAILED)
    with capture_logs() as logs:
        one = start(lambda _: {"rule": 7})
        one.take(action(1))
        (record,) = loop.wait(1)
        assert one.finish(5) == 0
    assert (record["end"], record["result"]) == ("completed", {"rule": 7})
    assert [line["code"] for line in logs if line["event"] == "result not kept"] == ["E906"]


def test_what_the_ledger_does_not_know_any_more_is_refused(start, loop):
    loop.ledger.fails["begin"] = FabricError(Code.NOT_KNOWN_HERE)
    begun = []
    start(begun.append).take(action(1))
    assert [(r["end"], r["code"]) for r in loop.wait(1)] == [("refused", "E713")] and not begun


def test_time_is_asked_after_it_was_written_down_as_well(start, loop):
    """To write took so long that it is over."""
    begun = []
    one = start(begun.append)
    begin = loop.ledger.begin

    def slow(id_, lasts=None):
        loop.late = Reject(Code.EXPIRED)
        return begin(id_)

    loop.ledger.begin = slow
    one.take(action(1))
    assert [r["end"] for r in loop.wait(1)] == ["expired"] and not begun


@pytest.mark.parametrize("why", ["late", "stopping", "no room", "no handler", "waits too long"])
def test_of_what_an_earlier_process_may_have_done_nobody_says_that_it_was_not_begun(start, loop, monkeypatch, why):
    gate = Gate()
    one = start(gate, at_once=1)
    if why == "late":
        loop.late = Reject(Code.REVOKED)
    elif why == "stopping":
        one.finish(1)
    elif why == "no room":
        monkeypatch.setattr(executing, "WAITING_MAX", 0)
    elif why == "no handler":
        one._handlers._handlers.clear()
    else:
        one.take(action(1))
        gate.wait(1)
    one.take_again(action(2, ttl_ms=2_000))
    loop.now_ms += 2_000
    (record,) = loop.wait(1)
    assert (record["end"], record["code"], record["status"]) == ("unknown", "E722", 503)
    gate.open.set()


def test_and_it_is_called_again_where_that_may_be(start, loop):
    one = start(lambda _: {"rule": 7})
    one.take_again(action(1))
    assert [r["end"] for r in loop.wait(1)] == ["completed"]
    assert [step for step, _ in loop.ledger.steps][0] == "begin"


def test_what_the_ledger_has_is_told_again_with_the_same_content(start, loop):
    one = start(lambda _: {"rule": 7})
    given = action(1)
    one.take(given)
    loop.wait(1)
    assert one.finish(5) == 0
    one.tell_again(loop.ledger.replies[given.message.id])
    loop.wait(2)
    assert one.finish(5) == 0
    assert loop.published[0] == loop.published[1]
    assert [step for step, _ in loop.ledger.steps] == ["begin", "keep", "told", "told"]


def test_many_answers_at_once_are_written_down_together(start, loop):
    """Each would wait for a commit of its own."""
    one = start(Gate())
    one.finish(0)
    with one._changed:
        for number in range(5):
            one.take(action(number))
    loop.wait(5)
    steps = [step for step, _ in loop.ledger.steps]
    assert steps[:5] == ["keep"] * 5


# -- before it ends, and cancelling -----------------------------------------------------------------------------------


def cancelling(about, by=ORIGIN, names=None, args=None):
    """An action that is to end this one."""
    leaf = about.message.leaf
    return Delivery(verified(
        by, kind=Kind.ACTION, topic=CANCEL, to="all", correlation=leaf, sequence=99,
        records=[{"action": "cancel", "target": {"command": (names or leaf)[:16].hex()},
                  "args": args or {}}],
    ), 0, ())


def of(loop, about):
    """The states and the ends that were said of an action, in order."""
    with loop.changed:
        return [record.get("state") or record["end"] for stamp, record in loop.published
                if stamp.correlation == about.message.leaf]


def wait_for(loop, about, *said):
    with loop.changed:
        assert loop.changed.wait_for(lambda: of(loop, about) == list(said), 10), of(loop, about)


def test_what_takes_longer_is_running_until_it_ends_and_its_progress_is_told(start, loop):
    gate, given = Gate(), []
    one = start(lambda action: (given.append(action), gate(action))[1])
    first = action(1)
    one.take(first)
    gate.wait(1)
    given[0].control.report(0.5, "half")
    wait_for(loop, first, "running")
    stamp, record = loop.published[0]
    assert stamp.state is State.RUNNING and (record["progress"], record["note"]) == (0.5, "half")
    gate.open.set()
    wait_for(loop, first, "running", "completed")
    assert [step for step, _ in loop.ledger.steps] == ["begin", "keep", "told"], "words are not in the ledger"


def test_when_something_is_to_be_said_is_the_connections_to_look_at(start, loop):
    gate = Gate()
    one = start(gate)
    assert one.due_ms is None
    first = action(1)
    one.take(first)
    assert one.due_ms == T0 + 1_000
    gate.wait(1)
    one.look(T0 + 999)
    assert one.due_ms == T0 + 1_000 and of(loop, first) == []
    loop.now_ms = T0 + 1_000
    one.look(loop.now_ms)
    assert one.due_ms is None, "the clerk was rung; a turn at once would find nothing else"
    wait_for(loop, first, "running")
    gate.open.set()
    wait_for(loop, first, "running", "completed")
    one.look(loop.now_ms)
    assert one.due_ms is None


def test_what_waits_and_is_cancelled_is_not_begun(start, loop):
    gate = Gate()
    one = start(gate, at_once=1)
    first, second = action(1), action(2)
    one.take(first)
    gate.wait(1)
    one.take(second)
    told = cancelling(second)
    one.take(told)
    wait_for(loop, told, "completed")
    wait_for(loop, second, "refused")
    records = {stamp.correlation: record for stamp, record in loop.published}
    assert records[second.message.leaf]["code"] == "E723" and records[told.message.leaf]["result"] == {"was": "waiting"}
    gate.open.set()
    wait_for(loop, first, "completed")
    assert one.use.waiting == 0


def test_who_is_at_work_hears_that_it_is_cancelled(start, loop):
    heard, called = threading.Event(), threading.Event()

    def handler(action):
        action.control.on_cancel(heard.set)
        called.set()
        assert heard.wait(10) and action.control.cancelled
        raise RuntimeError("given up")

    one = start(handler)
    first = action(1)
    one.take(first)
    assert called.wait(10)
    told = cancelling(first)
    one.take(told)
    wait_for(loop, first, "failed")
    wait_for(loop, told, "completed")
    records = {stamp.correlation: record for stamp, record in loop.published}
    assert records[first.message.leaf]["code"] == "E723" and records[told.message.leaf]["result"] == {"was": "running"}


def test_what_is_cancelled_before_it_comes_is_refused_when_it_does(start, loop):
    one = start(lambda _: pytest.fail("it was cancelled"))
    late = action(1)
    told = cancelling(late)
    one.take(told)
    wait_for(loop, told, "completed")
    one.take(late)
    wait_for(loop, late, "refused")
    assert loop.published[-1][1]["code"] == "E723"
    assert loop.ledger.steps[:2] == [("cancelled", late.message.id), ("keep", told.message.id)], "before it is answered"


def test_what_has_ended_is_not_at_work_and_its_cancelling_changes_nothing(start, loop):
    one = start(lambda _: {"rule": 7})
    first = action(1)
    one.take(first)
    wait_for(loop, first, "completed")
    told = cancelling(first)
    one.take(told)
    wait_for(loop, told, "completed")
    ends = [(stamp.correlation, record["end"], record["result"]) for stamp, record in loop.published]
    assert ends == [
        (first.message.leaf, "completed", {"rule": 7}), (told.message.leaf, "completed", {"was": "not at work"})
    ]


def test_somebody_else_cancels_nothing(start, loop):
    gate = Gate()
    one = start(gate, at_once=1)
    other = Authority("executing").issue("soar-2", grants=Grants(request=(RequestGrant("deny *", "all"),)))
    first, second, later = action(1), action(2), action(3)
    one.take(first)
    gate.wait(1)
    one.take(second)
    for told in (cancelling(first, other), cancelling(second, other)):
        one.take(told)
        wait_for(loop, told, "refused")
        assert loop.published[-1][1]["code"] == Code.REQUEST_DENIED.label
    one.take(cancelling(later, other))
    one.take(later)
    gate.open.set()
    for each in (first, second, later):
        wait_for(loop, each, "completed")


def test_one_that_names_two_actions_cancels_neither(start, loop):
    gate = Gate()
    one = start(gate, at_once=1)
    first, second = action(1), action(2)
    one.take(first)
    gate.wait(1)
    one.take(second)
    told = cancelling(second, names=first.message.leaf)
    one.take(told)
    wait_for(loop, told, "refused")
    gate.open.set()
    for each in (first, second):
        wait_for(loop, each, "completed")


def all_heard():
    """Whoever was to hear that it is cancelled has heard it."""
    for thread in threading.enumerate():
        if thread.name.endswith(" cancels"):
            thread.join(10)


def test_who_takes_for_ever_to_hear_of_it_holds_up_no_answer_and_no_other(start, loop):
    for_ever, heard, both = threading.Event(), threading.Event(), threading.Barrier(3)

    def handler(action):
        both.wait(10)
        slow = action.target.value == "192.0.2.1"
        action.control.on_cancel(for_ever.wait if slow else heard.set)
        assert (for_ever if slow else heard).wait(10)

    one = start(handler)
    first, second = action(1), action(2)
    for each in (first, second):
        one.take(each)
    both.wait(10)
    for _ in range(20):
        told = cancelling(first)
        one.take(told)
    one.take(cancelling(second))
    wait_for(loop, second, "completed")
    for_ever.set()
    wait_for(loop, first, "completed")


def test_who_exits_when_it_hears_of_it_stops_nothing(start, loop):
    gate = Gate()

    def handler(action):
        action.control.on_cancel(leave_now)
        return gate(action)

    def leave_now():
        raise SystemExit(3)

    one = start(handler)
    first = action(1)
    with capture_logs() as logs:
        one.take(first)
        gate.wait(1)
        one.take(cancelling(first))
        late = action(2, body={"action": "contain"})
        one.take(late)
        wait_for(loop, late, "refused")
        gate.open.set()
        wait_for(loop, first, "completed")
        all_heard()
    assert "on_cancel raised" in [log["event"] for log in logs]


def test_where_a_handler_is_free_the_turn_has_it_written_down_that_it_is_called(start, loop):
    loop.ledger.commits = []
    gate = Gate()
    one = start(gate, at_once=1)
    first, second = action(1), action(2)
    one.take(first)
    one.take(second)
    assert loop.ledger.steps == [("begin now", first.message.id)], "no handler is free for another"
    assert not gate.at_work, "it is called when that is on disk"
    loop.ledger.commits[0].set_result(None)
    gate.wait(1)
    gate.open.set()
    wait_for(loop, second, "completed")
    assert loop.ledger.steps.count(("begin now", first.message.id)) == 1
    assert [id_ for step, id_ in loop.ledger.steps if step == "begin"] == [second.message.id]


def test_what_was_to_begin_and_is_cancelled_first_has_no_effect_to_release(start, loop):
    """Its handler thread has no turn yet: the task waits, and the ledger has it as begun, with its lease."""
    loop.ledger.commits = []
    one = start(lambda _: pytest.fail("it was cancelled"))
    one._at_once, one._start_threads = 1, lambda: None
    first = action(1)
    one.take(first)
    loop.ledger.effects[first.message.id] = first.message.header.origin
    told = cancelling(first)
    one.take(told)
    del one._start_threads
    with one._changed:
        one._start_threads()
    loop.ledger.commits[0].set_result(None)
    wait_for(loop, first, "refused")
    wait_for(loop, told, "completed")
    records = {stamp.correlation: record for stamp, record in loop.published}
    assert records[told.message.leaf]["result"] == {"was": "waiting"} and not loop.ledger.releases


def test_what_may_not_begin_while_something_is_reverted_asks_again(start, loop):
    loop.ledger.commits = []
    one = start(lambda _: {"rule": 7})
    first = action(1)
    one.take(first)
    loop.ledger.commits[0].set_exception(FabricError(Code.BUSY))
    wait_for(loop, first, "completed")
    assert ("begin", first.message.id) in loop.ledger.steps


def test_who_raises_when_it_hears_of_it_stops_nothing(start, loop):
    go_on, called = threading.Event(), threading.Event()

    def handler(action):
        action.control.on_cancel(lambda: (go_on.set(), 1 / 0))
        called.set()
        assert go_on.wait(10)
        return {"left": "as it was"}

    one = start(handler)
    first, second = action(1), action(2)
    with capture_logs() as logs:
        one.take(first)
        assert called.wait(10)
        one.take(cancelling(first))
        wait_for(loop, first, "completed")
        all_heard()
    assert [log["event"] for log in logs] == ["on_cancel raised"]
    one.take(second)


# -- effects that end ---------------------------------------------------------------------------------------------

LASTS = {"action": "deny", "target": {"ipv4_net": "192.0.2.9"}, "args": {"duration": 60_000}}


@pytest.mark.parametrize(
    ("how", "args", "code"),
    [({}, {"duration": 5}, "E726"), ({}, {"stop_time": T0 + HOUR_MS}, "E726"), ({}, {}, None),
     ({"ends_itself": True}, {"duration": 5}, None), ({"revert": print}, {"duration": 5}, None),
     ({"revert": print}, {"duration": 400 * 24 * HOUR_MS}, "E728"),
     ({"ends_itself": True}, {"duration": 400 * 24 * HOUR_MS}, "E728")],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_an_action_with_a_duration_is_for_what_ends_its_effects(loop, how, args, code, dry_run):
    handlers = Handlers(["deny ipv4_net"])
    handlers.add("deny", "ipv4_net", lambda _: None, **how)
    one = Executing(loop, loop.publish, handlers, lambda call, given: call(given), structlog.get_logger(), 1)
    one.take(action(9, body={**LASTS, "args": args}, terms=Terms(dry_run=dry_run)))
    (end,) = loop.wait(1)
    good = "ready" if dry_run else "completed"
    assert (end["end"], end.get("code")) == ((good, None) if code is None else ("refused", code))
    if code is not None:
        assert end["status"] == (501 if code == "E726" else 400)
    one.finish(0.0)
    one.abandon()
    kept = [(lasts.left_ms, lasts.ends_itself) for lasts in loop.ledger.lasts if lasts is not None]
    begun = how and code is None and not dry_run
    assert kept == ([(args.get("duration"), "ends_itself" in how)] if begun else [])


def test_what_is_being_reverted_waits_and_others_do_not(start, loop):
    begun = []
    one = start(lambda given: begun.append(given.target.value), at_once=1)
    one._handlers._handlers[0] = one._handlers._handlers[0]._replace(revert=print)
    blocked = action(9).message.id
    begin, busy = loop.ledger.begin, [2]

    def reverting(id_, lasts=None):
        if id_ == blocked and busy[0]:
            busy[0] -= 1
            done = Future()
            done.set_exception(FabricError(Code.BUSY))
            return done
        return begin(id_, lasts)

    loop.ledger.begin = reverting
    one.take(action(9))
    one.take(action(1))
    loop.wait(2)
    assert begun == ["192.0.2.1", "192.0.2.9"] and not busy[0]


def test_what_cancels_an_action_whose_effect_is_in_force_is_answered_when_that_has_ended(start, loop):
    one, whose = start(lambda _: None), action(9)
    loop.ledger.effects[whose.message.id] = "soar-1"
    one.take(cancelling(whose))
    ((id_, tell),) = loop.ledger.releases
    assert id_ == whose.message.id and not loop.ends()
    tell("released")
    assert loop.wait(1)[0]["result"] == {"was": "in force", "effect": "released"}
    tell("released")
    assert len(loop.ends()) == 1 and len(loop.ledger.releases) == 1


def test_nobody_else_releases_it_and_nobody_for_a_while(start, loop):
    one, whose = start(lambda _: None), action(9)
    other = Authority("executing").issue("soar-2", grants=Grants(request=(RequestGrant("deny *", "all"),)))
    loop.ledger.effects[whose.message.id] = "soar-1"
    one.take(cancelling(whose, by=other))
    assert loop.wait(1)[0]["code"] == "E403"
    one.take(cancelling(whose, args={"duration": 5}))
    assert loop.wait(2)[1]["code"] == "E726"
    assert not loop.ledger.releases


def test_who_stops_before_it_has_ended_says_so(start, loop):
    one, whose = start(lambda _: None), action(9)
    loop.ledger.effects[whose.message.id] = "soar-1"
    one.take(cancelling(whose))
    one.finish(0.0)
    assert loop.wait(1)[0]["result"] == {"was": "in force", "effect": "to be released"}


def test_what_waits_to_be_called_again_and_is_cancelled_is_released(start, loop):
    go_on = threading.Event()
    one, whose = start(lambda _: go_on.wait(10), at_once=1), action(9)
    one.take(action(1))
    loop.ledger.effects[whose.message.id] = "soar-1"  # an earlier process called its handler
    one.take_again(whose)
    one.take(cancelling(whose))
    assert loop.wait(1)[0]["code"] == Code.INTERRUPTED.label
    ((id_, tell),) = loop.ledger.releases
    assert id_ == whose.message.id
    tell("released")
    assert loop.wait(2)[1]["result"] == {"was": "in force", "effect": "released"}
    go_on.set()


def test_what_has_ended_meanwhile_is_not_called_again(start, loop):
    one, begun = start(lambda given: begun.append(given)), []
    loop.ledger.fails["begin"] = FabricError(Code.CANCELLED)
    one.take_again(action(9))
    assert loop.wait(1)[0]["code"] == Code.INTERRUPTED.label and not begun
