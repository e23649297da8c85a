import pytest

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SUBSCRIPTIONS_MAX
from fabric.protocol.base.signing import TYPE_CREDENTIAL, TYPE_ROUTE
from fabric.protocol.routes.attachments import Attachment, open_attachment, sign_attachment
from fabric.protocol.routes.routing import Change, RouteTable
from fabric.protocol.trust.credentials import Grants, NodeKind
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


RELAYS = {name: AUTHORITY.issue(name, NodeKind.RELAY) for name in ("dmz", "ot-1", "cell")}


def at(relay, member=FW, **fields):
    """A statement of being at a relay, or below one."""
    raw = signed(member=member, relay=relay, **{"executes": member is FW, **fields})
    result = read(raw, member)
    assert isinstance(result, Attachment), result
    return result


def below(relay, name, epoch=1, session=A):
    return at(relay, RELAYS[name], epoch=epoch, session=session, executes=False, subscriptions=())


def table(*attachments):
    """As the relay hq sees it."""
    made = RouteTable("hq")
    for attachment in attachments:
        made.put(attachment)
    return made


def test_a_relay_says_where_it_is_and_takes_nothing():
    assert below("hq", "dmz").is_relay and not at("hq").is_relay
    assert read(signed(member=RELAYS["dmz"], executes=False), RELAYS["dmz"]).code is Code.SUBSCRIBE_DENIED
    assert read(signed(member=RELAYS["dmz"], subscriptions=()), RELAYS["dmz"]).code is Code.EXECUTE_DENIED


def test_the_highest_epoch_of_a_session_wins():
    made = table()
    assert made.put(at("ot-1", epoch=2)) is Change.NEW
    assert made.put(at("dmz", epoch=1)) is Change.OLDER
    assert made.put(at("ot-1", epoch=2)) is Change.SAME
    assert made.put(at("dmz", epoch=3, subscriptions=())) is Change.NEW
    assert [(a.relay, a.epoch) for a in made.all()] == [("dmz", 3)]
    assert made.interested("intel.ipv4.deny") == []


def test_a_relay_is_in_one_place_whatever_its_sessions():
    made = table(below("hq", "dmz", epoch=1, session=A))
    assert made.put(below("ot-1", "dmz", epoch=2, session=B)) is Change.NEW
    assert made.put(below("hq", "dmz", epoch=1, session=A)) is Change.OLDER
    assert [(a.node, a.relay) for a in made.all()] == [("dmz", "ot-1")]
    assert made.get(("dmz", A)) is None and made.get(("dmz", B)) is not None


def test_the_way_follows_from_what_nodes_say_and_not_from_who_said_it():
    made = table(at("cell"), below("ot-1", "cell"))
    (wall,) = made.of_node("fw-7")
    assert made.via(wall) == "", "nobody said where ot-1 is"
    made.put(below("dmz", "ot-1"))
    made.put(below("hq", "dmz"))
    assert made.via(wall) == "relay:dmz"
    made.put(below("hq", "ot-1", epoch=2))
    assert made.via(wall) == "relay:ot-1"
    made.put(at("hq", epoch=2))
    assert made.via(made.of_node("fw-7")[0]) == f"point:fw-7/{A.hex()}"


def test_which_relays_are_between_follows_from_the_same_statements():
    made = table(below("hq", "dmz"), below("dmz", "ot-1"), below("ot-1", "cell"))
    assert made.between(at("cell")) == ("cell", "ot-1") and made.between(at("ot-1")) == ("ot-1",)
    assert made.between(at("dmz")) == made.between(at("hq")) == made.between(at("elsewhere")) == ()


def test_who_is_below_itself_is_nowhere():
    made = table(below("ot-1", "cell"), below("cell", "ot-1"), at("cell"))
    assert [made.via(a) for a in made.all()] == ["", "", ""]


def test_with_a_relay_moves_everybody_below_it():
    made = table(below("hq", "dmz"), below("dmz", "ot-1"), below("ot-1", "cell"), at("cell"), at("dmz", SENSOR))
    assert [a.node for a in made.below_relay("ot-1")] == ["cell", "fw-7"]
    assert [a.node for a in made.below("relay:dmz")] == ["dmz", "ot-1", "cell", "zeek-1", "fw-7"], "from the nearest"
    made.put(below("hq", "ot-1", epoch=2))
    assert [a.node for a in made.below("relay:ot-1")] == ["ot-1", "cell", "fw-7"]
    assert [a.node for a in made.below("relay:dmz")] == ["dmz", "zeek-1"]


def test_who_is_told_everything_hears_of_relays_first():
    made = table(at("cell"), below("hq", "cell"))
    assert [a.node for a in made.all()] == ["cell", "fw-7"] and len(made) == 1


def test_what_is_forgotten_is_gone_everywhere():
    made = table(below("hq", "cell"), at("cell"))
    for attachment in list(made.all()):
        made.forget(attachment)
    assert (list(made.all()), made.of_node("fw-7"), made.interested("intel.ipv4.deny")) == ([], [], [])


def test_subscribers_are_found_in_the_order_in_which_they_came():
    made = table(at("hq", SENSOR, subscriptions=("intel.>",)), at("hq"))
    assert [a.node for a in made.interested("intel.ipv4.deny")] == ["zeek-1", "fw-7"]
    assert [a.node for a in made.interested("intel.domain")] == ["zeek-1"]


def test_of_many_sessions_the_newest_that_says_so_executes():
    made = table(at("dmz", session=A, epoch=1), at("ot-1", session=B, epoch=9, executes=False))
    assert made.executor("fw-7").relay == "dmz"
    made.put(at("ot-1", session=B, epoch=10))
    assert made.executor("fw-7").relay == "ot-1"
    assert len(made.executors()) == 1
    assert made.executor("zeek-1") is None


def test_who_is_elsewhere_for_long_is_forgotten():
    made = table(below("hq", "dmz"), at("dmz", SENSOR), at("far"))
    made.prune()
    assert made.of_node("fw-7"), "the way to it may be known in a moment"
    made.put(below("hq", "ot-1"))
    made.prune()
    assert [a.node for a in made.all()] == ["dmz", "ot-1", "zeek-1"]
    own = RouteTable("dmz")
    own.put(below("hq", "dmz"))
    own.prune()
    own.prune()
    assert [a.node for a in own.all()] == ["dmz"], "a relay's own statement is for those above it"


def test_one_id_as_a_relay_and_as_a_control_point_is_forgotten_as_each():
    """Whoever may sign both kinds gives one id both: the two statements have the same node, session and relay."""
    made, said = RouteTable("hq"), []
    for kind in (NodeKind.RELAY, NodeKind.POINT):
        member = AUTHORITY.issue("both", kind)
        raw = sign_attachment(member.credential, member.signer, bytes(16), "hq", 1, False, ())
        said.append(open_attachment(raw, {member.credential.digest: member.credential}))
        made.put(said[-1])
    assert made.below_relay("hq") == said
    for attachment in said:
        made.forget(attachment)
    assert list(made.all()) == [] and made.below_relay("hq") == []
