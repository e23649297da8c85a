import pytest

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import RETRY_MS
from fabric.protocol.links.announce import announce, announce_all, answered, next_frames, pass_on, settled, withdraw
from fabric.protocol.links.link import Link
from fabric.protocol.routes.attachments import Attachment, open_attachment, sign_attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind
from fabric.protocol.wire.frames import Intro, Routed, Routes
from tests.support import T0, Authority

AUTHORITY = Authority("announce")


class Child:
    """A relay's table and its link to the parent."""

    def __init__(self, nodes=1):
        self.table = RouteTable("ot-1")
        self.link = Link(1, bytes(32), bytes(16), T0)
        self.members = [AUTHORITY.issue(f"fw-{n}", grants=Grants(execute=("*",))) for n in range(nodes)]
        for n in range(nodes):
            self.put(n)

    def put(self, n, epoch=1):
        member = self.members[n]
        raw = sign_attachment(member.credential, member.signer, bytes(16), "ot-1", epoch, True, ())
        attachment = open_attachment(raw, {member.credential.digest: member.credential})
        assert isinstance(attachment, Attachment)
        self.table.put(attachment)
        return attachment

    def forget(self, n):
        self.table.forget(self.table.get(key(n)))

    def due(self, now_ms=0):
        return next_frames(self.link, self.table, now_ms)

    def exchange(self, *refusals, now_ms=0):
        """What was due, answered at once."""
        frames = self.due(now_ms)
        final = answered(self.link, Routed(frames[-1].sequence, list(refusals))) if frames else []
        return frames, final


def key(n):
    return (f"fw-{n}", bytes(16))


def test_a_link_that_opens_gets_the_whole_table_with_introductions_before_it():
    child = Child(2)
    announce_all(child.link, child.table)
    intro, routes = child.due()
    assert intro == Intro([member.credential.raw for member in child.members])
    assert routes == Routes(1, True, [attachment.raw for attachment in child.table.all()], [])


def test_an_empty_table_is_told_too():
    # Otherwise the parent would keep what the link said before.
    child = Child(0)
    announce_all(child.link, child.table)
    assert child.due() == [Routes(1, True, [], [])]


def test_after_that_only_changes_are_told():
    child = Child(2)
    announce_all(child.link, child.table)
    child.exchange()
    assert child.due() == []
    changed = child.put(1, epoch=2)
    announce(child.link, key(1), "fw-1")
    assert child.due() == [Routes(2, False, [changed.raw], [])]


def test_a_withdrawal_names_its_epoch():
    child = Child(2)
    announce_all(child.link, child.table)
    child.exchange()
    child.forget(0)
    withdraw(child.link, key(0), 1, "fw-0", known=True)
    assert child.due() == [Routes(2, False, [], [("fw-0", bytes(16), 1)])]


def test_who_came_back_before_the_withdrawal_left_is_attached():
    child = Child(1)
    announce_all(child.link, child.table)
    child.exchange()
    child.forget(0)
    withdraw(child.link, key(0), 1, "fw-0", known=True)
    again = child.put(0, epoch=2)
    announce(child.link, key(0), "fw-0")
    assert child.due() == [Routes(2, False, [again.raw], [])]


def test_one_frame_is_on_its_way_and_is_repeated_with_its_introductions_until_it_is_answered():
    child = Child(2)
    announce_all(child.link, child.table)
    first = child.due(0)
    announce(child.link, key(0), "fw-0")
    assert child.due(RETRY_MS - 1) == []
    assert child.due(RETRY_MS) == first
    answered(child.link, Routed(1, []))
    assert child.due(RETRY_MS)[-1].sequence == 2


def test_an_answer_to_an_older_frame_is_none():
    child = Child(1)
    announce_all(child.link, child.table)
    child.exchange()
    announce(child.link, key(0), "fw-0")
    child.due()
    assert answered(child.link, Routed(1, [(0, Code.REVOKED, "")])) == []
    assert child.link.routes_out.frame is not None


def test_a_signer_that_was_not_known_is_introduced_and_attached_again():
    child = Child(2)
    announce_all(child.link, child.table)
    _, final = child.exchange((1, Code.UNKNOWN_SIGNER, ""))
    assert final == []
    intro, routes = child.due()
    assert intro == Intro([child.members[1].credential.raw])
    assert (routes.first, len(routes.attachments)) == (False, 1)


def test_other_refusals_are_final_and_told():
    child = Child(2)
    announce_all(child.link, child.table)
    _, final = child.exchange((1, Code.REVOKED, "fw-1"), (7, Code.REVOKED, "no such index"))
    assert final == [(key(1), Reject(Code.REVOKED, "fw-1"))]
    assert child.due() == []


def test_a_large_table_goes_in_several_frames_of_which_only_the_first_begins_again():
    child = Child(150)
    announce_all(child.link, child.table)
    told, firsts = [], []
    while frames := child.exchange()[0]:
        firsts.append(frames[-1].first)
        told += frames[-1].attachments
    assert firsts == [True, False, False]
    assert told == [attachment.raw for attachment in child.table.all()]


def test_what_moved_away_is_passed_on_though_the_table_has_it_no_more():
    child = Child(1)
    gone = child.table.get(key(0))
    child.forget(0)
    pass_on(child.link, gone, "fw-0")
    assert not settled(child.link)
    intro, routes = child.due()
    assert (intro, routes) == (Intro([gone.credential.raw]), Routes(1, False, [gone.raw], []))
    answered(child.link, Routed(1, [(0, Code.UNKNOWN_SIGNER, "")]))
    assert child.due()[-1].attachments == [gone.raw], "asked for its credential, it is told again"
    answered(child.link, Routed(2, []))
    assert settled(child.link) and child.due() == []


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_what_the_table_has_of_a_relay_is_said_in_place_of_what_was_to_be_said_of_another_session(epoch):
    """A relay that restarted has another session: what was refused of the older one is not said after the newer one.
    Nor is nothing said: whoever was to be corrected would keep what it believes. The table decides, whatever the epochs
    are like: in a tie, or after a disk was lost, what came last holds.
    """
    child, relay = Child(0), AUTHORITY.issue("low", NodeKind.RELAY)
    older, newer = (
        open_attachment(
            sign_attachment(relay.credential, relay.signer, session * 16, "ot-1", since, False, ()),
            {relay.credential.digest: relay.credential},
        )
        for session, since in ((b"1", epoch), (b"2", 2))
    )
    child.table.put(newer)
    pass_on(child.link, older, "low")
    assert [frame.attachments for frame in child.exchange()[0][1:]] == [[newer.raw]]
    announce(child.link, older.key, "low")  # as after BUSY
    assert [frame.attachments for frame in child.due()] == [[newer.raw]]


def test_a_link_that_nothing_is_to_be_told_on_is_silent():
    assert Child(0).due() == []
