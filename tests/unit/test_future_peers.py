"""A peer of a later version gets less than it asked for, never more; what it signed passes unharmed, and nobody else
notices."""

import dataclasses

import pytest

from fabric.protocol.audit.heads import read_head, read_witness, sign_head, sign_witness
from fabric.protocol.base import signing
from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.signed import seal_document
from fabric.protocol.core.ready import Delivery, Disconnected, LinkUp, Put
from fabric.protocol.envelope.header import Kind
from fabric.protocol.point.point import Point
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import Attachment, open_attachment, sign_attachment
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import Issuing, Keep, NodeKind
from fabric.protocol.trust.directory import Descriptor, issue_directory, verify_directory
from fabric.protocol.trust.policies import Rule, When, issue_policies, verify_policies
from fabric.protocol.trust.revocations import issue_revocations, verify_revocations
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Data,
    Direction,
    Hello,
    Intro,
    Item,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Welcome,
)
from tests.conversation import Conversation
from tests.future import AUDIENCE, KIND, LABEL, MANIFEST, PHASE, SEVERITY, VERSION, appended, fields_of, instead, signed
from tests.support import EVERYTHING, FABRIC, T0, Authority, entropy, verified

AUTHORITY = Authority("future")
RED, AMBER = (AUTHORITY.issue("mid", NodeKind.RELAY, label) for label in (Label.RED, Label.AMBER))
PARENT, CHILD, FAR = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("hq", "low", "far"))
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
ANN = AUTHORITY.issue("ann", grants=EVERYTHING)
GREEN = AUTHORITY.issue("greta", clearance=Label.GREEN, grants=EVERYTHING)


class Stage(Conversation):
    """A relay with a parent, a child of a later version, and two readers of today."""

    def __init__(self, me=RED):
        super().__init__(Relay(me.credential, me.signer, AUTHORITY.key, b"m" * 16, entropy("future"), ("hq",)))
        self.up = self.dial(PARENT, Role.CHILD)
        self.later = self.connect(CHILD, Role.CHILD)
        self.readers = {}
        for member in (ANN, GREEN):
            session = member.id.encode().ljust(16, b".")
            self.readers[member.id] = link = self.connect(member, Role.POINT, session=session)
            self.attach(link, member, "mid", "detections.>", session=session)

    def offer(self, *raws, direction=Direction.UP):
        """From the child, in one frame."""
        self.say(self.later, Intro([ZEEK.credential.raw]))
        self.say(self.later, Data(Lane.MEDIUM, self.now_ms, [Item(direction, 0, ["low"], [], raw) for raw in raws]))

    def had(self, link):
        """The envelopes that this peer was given."""
        return [item.envelope for item in self.items(link)]

    def refusals(self):
        return [code for frame in self.heard(self.later, Nack) for _, code, _ in frame.refusals]

    def acked(self):
        return sum(len(frame.ids) for frame in self.heard(self.later, Ack))

    def assert_nobody_else_noticed(self):
        """An event of today still goes from a reader's neighbour to everybody."""
        sensor = self.connect(ZEEK, Role.POINT, session=b"z" * 16)
        event = verified(ZEEK, issued_at_ms=self.now_ms, sequence=99)
        self.send(sensor, event)
        assert [event.raw] == self.had(self.up)
        assert all([event.raw] == self.had(link) for link in self.readers.values())


def read_by(member, raw):
    """What a control point of today makes of it: what it was given, if it took it."""
    talk = Conversation(Point(member.credential, member.signer, AUTHORITY.key, b"a" * 16, entropy("far end"), ("mid",)))
    link = talk.dial(RED, Role.POINT)
    talk.say(link, Intro([ZEEK.credential.raw]))
    talk.say(link, Data(Lane.MEDIUM, talk.now_ms, [Item(Direction.DOWN, 0, ["low", "mid"], [], raw)]))
    return [told.message.raw for told in talk.told(Delivery)]


# -- messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [
    appended(0, 0, None, "a field", {"of": [2, b"bytes"]}), instead(VERSION, 9), instead(SEVERITY, 9),
    instead(PHASE, 99),
    lambda f: instead(AUDIENCE, [*f[AUDIENCE], ["somebody"], 7])(f),
    lambda f: instead(MANIFEST, [[*entry, "zstd", {"level": 3}] for entry in f[MANIFEST]])(f),
    lambda f: instead(MANIFEST, [[entry[0], 5, 7, *entry[3:]] for entry in f[MANIFEST]])(f),
], ids=["fields", "version", "severity", "phase", "audience", "manifest", "content type and encoding"])
def test_what_it_does_not_know_in_a_header_passes_byte_for_byte_and_is_good_at_the_far_end(change):
    stage, raw = Stage(), signed(ZEEK, change)
    stage.offer(raw)
    assert (stage.acked(), stage.refusals()) == (1, [])
    assert stage.had(stage.up) == [raw] and all(stage.had(link) == [raw] for link in stage.readers.values())
    assert read_by(ANN, raw) == [raw]


def test_a_label_of_a_later_version_is_red_to_every_hop():
    raw = signed(ZEEK, instead(LABEL, 5))
    amber, red = Stage(AMBER), Stage(RED)
    amber.offer(raw)
    assert (amber.refusals(), amber.had(amber.up)) == ([Code.WITHHELD], [])
    red.offer(raw)
    assert red.had(red.up) == [raw]
    assert {name: red.had(link) for name, link in red.readers.items()} == {"ann": [raw], "greta": []}
    assert read_by(ANN, raw) == [raw] and read_by(GREEN, raw) == []


def test_a_part_with_such_a_label_is_taken_out_where_red_would_be():
    raw = signed(ZEEK, lambda f: instead(MANIFEST, [[5, *entry[1:]] for entry in f[MANIFEST]])(f))
    amber, red = Stage(AMBER), Stage(RED)
    for stage in (amber, red):
        stage.offer(raw)
    without = pack([*fields_of(raw)[:4], [None]])
    assert amber.had(amber.up) == [without] and red.had(red.up) == [raw]
    assert {name: red.had(link) for name, link in red.readers.items()} == {"ann": [raw], "greta": [without]}
    assert read_by(GREEN, without) == [without], "the signature holds"


@pytest.mark.parametrize("kind", [7, 255])
def test_a_kind_that_it_does_not_know_is_refused_by_name_and_nothing_beside_it(kind):
    stage = Stage()
    before, after = (signed(ZEEK, appended("later"), sequence=n) for n in (1, 2))
    stage.offer(before, signed(ZEEK, instead(KIND, kind)), after)
    assert (stage.acked(), stage.refusals()) == (2, [Code.UNKNOWN_KIND])
    assert stage.had(stage.up) == [before, after] and not stage.closed
    assert stage.count("refused:unknown_kind") == 1
    assert len(stage.persisted(Put)) == 2


def action(*more, terms=()):
    """An action, on these terms, and with more fields than this version knows."""
    return signed(ZEEK, appended(*terms, *more), kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall",
                  records=[{"action": "deny", "target": {"ipv4_net": "203.0.113.9"}, "args": {}}])


def test_an_action_on_terms_that_it_does_not_know_is_refused_by_name_and_nothing_beside_it():
    """Nobody of this version would keep to them. A relay of a later one that passes it on does nothing wrong."""
    stage = Stage()
    before, after = (signed(ZEEK, appended("later"), sequence=n) for n in (1, 2))
    stage.offer(before, action(terms=(4,)), action(terms=(2**40,)), after)
    assert (stage.acked(), stage.refusals()) == (2, [Code.UNKNOWN_KIND] * 2)
    assert stage.had(stage.up) == [before, after] and not stage.closed


@pytest.mark.parametrize("raw", [action(0, "later", terms=(0,)), action(0, "later", terms=(3,))])
def test_a_header_of_an_action_may_grow_whether_it_has_terms_or_none(raw):
    stage = Stage()
    stage.offer(raw)
    assert (stage.acked(), stage.refusals()) == (1, []) and stage.had(stage.up) == [raw]


def test_control_which_is_for_later_versions_goes_nowhere():
    for direction in Direction:
        stage = Stage()
        stage.offer(signed(ZEEK, instead(KIND, int(Kind.CONTROL))), direction=direction)
        assert stage.refusals() == [Code.WRONG_DIRECTION] and not stage.had(stage.up) and not stage.closed


# -- links ------------------------------------------------------------------------------------------------------


def hello(member, low, high, role=Role.CHILD):
    said = Hello(low, high, FABRIC, role, member.credential.raw, b"l" * 16, b"n" * 16, T0, 0, 0)
    return pack([*fields_of(encode_frame(said)), "later", [["capability", 1]]])


def greeted(stage, low, high):
    """A relay that speaks these versions dials; its link."""
    stage.step(LinkUp(90, FAR.curve_key, b""))
    stage.say(90, hello(FAR, low, high))
    return 90


def test_who_speaks_a_later_version_too_is_spoken_to_in_this_one():
    stage = Stage()
    link = greeted(stage, 1, 9)
    (welcome,) = stage.heard(link, Welcome)
    assert welcome.version == 1 and stage.core.links[link].is_open
    stage.say(link, hello(FAR, 1, 9))  # as when the WELCOME was lost
    assert [again.version for again in stage.heard(link, Welcome)] == [1]


def test_who_speaks_later_ones_only_is_told_so_and_nobody_else_notices():
    stage = Stage()
    link = greeted(stage, 2, 9)
    (refused,) = stage.heard(link, Refused)
    assert (refused.code, refused.detail) == (Code.UNKNOWN_VERSION, "who dialled speaks 2 to 9, who listens 1")
    assert stage.closed == [link]
    assert [note.fields["code"] for note in stage.last.notes if note.event == "link refused"] == ["E105"]
    stage.assert_nobody_else_noticed()


@pytest.mark.parametrize("payload", [pack([23, "later"]), pack([99]), pack([2**40, {}])])
def test_a_frame_that_it_does_not_know_ends_that_link_by_name_and_loses_nothing(payload):
    stage = Stage()
    held = signed(ZEEK, appended("later"))
    stage.offer(held)
    stage.say(stage.later, payload)
    (refused,) = stage.heard(stage.later, Refused)
    assert refused.code is Code.UNKNOWN_FRAME and stage.closed == [stage.later]
    assert stage.count("refused:unknown_frame") == 1 and stage.had(stage.up) == [held]
    for link in stage.readers.values():
        assert stage.had(link) == [held]
    stage.assert_nobody_else_noticed()
    stage.later = stage.connect(CHILD, Role.CHILD, session=b"again".ljust(16))
    stage.offer(signed(ZEEK, appended("later"), sequence=5))
    assert stage.acked() == 1


def test_codes_that_it_does_not_know_are_malformed_to_it_and_end_what_they_are_about():
    stage = Stage()
    raw = signed(ZEEK, appended("later"), sequence=3)
    stage.offer(raw)
    (item,) = stage.items(stage.up)
    assert item.envelope == raw
    id_ = next(op.id for op in stage.persisted(Put))
    stage.say(stage.up, pack([7, [[id_, 4_999, "later", "words"]]]))
    assert stage.count("ended:malformed") == 1
    stage.say(stage.later, pack([3, 4_999, "later", b"n" * 16, "more"]))
    link = stage.readers["greta"]
    stage.say(link, pack([13, 4_999, "later", "more"]))
    assert set(stage.closed) == {stage.later, link}
    assert stage.core.links[stage.readers["ann"]].is_open and stage.core.links[stage.up].is_open


def point():
    return Conversation(Point(ANN.credential, ANN.signer, AUTHORITY.key, b"a" * 16, entropy("a point"), ("mid",)))


def test_a_relay_that_answers_in_a_later_version_is_not_believed_and_the_program_hears_why():
    talk = point()
    talk.step(LinkUp(1, RED.curve_key, b"n" * 16, Role.POINT, "mid"))
    talk.say(1, Welcome(9, RED.credential.raw, b"p" * 16, b"n" * 16, T0, T0, 0, 0, 524_288))
    (told,) = talk.told(Disconnected)
    assert (told.reason, told.final) == (Reject(Code.UNKNOWN_VERSION, "who dialled speaks 1, who listens 9"), True)
    assert [each.code for each in talk.heard(1, Refused)] == [Code.UNKNOWN_VERSION]


def test_a_relay_of_a_later_version_serves_a_control_point_of_this_one():
    """Its frames are longer; one that is not of this version ends the link, and the next is as good as the first."""
    talk = point()
    link = talk.dial(RED, Role.POINT)
    raw = signed(ZEEK, appended("later"))
    talk.say(link, Intro([ZEEK.credential.raw]))
    talk.say(link, pack([5, 3, talk.now_ms, [[1, 0, ["mid"], [], raw, 0, "later"]], {"more": 1}]))
    assert [told.message.raw for told in talk.told(Delivery)] == [raw]
    talk.say(link, pack([11, talk.now_ms, "later"]))
    assert talk.heard(link, Pong) and not talk.closed
    talk.say(link, pack([23, "later"]))
    assert [each.code for each in talk.heard(link, Refused)] == [Code.UNKNOWN_FRAME] and talk.closed == [link]
    again = talk.dial(RED, Role.POINT, session=b"again".ljust(16))
    talk.say(again, encode_frame(Ping(talk.now_ms)))
    assert talk.heard(again, Pong)


def test_a_pong_may_grow_where_no_heads_are_taken():
    stage = Stage()
    stage.say(stage.up, pack([12, stage.now_ms, stage.now_ms, ["hq"], None, 0, "later"]))
    assert not stage.closed and stage.core.log_heads.known_above is None


# -- what is signed ---------------------------------------------------------------------------------------------


def longer(type_, raw, signer, at=0):
    """The same document with more at the end of its body."""
    body = pack([*fields_of(fields_of(raw)[at]), "later", {"more": [1]}])
    return seal_document(type_, body, signer)


def stated(type_, raw, member):
    """The same statement of a node, with more at the end of it."""
    digest, body, *_ = fields_of(raw)
    more = pack([*fields_of(body), "later"])
    return pack([digest, more, member.signer.sign(type_, more), "later"])


RULE = Rule("contain", When("contain", "", ""), 1, ("lead",), 60_000)
DESCRIPTOR = Descriptor("hq", ("hq.example:7700",), PARENT.curve_key, "hq", (), Label.RED, 0, T0)


def test_lists_policies_and_directories_may_say_more():
    key, signer = AUTHORITY.key, AUTHORITY.signer
    lists = longer(signing.TYPE_REVOCATIONS, issue_revocations(FABRIC, 3, T0, T0, ["zeek-9"], signer, 7, 1), signer)
    read = verify_revocations(lists, key, FABRIC)
    assert (read.version, read.ids, read.policies, read.floor) == (3, {"zeek-9"}, 7, 1)
    policies = verify_policies(
        longer(signing.TYPE_POLICIES, issue_policies(FABRIC, 4, T0, [RULE], {}, signer), signer), key, FABRIC
    )
    assert (policies.version, policies.rules) == (4, (RULE,))
    directory = verify_directory(
        longer(signing.TYPE_DIRECTORY, issue_directory(FABRIC, 5, T0, T0, [DESCRIPTOR], signer), signer), key, FABRIC
    )
    assert (directory.version, directory.relays) == (5, (DESCRIPTOR,))


def test_what_nodes_sign_of_themselves_may_say_more():
    known = {ANN.credential.digest: ANN.credential}
    said = sign_attachment(ANN.credential, ANN.signer, b"a" * 16, "hq", T0, False, ("intel.>",), 60_000)
    attachment = open_attachment(stated(signing.TYPE_ROUTE, said, ANN), known)
    assert isinstance(attachment, Attachment) and (attachment.epoch, attachment.keep_ms) == (T0, 60_000)
    head = read_head(stated(signing.TYPE_HEAD, sign_head(RED.credential, RED.signer, bytes(16), 7, bytes(32), T0), RED))
    assert (head.node, head.number) == ("mid", 7)
    witness = sign_witness(PARENT.credential, PARENT.signer, head, T0)
    assert read_witness(stated(signing.TYPE_WITNESS, witness, PARENT)).head == head.digest


def credential(member, change):
    """As the authority would sign it: `change` of its body's elements."""
    body = pack(change(fields_of(fields_of(member.credential.raw)[0])))
    raw = pack([body, AUTHORITY.signer.sign(signing.TYPE_CREDENTIAL, body), []])
    return verify_credential(raw, AUTHORITY.key, FABRIC)


MAY = Issuing(("p1-*",), (NodeKind.POINT,), ("ot-*",), ("acme",), Label.AMBER, (), (), (), ("p1-*",), EVERYTHING)


@pytest.mark.parametrize("change", [
    lambda f: instead(14, [*f[14], *[[]] * (7 - len(f[14])), 7, ["x"] * 99])(f),
    lambda f: instead(13, [["role", "sensor", "later", 7]])(f),
    lambda f: [*f, None, "later"],
], ids=["grants", "tags", "fields"])
def test_a_credential_may_say_more(change):
    member = AUTHORITY.issue("zeek-1", grants=dataclasses.replace(EVERYTHING, keep=Keep()), tags=[("role", "sensor")])
    found = credential(member, change)
    assert (found.grants, found.tags) == (member.credential.grants, (("role", "sensor"),))


def test_an_issuer_may_give_what_is_known_of_what_it_may_give():
    plant = issue(
        dataclasses.replace(AUTHORITY.issue("plant", clearance=Label.CLEAR).credential, kind=NodeKind.ISSUER,
                            issuing=MAY), AUTHORITY.signer,
    )
    body = fields_of(fields_of(plant)[0])
    body[18] = [body[18][0], [2, 5], *body[18][2:4], 9, *body[18][5:], "later"]
    raw = pack([pack(body), AUTHORITY.signer.sign(signing.TYPE_CREDENTIAL, pack(body)), []])
    found = verify_credential(raw, AUTHORITY.key, FABRIC)
    assert found.issuing == dataclasses.replace(MAY, kinds=(NodeKind.POINT,), clearance=Label.CLEAR)
