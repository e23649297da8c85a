"""Actions at a relay: who is selected, who is told, and what may be said of an end."""

import pytest

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import SESSION_GRACE_MS
from fabric.protocol.core.ready import Done, KeepDispatch, Op, Put
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind, RequestGrant
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Direction, Nack, Ping, Role
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
            told += [reading.content for reading in read_records(message.header, message.envelope.parts)]
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


def test_unroutable_where_it_left_before_it_was_sent(stage):
    stage.talk.lose(stage.walls[1])
    stage.ask(action(ttl_ms=600_000))
    stage.reports()
    for link in (stage.walls[0], stage.dmz):
        for item in stage.talk.items(link):
            stage.talk.say(link, Ack([opened(item.envelope, SOAR).id]))
    for _ in range(SESSION_GRACE_MS // 2_000 + 1):
        stage.talk.wait(2_000)
        for link in (stage.soar, stage.walls[0], stage.dmz):
            stage.talk.say(link, Ping(stage.talk.now_ms))
    told = [(report["end"], report["targets"], report["code"]) for report in stage.reports()]
    assert told == [("unroutable", ["fw-1"], "E701")] or told == [("unroutable", ["fw-1"], "E707")]


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
    talk.send(up, action(to="id=fw-0"), DOWN, targets=("fw-0", "edr-1", "fw-gone"))
    assert len(talk.items(walls[0])) == 1 and talk.items(walls[1]) == []
    told = {}
    for item in talk.items(up):
        message = opened(item.envelope, ME)
        for reading in read_records(message.header, message.envelope.parts):
            told[reading.content["targets"][0]] = (reading.content["end"], reading.content["code"])
    assert told == {"edr-1": ("refused", "E404"), "fw-gone": ("unroutable", "E701")}
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
