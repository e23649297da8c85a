"""Actions at a relay: who is selected, who is told, and what may be said of an end."""

from contextlib import closing

import pytest

from fabric.protocol.access.permissions import CANCEL
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import SESSION_GRACE_MS
from fabric.protocol.core.ready import Done, KeepDispatch, Op, Put
from fabric.protocol.envelope.header import Kind, Terms
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.resolution import RESOLVED
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind, RequestGrant
from fabric.protocol.vocabulary.lifecycle import State
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Bye, Direction, Nack, Ping, Role
from fabric.spool import Spool
from tests.conversation import Conversation
from tests.support import Authority, entropy, opened, verified

AUTHORITY = Authority("actions")
ME = AUTHORITY.issue("hq", NodeKind.RELAY, Label.RED)
DMZ = AUTHORITY.issue("dmz", NodeKind.RELAY, Label.GREEN)
PARENT = AUTHORITY.issue("root", NodeKind.RELAY, Label.RED)
SOAR = AUTHORITY.issue("soar-1", grants=Grants(request=(RequestGrant("deny *", "role=firewall"),)))
LOCAL = AUTHORITY.issue("soar-2", grants=Grants(request=(RequestGrant("deny *", "role=firewall", scope="hq"),)))
WALLS = [
    AUTHORITY.issue(f"fw-{n}", clearance=Label.AMBER, grants=Grants(execute=("deny ipv4_net",)),
                    tags=[("role", "firewall")])
    for n in range(3)
]
EDR = AUTHORITY.issue("edr-1", grants=Grants(execute=("scan *",)), tags=[("role", "firewall")])
UP, DOWN = Direction.UP, Direction.DOWN


def relay(parent: str = "") -> Conversation:
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("relay"),
                              (parent,) if parent else ()))


def action(member=SOAR, to="role=firewall", sequence=0, **fields):
    return verified(
        member, kind=Kind.ACTION, topic="deny.ipv4_net", to=to, severity=Severity.HIGH, sequence=sequence,
        records=[{"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {}}], **fields,
    )


def result(wall, about, label=Label.GREEN):
    return verified(wall, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-1", correlation=about.leaf, label=label,
                    records=[{"end": "completed", "targets": [wall.id], "by": wall.id}])


class Stage:
    """A root with the requester and two firewalls of its own, and a third below the dmz."""

    def __init__(self) -> None:
        self.talk = relay()
        self.soar = self.talk.connect(SOAR, Role.POINT)
        self.talk.attach(self.soar, SOAR, "hq")
        self.walls = []
        for n in (0, 1):
            self.walls.append(self.talk.connect(WALLS[n], Role.POINT))
            self.talk.attach(self.walls[-1], WALLS[n], "hq", executes=True)
        self.dmz = self.talk.connect(DMZ, Role.CHILD)
        self.talk.place(self.dmz, DMZ, "hq")
        self.talk.attach(self.dmz, WALLS[2], "dmz", executes=True)

    def ask(self, message):
        self.talk.send(self.soar, message)
        return message

    def reports(self) -> list[dict]:
        """What the requester was told by this relay, acknowledged."""
        told = []
        for item in self.talk.items(self.soar):
            message = opened(item.envelope, ME, *WALLS)
            said = [reading.content for reading in read_records(message.header, message.envelope.parts)]
            told += [each for each in said if each["end"] != RESOLVED]
            self.talk.say(self.soar, Ack([message.id]))
        return told


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_the_root_selects_says_whom_and_sends_each_his_own(stage):
    message = stage.ask(action())
    (report,) = stage.reports()
    assert (report["end"], report["targets"], report["by"]) == ("selected", ["fw-0", "fw-1", "fw-2"], "hq")
    for link, names in ((stage.walls[0], ["fw-0"]), (stage.walls[1], ["fw-1"]), (stage.dmz, ["fw-2"])):
        (item,) = stage.talk.items(link)
        assert (item.direction, item.targets, item.envelope) == (DOWN, names, message.raw)


@pytest.mark.parametrize("to", ["", "role=edr", "id=fw-9", "role=", "not role=firewall"])
def test_a_selector_that_selects_nobody_reaches_nobody(stage, to):
    stage.ask(action(to=to))
    assert [report["end"] for report in stage.reports()] == ["nobody"]
    assert not any(stage.talk.items(link) for link in (*stage.walls, stage.dmz))


def test_who_has_the_role_and_not_the_grant_is_not_selected(stage):
    edr = stage.talk.connect(EDR, Role.POINT)
    stage.talk.attach(edr, EDR, "hq", executes=True)
    stage.ask(action(to="all"))
    assert "edr-1" not in stage.reports()[0]["targets"] and stage.talk.items(edr) == []


def test_it_goes_on_to_the_root_unless_the_grant_says_that_it_turns_here():
    talk = relay(parent="root")
    up = talk.dial(PARENT, Role.CHILD)
    wall = talk.connect(WALLS[0], Role.POINT)
    talk.attach(wall, WALLS[0], "hq", executes=True)
    far, near = talk.connect(SOAR, Role.POINT), talk.connect(LOCAL, Role.POINT)
    talk.attach(near, LOCAL, "hq")
    talk.send(far, action())
    assert len(talk.items(up)) == 1 and talk.items(wall) == []
    talk.send(near, action(LOCAL))
    assert len(talk.items(wall)) == 1 and talk.items(up) == []


def test_the_label_decides_whether_the_dmz_hears_of_it(stage):
    stage.ask(action(label=Label.AMBER))
    stage.talk.wait(1)
    told = stage.reports()
    assert stage.talk.items(stage.dmz) == [] and len(stage.talk.items(stage.walls[0])) == 1
    refused = [report for report in told if report["end"] == "refused"]
    assert [(r["targets"], r["code"], r["by"]) for r in refused] == [(["fw-2"], "E601", "hq")]


def test_a_result_goes_to_the_requester_from_a_target_only(stage):
    message = stage.ask(action())
    stage.reports()
    stage.talk.send(stage.walls[0], result(WALLS[0], message))
    assert [told["end"] for told in stage.reports()] == ["completed"]
    other = action(sequence=5)
    stage.talk.send(stage.walls[0], result(WALLS[0], other))
    assert [code for frame in stage.talk.heard(stage.walls[0], Nack) for _, code, _ in frame.refusals] == [
        Code.NOT_A_TARGET
    ]


def test_a_result_bears_at_least_its_action_s_label(stage):
    message = stage.ask(action(label=Label.AMBER))
    stage.talk.send(stage.walls[0], result(WALLS[0], message, Label.GREEN))
    assert [code for frame in stage.talk.heard(stage.walls[0], Nack) for _, code, _ in frame.refusals] == [
        Code.LABEL_TOO_LOW
    ]


def test_expired_where_it_was_never_sent_and_unknown_where_it_was(stage):
    stage.talk.lose(stage.walls[1])
    stage.ask(action(ttl_ms=4_000))
    stage.talk.wait(5_000)
    ends = {report["targets"][0]: report["end"] for report in stage.reports() if report["end"] != "selected"}
    assert ends == {"fw-0": "unknown", "fw-1": "expired", "fw-2": "unknown"}


def let_grace_pass(stage):
    for link in (stage.walls[0], stage.dmz):
        for item in stage.talk.items(link):
            stage.talk.say(link, Ack([opened(item.envelope, SOAR).id]))
    for _ in range(SESSION_GRACE_MS // 2_000 + 1):
        stage.talk.wait(2_000)
        for link in (stage.soar, stage.walls[0], stage.dmz):
            stage.talk.say(link, Ping(stage.talk.now_ms))


def test_who_did_not_come_back_for_its_session_is_away_and_gets_it_in_the_next(stage):
    """It was asked for while the session might have come back: it ended as `unroutable`, an hour before its time."""
    stage.talk.lose(stage.walls[1])
    message = stage.ask(action(ttl_ms=600_000))
    stage.reports()
    let_grace_pass(stage)
    assert stage.reports() == []
    (item,) = stage.talk.items(come_back(stage, 1))
    assert (item.targets, item.envelope, item.moved) == (["fw-1"], message.raw, 0)


def test_who_comes_back_with_another_session_need_not_wait_for_the_end_of_the_old_one(stage):
    stage.talk.lose(stage.walls[1])
    message = stage.ask(action(ttl_ms=600_000))
    (item,) = stage.talk.items(come_back(stage, 1))
    assert item.envelope == message.raw
    let_grace_pass(stage)
    assert of(stage.reports(), "unroutable") == []


def test_and_with_that_below_another_relay(stage):
    stage.talk.lose(stage.walls[1])
    message = stage.ask(action(ttl_ms=600_000))
    (item,) = stage.talk.items(stage.dmz)
    stage.talk.say(stage.dmz, Ack([message.id]))
    stage.talk.attach(stage.dmz, WALLS[1], "dmz", executes=True, session=b"t" * 16, epoch=9)
    stage.talk.wait(500)
    (item,) = stage.talk.items(stage.dmz)
    assert (item.targets, item.envelope) == (["fw-1"], message.raw) and item.moved


def test_who_leaves_a_child_that_is_not_to_be_reached_gets_it_where_it_is_now(stage):
    stage.talk.lose(stage.dmz)
    message = stage.ask(action(ttl_ms=600_000))
    wall = stage.talk.connect(WALLS[2], Role.POINT, session=b"t" * 16)
    stage.talk.attach(wall, WALLS[2], "hq", executes=True, session=b"t" * 16, epoch=9)
    stage.talk.wait(500)
    assert [item.envelope for item in stage.talk.items(wall)] == [message.raw]
    assert stage.talk.items(stage.talk.connect(DMZ, Role.CHILD)) == []


def test_what_it_may_have_had_is_unknown_when_its_session_is_over(stage):
    stage.ask(action(ttl_ms=600_000))
    stage.talk.lose(stage.walls[1])
    let_grace_pass(stage)
    assert of(stage.reports(), "unknown") == ["fw-1"]
    assert stage.talk.items(come_back(stage, 1)) == []


def test_a_dry_run_waits_for_no_other_session(stage):
    stage.talk.lose(stage.walls[1])
    stage.ask(action(ttl_ms=600_000, terms=Terms(dry_run=True)))
    let_grace_pass(stage)
    assert of(stage.reports(), "unroutable") == ["fw-1"] and stage.talk.items(come_back(stage, 1)) == []


def test_where_its_grant_says_that_it_turns_here_it_is_held_here_and_not_looked_for_above():
    talk = relay(parent="root")
    up = talk.dial(PARENT, Role.CHILD)
    near, wall = talk.connect(LOCAL, Role.POINT), talk.connect(WALLS[0], Role.POINT)
    talk.attach(near, LOCAL, "hq")
    talk.attach(wall, WALLS[0], "hq", executes=True)
    talk.lose(wall)
    message = action(LOCAL, ttl_ms=600_000)
    talk.send(near, message)
    for _ in range(SESSION_GRACE_MS // 2_000 + 1):
        talk.wait(2_000)
        for link in (near, up):
            talk.say(link, Ping(talk.now_ms))
    assert talk.items(up) == []
    wall = talk.connect(WALLS[0], Role.POINT, session=b"t" * 16)
    talk.attach(wall, WALLS[0], "hq", executes=True, session=b"t" * 16, epoch=9)
    talk.wait(500)
    assert [item.envelope for item in talk.items(wall)] == [message.raw]


# -- who is away ------------------------------------------------------------------------------------------------


def leave(stage, n):
    stage.talk.say(stage.walls[n], Bye(Code.CLOSED, ""))
    stage.talk.lose(stage.walls[n])


def come_back(stage, n, *, executes=True):
    wall = stage.talk.connect(WALLS[n], Role.POINT, session=b"t" * 16)
    stage.talk.attach(wall, WALLS[n], "hq", executes=executes, session=b"t" * 16, epoch=9)
    stage.talk.wait(500)
    return wall


def restarted(talk, folder):
    """Another process with the same disk."""
    with closing(Spool(folder / "hq.db")) as spool:
        spool.commit(talk.disk)
        ops = list(spool.load(talk.now_ms))
    again = relay()
    again.now_ms = talk.now_ms
    assert again.core.restore(ops, talk.now_ms) == []
    return again


def of(told, end):
    return [name for report in told if report["end"] == end for name in report["targets"]]


def test_who_left_is_named_and_gets_it_when_it_is_back(stage):
    leave(stage, 1)
    message = stage.ask(action())
    told = stage.reports()
    assert of(told, "selected") == ["fw-0", "fw-2", "fw-1"] and of(told, "held") == ["fw-1"]
    (item,) = stage.talk.items(come_back(stage, 1))
    assert (item.direction, item.targets, item.envelope) == (DOWN, ["fw-1"], message.raw)
    assert of(stage.reports(), "dispatched") == ["fw-1"]


def test_who_is_back_to_read_only_is_still_away(stage):
    leave(stage, 1)
    stage.ask(action())
    assert stage.talk.items(come_back(stage, 1, executes=False)) == []


def test_it_is_sent_once_however_often_its_target_comes_and_goes(stage):
    leave(stage, 1)
    stage.ask(action())
    wall = come_back(stage, 1)
    (item,) = stage.talk.items(wall)
    stage.talk.say(wall, Ack([opened(item.envelope, SOAR).id]))
    for epoch in (10, 11):
        stage.talk.attach(wall, WALLS[1], "hq", executes=epoch > 10, session=b"t" * 16, epoch=epoch)
        stage.talk.wait(500)
    assert stage.talk.items(wall) == []


def test_who_does_not_come_back_in_time_ends_as_expired_also_after_a_restart(stage, tmp_path):
    leave(stage, 1)
    stage.ask(action(ttl_ms=4_000))
    for link in (stage.walls[0], stage.dmz):
        for item in stage.talk.items(link):
            stage.talk.say(link, Ack([opened(item.envelope, SOAR).id]))
    stage.reports()
    stage.talk = again = restarted(stage.talk, tmp_path)
    stage.soar = again.connect(SOAR, Role.POINT)
    again.attach(stage.soar, SOAR, "hq", epoch=2)
    again.wait(5_000)
    assert of(stage.reports(), "expired") == ["fw-1"]


def test_what_was_held_ends_as_expired_where_the_relay_was_off_until_its_time_was_over(stage, tmp_path):
    leave(stage, 1)
    stage.ask(action(ttl_ms=4_000))
    for link in (stage.walls[0], stage.dmz):
        for item in stage.talk.items(link):
            stage.talk.say(link, Ack([opened(item.envelope, SOAR).id]))
    stage.reports()
    stage.talk.now_ms += 600_000
    stage.talk = again = restarted(stage.talk, tmp_path)
    stage.soar = again.connect(SOAR, Role.POINT)
    again.attach(stage.soar, SOAR, "hq", epoch=2)
    assert stage.talk.items(come_back(stage, 1)) == []
    told = stage.reports()
    assert of(told, "expired") == ["fw-1"] and of(told, "unknown") == []


def test_after_a_restart_it_is_known_who_executes_and_for_whom_it_is_held(stage, tmp_path):
    leave(stage, 1)
    message = stage.ask(action())
    stage.talk = again = restarted(stage.talk, tmp_path)
    (item,) = again.items(come_back(stage, 1))
    assert item.envelope == message.raw
    assert len(again.core.roster) == 3


def test_who_is_away_below_another_relay_gets_it_there_when_it_is_back(stage):
    """The other targets below that relay have it already: it comes as what moved, and not as a repeat."""
    other = AUTHORITY.issue("fw-9", clearance=Label.AMBER, grants=Grants(execute=("deny ipv4_net",)),
                            tags=[("role", "firewall")])
    stage.talk.attach(stage.dmz, other, "dmz", executes=True)
    stage.talk.withdraw(stage.dmz, other)
    message = stage.ask(action())
    assert of(stage.reports(), "held") == ["fw-9"]
    (item,) = stage.talk.items(stage.dmz)
    assert item.targets == ["fw-2"]
    stage.talk.say(stage.dmz, Ack([message.id]))
    stage.talk.attach(stage.dmz, other, "dmz", executes=True, epoch=3)
    stage.talk.wait(500)
    (item,) = stage.talk.items(stage.dmz)
    assert (item.targets, item.envelope) == (["fw-9"], message.raw) and item.moved


def test_what_is_under_way_to_a_relay_is_answered_before_more_goes_the_same_way(stage):
    """Sent again with one target more, it would go again to those who have it."""
    leave(stage, 0)
    talk, other = stage.talk, WALLS[0]
    message = stage.ask(action())
    assert [item.targets for item in talk.items(stage.dmz)] == [["fw-2"]]
    talk.attach(stage.dmz, other, "dmz", executes=True, epoch=3)
    talk.wait(500)
    assert talk.items(stage.dmz) == []
    talk.say(stage.dmz, Ack([message.id]))
    talk.wait(500)
    assert [item.targets for item in talk.items(stage.dmz)] == [["fw-0"]]


def test_who_is_back_without_the_grant_is_refused_by_name(stage):
    leave(stage, 1)
    stage.ask(action())
    stage.reports()
    poor = AUTHORITY.issue("fw-1", clearance=Label.AMBER, grants=Grants(execute=("scan *",)),
                           tags=[("role", "firewall")], serial=9)
    wall = stage.talk.connect(poor, Role.POINT, session=b"t" * 16)
    stage.talk.attach(wall, poor, "hq", executes=True, session=b"t" * 16, epoch=9)
    stage.talk.wait(500)
    told = [report for report in stage.reports() if report["end"] == "refused"]
    assert [(r["targets"], r["code"]) for r in told] == [(["fw-1"], "E404")] and stage.talk.items(wall) == []


def test_a_report_and_the_end_of_its_row_are_one_commit(stage):
    stage.talk.lose(stage.walls[1])
    stage.ask(action(ttl_ms=4_000))
    turns: list[list[Op]] = []
    for _ in range(20):
        stage.talk.wait(250)
        turns.append(stage.talk.last.persist)
    where = f"point:fw-1/{(b's' * 16).hex()}"
    (ending,) = [ops for ops in turns if any(isinstance(op, Done) and op.destination == where for op in ops)]
    assert any(isinstance(op, Put) for op in ending)


def test_the_next_tier_asks_again_who_may_be_a_target():
    talk = relay(parent="root")
    up = talk.dial(PARENT, Role.CHILD)
    walls = [talk.connect(member, Role.POINT) for member in (WALLS[0], EDR)]
    for link, member in zip(walls, (WALLS[0], EDR), strict=True):
        talk.attach(link, member, "hq", executes=True)
    asked = action(to="id=fw-0")
    talk.send(up, asked, DOWN, targets=("fw-0", "edr-1", "fw-gone"))
    assert len(talk.items(walls[0])) == 1 and talk.items(walls[1]) == []
    told = {}
    back, *reports = sorted(talk.items(up), key=lambda item: item.envelope != asked.raw)
    assert (back.direction, back.targets, back.moved) == (UP, ["fw-gone"], 1), "it is held where it turned"
    for item in reports:
        message = opened(item.envelope, ME)
        for reading in read_records(message.header, message.envelope.parts):
            told[reading.content["targets"][0]] = (reading.content["end"], reading.content["code"])
    assert told == {"edr-1": ("refused", "E404")}
    assert talk.count("refused:execute_denied") == 1


def test_after_a_restart_all_that_was_held_goes_on_and_what_was_seen_is_known():
    talk = Stage().talk
    soar = talk.connect(SOAR, Role.POINT)
    message = action()
    talk.send(soar, message)
    assert talk.persisted(KeepDispatch)
    again = relay()
    names = ("KeepCredential", "KeepLists", "KeepSession", "KeepDispatch", "Seen", "SeenAction", "Put")
    order = {name: n for n, name in enumerate(names)}
    ops = sorted((op for op in talk.disk if type(op).__name__ in order), key=lambda op: order[type(op).__name__])
    assert again.core.restore(ops, again.now_ms) == []
    wall = again.connect(WALLS[0], Role.POINT)
    (item,) = again.items(wall)
    assert item.envelope == message.raw
    back = again.connect(SOAR, Role.POINT)
    again.send(back, message)
    assert [id_ for frame in again.heard(back, Ack) for id_ in frame.ids] == [message.id]
    assert again.count("repeats") == 1
    # It may have been sent before: nobody knows, and so it is said.
    for _ in range(40):
        again.wait(2_000)
    ends = [(op.direction, op.destination) for op in again.persisted(Done)]
    assert ends and again.count("reported:unknown") >= 1 and again.count("reported:expired") == 0


# -- cancelling ----------------------------------------------------------------------------------------------------


def cancel(about, member=SOAR):
    return verified(
        member, kind=Kind.ACTION, topic=CANCEL, to="all", correlation=about.leaf, severity=Severity.HIGH, sequence=77,
        records=[{"action": "cancel", "target": {"command": about.id.hex()}, "args": {}}],
    )


def test_what_is_cancelled_is_not_sent_to_who_comes_back(stage):
    leave(stage, 1)
    message = stage.ask(action())
    stage.reports()
    stage.ask(cancel(message))
    told = stage.reports()
    (refused,) = [report for report in told if report["end"] == "refused"]
    assert (refused["targets"], refused["code"]) == (["fw-1"], "E723")
    assert of(told, "selected") == ["fw-0", "fw-2"], "who got it is told"
    assert stage.talk.items(come_back(stage, 1)) == []


def test_its_cancelling_comes_after_it_to_who_got_it(stage):
    message = stage.ask(action())
    told = stage.ask(cancel(message))
    assert [item.envelope for item in stage.talk.items(stage.walls[0])] == [message.raw, told.raw]
    assert [(item.envelope, item.targets) for item in stage.talk.items(stage.dmz)] == [
        (message.raw, ["fw-2"]), (told.raw, ["fw-2"])
    ]
    answer = verified(WALLS[0], kind=Kind.RESULT, topic=CANCEL, to="soar-1", correlation=told.leaf,
                      state=State.COMPLETED, records=[{"end": "completed", "targets": ["fw-0"], "by": "fw-0"}])
    stage.talk.send(stage.walls[0], answer)
    assert answer.id in [opened(item.envelope, ME, *WALLS).id for item in stage.talk.items(stage.soar)]
