"""`fabric approvals`, `approve`, `deny`, and what `act` says of approvals: what is signed is shown before it is."""

import json
import sys
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from fabric.edge.approving.request import read_request
from fabric.edge.approving.verdict import Verdict
from fabric.edge.messages import Approvals, Step, messages_of
from fabric.edge.requesting.request import Progress, Request
from fabric.protocol.access.approvals import Hold
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import Delivery
from fabric.protocol.trust.credentials import ApproveGrant, Grants
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.openc2 import class_of
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.actions import approvals, deciding
from relays.cli.actions.asked import Asked
from relays.cli.actions.course import JSON, TEXT, Course, table_of
from relays.cli.actions.held import all_of, line_of, row_of
from relays.cli.actions.unanswered import Open
from relays.cli.app import app
from relays.cli.shared import exits
from relays.terminal import Screen
from tests.approving import HOLD, action
from tests.edge_approving import NOW, asked, said, without_its_action

MAY = Grants(approve=(ApproveGrant("contain", "all"),))
ESCAPE = "\x1b[2J"


def request(hold=HOLD, **record):
    message = said(asked(hold, **record), hold=hold)
    return read_request(message, messages_of(Delivery(message, 0, ()))[0], NOW, NOW, class_of)


ONE = request(approved_by=["ann"])
OTHER = request(Hold(action(sequence=3, args={"duration": 3_600_000}), HOLD.targets, HOLD.held_at_ms))
HIDDEN = without_its_action(said(asked(), rules={"action": Label.RED}))
WITHHELD = read_request(HIDDEN, messages_of(Delivery(HIDDEN, 0, ()))[0], NOW, NOW, class_of)


class Connection:
    """What a control point says; `fault`: instead of a verdict."""

    requests_missed = 0
    identity = SimpleNamespace(id="lead-1", credential=SimpleNamespace(grants=MAY))

    def __init__(self, *waiting, fault=None):
        self.waiting, self.fault, self.decided = waiting, fault, []

    def __call__(self, identity):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def approvals(self, *, timeout_s):
        yield from self.waiting

    def approve(self, one, *, wait_ms):
        return self.decide(one, True, "")

    def deny(self, one, *, why, wait_ms):
        return self.decide(one, False, why)

    def decide(self, one, approves, why):
        self.decided.append((one.id, approves, why))
        if self.fault is not None:
            raise self.fault
        return Verdict(one.id, "ab" * 32, approves, ("ann", "bob"), 2, "hq")


@pytest.fixture
def ends(monkeypatch, capsys):
    """Runs a command: (exit code, standard output, standard error)."""

    def run(connection, *args, answer=None):
        @contextmanager
        def reached(*_, prepare, **__):
            prepare(connection)
            yield connection

        with monkeypatch.context() as patched:
            patched.setattr(sys, "argv", ["fabric", *args, "--as", "lead-1"])
            patched.setattr(deciding, "ControlPoint", connection)
            patched.setattr(approvals, "reached", reached)
            if answer is not None:
                patched.setattr(deciding, "sys", Terminal)
                patched.setattr("builtins.input", lambda words: answer)
            for name in ("stdout", "stderr"):
                patched.setattr(sys, name, getattr(sys, name))
            with pytest.raises(SystemExit) as ended:
                exits.run(app)
        return (ended.value.code, *capsys.readouterr())

    return run


class Terminal:
    class stdin:
        @staticmethod
        def isatty():
            return True


def test_what_waits_is_listed(ends, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = ends(Connection(ONE, OTHER), "approvals")
    assert code == 0 and ONE.id[:12] in out and OTHER.id[:12] in out
    assert "deny ipv4_net=203.0.113.9" in out and "2: fw-7, fw-8" in out and "1 of 2 (ann)" in out
    code, out, _ = ends(Connection(), "approvals")
    assert code == 0 and "nothing waits" in out


def test_as_json_all_of_it_is_there(ends):
    code, out, _ = ends(Connection(ONE, WITHHELD), "approvals", "--json")
    first, second = map(json.loads, out.splitlines())
    assert code == 0 and first["id"] == ONE.id and first["targets"] == ["fw-7", "fw-8"]
    assert second["withheld"] and second["target"] is None


def test_with_watch_each_is_a_line(ends):
    code, out, _ = ends(Connection(ONE), "approvals", "--watch")
    assert code == 0 and out.splitlines() == [line_of(ONE)] and "203.0.113.9 (TLP:GREEN) at " in out


def test_what_there_was_no_room_for_is_said(ends):
    full = Connection(ONE)
    full.requests_missed = 3
    assert "no room for 3 more" in ends(full, "approvals")[2]


def test_all_that_is_signed_is_shown(ends):
    there = Connection(ONE)
    code, out, _ = ends(there, "approve", ONE.id[:6], "--yes")
    assert code == 0 and there.decided == [(ONE.id, True, "")]
    for shown in (
        ONE.id, "deny ipv4_net=203.0.113.9", "soar-1", "role=firewall", "fw-7, fw-8", "ot: 2 of ot-lead", "ciso",
        ONE.policies.digest.hex(), "version 3", "1 of 2 (ann)", "class contain",
    ):
        assert shown in out, shown
    assert out.splitlines()[-1] == "counted: 2 of 2 (ann, bob): it goes on to its targets"


def test_every_target_is_named():
    names = tuple(f"fw-{n}" for n in range(300))
    shown = "\n".join(all_of(replace(ONE, targets=names)))
    assert all(f"{name}," in shown or f"{name}\n" in shown for name in names)
    assert row_of(replace(ONE, targets=names))[3] == "300: fw-0, fw-1, fw-2, and 297 more"


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("Y", 0), ("", 1), ("no", 1), ("yes please", 1)])
def test_at_a_terminal_somebody_is_asked(ends, answer, code):
    there = Connection(ONE)
    ended, _, err = ends(there, "approve", ONE.id, answer=answer)
    assert ended == code and len(there.decided) == (1 - code) and ("nothing was signed" in err) == bool(code)


def test_where_nobody_can_be_asked_it_is_said_before_anything_else(ends):
    there = Connection(ONE)
    assert ends(there, "approve", ONE.id)[0] == 2
    assert ends(there, "approve", ONE.id, "--json", answer="yes")[0] == 2 and there.decided == []
    code, out, _ = ends(there, "approve", ONE.id, "--json", "--yes")
    assert code == 0 and json.loads(out)["approved_by"] == ["ann", "bob"]


def test_a_denial_has_a_reason(ends):
    there = Connection(ONE)
    assert ends(there, "deny", ONE.id, "--yes")[0] == 2
    assert ends(there, "deny", ONE.id, "--yes", "--why", "x" * 513)[0] == 2
    assert ends(there, "deny", ONE.id, "--yes", "--why", f"no{ESCAPE}")[0] == 2 and there.decided == []
    code, out, _ = ends(there, "deny", ONE.id, "--yes", "--why", "it runs the plant")
    assert code == 0 and there.decided == [(ONE.id, False, "it runs the plant")] and "denied" in out


def test_what_does_not_wait_or_is_not_one_is_not_signed(ends):
    there = Connection(ONE, OTHER)
    for word in ("zz", "", "ipv4_net=203.0.113.9"):
        code, _, err = ends(there, "deny", word, "--yes", "--why", "no")
        assert code == 2 and "no id" in err and "fabric act" in err
    code, _, err = ends(there, "approve", "0123456789", "--yes")
    assert code == 1 and "fabric approvals --as lead-1" in err
    twice = Connection(ONE, replace(ONE, by="mid"))
    code, _, err = ends(twice, "approve", ONE.id, "--yes")
    assert code == 1 and "at hq" in err and "at mid" in err and there.decided == twice.decided == []


def test_what_is_withheld_cannot_be_decided(ends):
    there = Connection(WITHHELD)
    code, out, err = ends(there, "approve", WITHHELD.id, "--yes")
    assert code == 5 and "(withheld)" in out and "E" in err and there.decided == []


@pytest.mark.parametrize("args", [("approvals",), ("approve", ONE.id, "--yes")])
def test_whom_nobody_will_ever_ask_is_told_so(ends, args):
    there = Connection(ONE)
    there.identity = SimpleNamespace(id="soar-1", credential=SimpleNamespace(grants=Grants()))
    code, _, err = ends(there, *args)
    assert code == 5 and "soar-1 has no approve grant" in err and there.decided == []


@pytest.mark.parametrize(
    ("fault", "code"),
    [(Code.BAD_APPROVAL, 1), (Code.SAME_PRINCIPAL, 1), (Code.APPROVAL_LATE, 1), (Code.OTHER_TARGETS, 1),
     (Code.ACTION_DENIED, 1), (Code.CANCELLED, 1), (Code.NOT_OPEN, 1), (Code.APPROVE_DENIED, 5), (Code.OWN_REQUEST, 5),
     (Code.NOT_AN_APPROVER, 5), (Code.TIMED_OUT, 6), (Code.UNREACHABLE, 69)],
)
def test_exit_codes(ends, fault, code):
    assert ends(Connection(ONE, fault=FabricError(fault)), "approve", ONE.id, "--yes")[0] == code


# -- the requester's side ---------------------------------------------------------------------------------

WAITS = Approvals(False, NOW, "ot", 2, ("ot-lead", "site-lead"))
GIVEN = Approvals(True, NOW, approved_by=("anna", "ben"))


def asked_for(*approvals_):
    one = Request("4f" * 32)
    for state, said_ in zip((State.HELD, State.APPROVED), approvals_, strict=False):
        steps = tuple(Step(name, state, "hq", approval=said_) for name in ("fw-7", "fw-8"))
        one.learn(Progress(("fw-7", "fw-8"), (), False, [], False, steps), None)
    return one


def lines(capsys, format_, *requests):
    course = Course(Screen(), format_, Asked("deny", "ipv4_net=203.0.113.9", "all", {}, ""))
    for one in requests:
        course.approvals(Open(one, 0.0))
        course.approvals(Open(one, 0.0))
    return capsys.readouterr().out.splitlines()


def test_act_says_once_that_it_waits_and_once_who_approved(capsys):
    told = lines(capsys, TEXT, asked_for(), asked_for(WAITS), asked_for(WAITS, GIVEN))
    assert len(told) == 2 and "waits for 2 of ot-lead or site-lead until" in told[0] and "4f4f4f4f4f4f" in told[0]
    assert told[1] == "approved by anna, ben"


def test_as_json_each_target_is_held(capsys):
    told = [json.loads(line) for line in lines(capsys, JSON, asked_for(WAITS), asked_for(WAITS, GIVEN))]
    assert [(one["target"], one["end"], one["until_ms"]) for one in told] == [
        ("fw-7", "held", NOW), ("fw-8", "held", NOW)
    ]
    assert told[0]["approval"]["roles"] == ["ot-lead", "site-lead"]


@pytest.mark.parametrize(("approvals_", "words"), [((WAITS,), "held, and stays so"), ((WAITS, GIVEN), "may still be")])
def test_who_stops_waiting_is_told_that_it_stays_held(approvals_, words):
    told = list(Open(asked_for(*approvals_), 0.0).lines(as_json=False))
    assert len(told) == 2 and words in told[0] and ("fabric cancel 4f4f" in told[0]) == (len(approvals_) == 1)
    plain = list(Open(asked_for(*approvals_), 0.0).lines(as_json=True))
    assert [one["until_ms"] for one in plain] == [NOW, NOW]


@pytest.mark.parametrize(
    ("approvals_", "words"),
    [((WAITS,), "waits for 2 of ot-lead or site-lead, until"), ((WAITS, GIVEN), "anna, ben; may")],
)
def test_the_table_says_what_it_waits_for(capsys, approvals_, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    Screen().table(table_of(asked_for(*approvals_), "deny", 0.0))
    assert words in capsys.readouterr().out
