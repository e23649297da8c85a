import pytest

from fabric.protocol.codec import pack, unpack
from fabric.protocol.credentials import Grants
from fabric.protocol.errors import Code, Reject
from fabric.protocol.limits import SUBSCRIPTIONS_MAX
from fabric.protocol.routing import Attachment, RouteTable, open_attachment, sign_attachment
from fabric.protocol.signing import TYPE_CREDENTIAL, TYPE_ROUTE
from tests.support import Authority

AUTHORITY = Authority("routing")
FW = AUTHORITY.issue("fw-7", grants=Grants(subscribe=("intel.>",), execute=("deny ipv4_net",)))
SENSOR = AUTHORITY.issue("zeek-1", grants=Grants(subscribe=("intel.>",)))
A, B = b"a" * 16, b"b" * 16


def signed(member=FW, session=A, epoch=1, executes=True, subscriptions=("intel.ipv4.>",), relay="ot-1"):
    return sign_attachment(member.credential, member.signer, session, relay, epoch, executes, subscriptions)


def read(raw, *members):
    return open_attachment(raw, {m.credential.digest: m.credential for m in members or (FW, SENSOR)})


def attachment(**fields):
    result = read(signed(**fields))
    assert isinstance(result, Attachment), result
    return result


def test_what_a_node_says_of_itself_is_read_again():
    seen = attachment(epoch=7)
    assert (seen.node, seen.session, seen.relay, seen.epoch) == ("fw-7", A, "ot-1", 7)
    assert (seen.executes, seen.subscriptions, seen.credential) == (True, ("intel.ipv4.>",), FW.credential)


def test_an_unknown_signer_is_asked_for():
    assert read(signed(), SENSOR).code is Code.UNKNOWN_SIGNER


def test_no_relay_invents_an_attachment():
    raw = sign_attachment(FW.credential, SENSOR.signer, A, "ot-1", 1, True, ())
    assert read(raw).code is Code.BAD_SIGNATURE


def test_an_altered_attachment_is_noticed():
    raw = bytearray(signed())
    raw[raw.index(b"intel.ipv4")] ^= 1
    assert read(bytes(raw)).code is Code.BAD_SIGNATURE


def test_subscriptions_beyond_the_grant_are_refused():
    assert read(signed(subscriptions=("intel.ipv4.>", "detections.>"))) == Reject(
        Code.SUBSCRIBE_DENIED, "detections.>"
    )
    assert read(signed(subscriptions=("intel..x",))).code is Code.BAD_TOPIC


def test_who_may_execute_nothing_is_no_executor():
    assert read(signed(member=SENSOR, executes=True)).code is Code.EXECUTE_DENIED
    assert isinstance(read(signed(member=SENSOR, executes=False)), Attachment)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 2), (1, "other"), (2, "zeek-1"), (3, b"short"), (4, "x" * 65), (5, "7"), (6, 1), (7, "intel.>"), (7, [7]),
        (7, ["intel.a"] * (SUBSCRIPTIONS_MAX + 1)),
    ],
)
def test_a_statement_of_the_wrong_form_or_about_another_is_refused_even_when_signed(at, value):
    outer = unpack(signed(), bytes_max=9_999, elements_max=99, depth_max=9)
    fields = unpack(outer[1], bytes_max=9_999, elements_max=99, depth_max=9)
    fields[at] = value
    body = pack(fields)
    raw = pack([FW.credential.digest, body, FW.signer.sign(TYPE_ROUTE, body)])
    assert read(raw) == Reject(Code.MALFORMED, "attachment")


def test_a_signature_for_another_purpose_is_none():
    body = unpack(signed(), bytes_max=9_999, elements_max=99, depth_max=9)[1]
    raw = pack([FW.credential.digest, body, FW.signer.sign(TYPE_CREDENTIAL, body)])
    assert read(raw).code is Code.BAD_SIGNATURE


@pytest.mark.parametrize("raw", [b"", b"\x90", pack([b"short", b"", b""]), pack({}), pack([b"d" * 16, "", b""])])
def test_what_is_no_attachment_is_refused(raw):
    assert read(raw) == Reject(Code.MALFORMED, "attachment")


def test_the_highest_epoch_of_a_session_wins():
    table = RouteTable()
    assert table.put(attachment(epoch=2), "relay:a")
    assert not table.put(attachment(epoch=1), "relay:b")
    assert not table.put(attachment(epoch=2), "relay:a")
    assert table.put(attachment(epoch=3, subscriptions=()), "relay:b")
    assert [(route.via, route.attachment.epoch) for route in table.all()] == [("relay:b", 3)]
    assert table.interested("intel.ipv4.deny") == []


def test_a_withdrawal_removes_its_own_epoch_only():
    table = RouteTable()
    table.put(attachment(epoch=5), "relay:a")
    assert not table.withdraw("fw-7", A, 4, "relay:a")
    assert not table.withdraw("fw-7", A, 5, "relay:b")
    assert not table.withdraw("fw-7", B, 5, "relay:a")
    assert table.withdraw("fw-7", A, 5, "relay:a")
    assert len(table) == 0 and table.of_node("fw-7") == []


def test_what_a_link_said_goes_with_it_and_nothing_else():
    table = RouteTable()
    table.put(attachment(session=A), "relay:a")
    table.put(attachment(session=B), "relay:b")
    assert [route.attachment.session for route in table.forget_via("relay:a")] == [A]
    assert [route.via for route in table.interested("intel.ipv4.deny")] == ["relay:b"]


def test_subscribers_are_found_in_the_order_in_which_they_came():
    table = RouteTable()
    table.put(attachment(member=SENSOR, executes=False, subscriptions=("intel.>",)), "point:zeek-1")
    table.put(attachment(), "point:fw-7")
    assert [route.via for route in table.interested("intel.ipv4.deny")] == ["point:zeek-1", "point:fw-7"]
    assert [route.via for route in table.interested("intel.domain")] == ["point:zeek-1"]


def test_of_many_sessions_the_newest_that_says_so_executes():
    table = RouteTable()
    table.put(attachment(session=A, epoch=1), "relay:a")
    table.put(attachment(session=B, epoch=9, executes=False), "relay:b")
    assert table.executor("fw-7").via == "relay:a"
    table.put(attachment(session=B, epoch=10), "relay:b")
    assert table.executor("fw-7").via == "relay:b"
    assert len(table.executors()) == 1
    assert table.executor("zeek-1") is None
