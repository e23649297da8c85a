import msgpack
import pytest

from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    CREDENTIAL_BYTES_MAX,
    ENVELOPE_BYTES_MAX,
    FRAME_BYTES_MAX,
    FRAME_ELEMENTS_MAX,
    HELLO_BYTES_MAX,
    HOPS_MAX,
    ITEMS_MAX,
    MOVED_MAX,
)
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.codec import _TABLE, decode_frame, encode_frame
from fabric.protocol.wire.frames import (
    Ack,
    Applied,
    Bye,
    Credit,
    Data,
    Denied,
    Direction,
    Directory,
    Grown,
    Hello,
    Intro,
    Item,
    Join,
    Joined,
    Lists,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Rules,
    Welcome,
    Witnessed,
)
from tests.support import T0

S, N, ID = b"s" * 16, b"n" * 16, b"i" * 16
FRAMES = [
    Hello(1, 1, "acme", Role.CHILD, b"credential", S, N, T0, 3, 0),
    Welcome(1, b"credential", S, N, T0, T0 + 5, 3, 0, 524_288, ("hq", "dmz")),
    Refused(Code.REVOKED, "fw-7", N),
    Intro([b"one", b"two"]),
    Data(Lane.HIGH, T0, [Item(Direction.DOWN, 250, ["ot-1", "dmz"], ["fw-7"], b"envelope", 2)]),
    Data(Lane.LOW, T0, []),
    Ack([ID, ID]),
    Nack([(ID, Code.BUSY, "medium")]),
    Credit([1, 2, 3, 4, 5]),
    Routes(7, True, [b"attachment"], [("fw-7", S, 9)]),
    Routed(7, [(0, Code.SUBSCRIBE_DENIED, "a.>")]),
    Ping(T0),
    Pong(T0, T0 + 5, ("hq",), 7, 6_000),
    Bye(Code.CLOSED, ""),
    Lists(b"list"),
    Directory(b"directory"),
    Rules(b"policies"),
    Grown(b"head", 5, [b"d" * 32]),
    Witnessed(7, None, b"witness"),
    Witnessed(7, Code.FORKED_LOG, b"witness"),
    Join(ID, "plant-1-issuer", b"k" * 32, b"request"),
    Joined(ID, None, "", b"answer"),
    Applied([("plant-1", 7, T0)]),
    Joined(ID, Code.TOKEN_USED, "once", b""),
    Denied([(Code.PUBLISH_DENIED, 3), (Code.SEVERITY_DENIED, 1)]),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_is_read_as_it_was_written(frame):
    assert decode_frame(encode_frame(frame)) == frame


def test_there_is_an_example_of_every_frame():
    assert {type(frame) for frame in FRAMES} == {class_ for _, class_, _ in _TABLE}


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_elements_from_the_future_do_not_matter(frame):
    longer = bytearray(encode_frame(frame))
    assert longer[0] & 0xF0 == 0x90
    longer[0] += 1
    assert decode_frame(bytes(longer) + pack({"new": 1})) == frame


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_a_frame_that_lacks_its_last_element_is_malformed(frame):
    fields = decode_list(encode_frame(frame))
    for name in ("spared_ms", "log_known", "path"):  # appended, and absent where it says nothing
        if hasattr(frame, name):
            fields.pop()
            frame = frame._replace(**{name: type(frame)._field_defaults[name]})
            assert decode_frame(pack(fields)) == frame
    assert decode_frame(pack(fields[:-1])).code is Code.MALFORMED


def test_what_was_appended_to_an_item_is_absent_where_it_says_nothing():
    said = Item(Direction.UP, 1, ["ot-1"], ["fw-7"], b"envelope", 2)
    (entry,) = decode_list(encode_frame(Data(Lane.LOW, T0, [said._replace(moved=0)])))[3]
    assert len(entry) == 5
    (entry,) = decode_list(encode_frame(Data(Lane.LOW, T0, [said])))[3]
    assert entry[5] == 2


@pytest.mark.parametrize("times", [-1, MOVED_MAX + 1, 2**53, True, "1"])
def test_how_often_something_moved_is_bounded(times):
    fields = [int(Direction.UP), 1, [], ["fw-7"], b"envelope"]
    assert isinstance(decode_frame(pack([5, 0, T0, [[*fields, MOVED_MAX]]])), Data)
    assert decode_frame(pack([5, 0, T0, [[*fields, times]]])).code is Code.MALFORMED


@pytest.mark.parametrize(("number", "junk"), [(2, "hq"), (2, [7]), (2, ["x"] * (HOPS_MAX + 1)), (12, {"new": 1})])
def test_a_path_is_a_bounded_list_of_names(number, junk):
    (frame,) = [f for f in FRAMES if hasattr(f, "path") and decode_list(encode_frame(f))[0] == number]
    at = {2: 10, 12: 3}[number]
    assert decode_frame(pack([*decode_list(encode_frame(frame))[:at], junk])).code is Code.MALFORMED


@pytest.mark.parametrize("known", [-1, "7", [], True])
def test_how_far_a_log_is_known_is_a_number_or_nothing(known):
    assert decode_frame(pack([12, T0, T0, ["hq"], known])).code is Code.MALFORMED
    assert decode_frame(pack([12, T0, T0, ["hq"], None, 0, "later"])) == Pong(T0, T0, ("hq",))
    assert decode_frame(encode_frame(Pong(T0, T0, (), 0))) == Pong(T0, T0, (), 0)


@pytest.mark.parametrize("spared", [-1, "7", None, True, 1.0])
def test_how_much_is_spared_is_a_number(spared):
    assert decode_frame(pack([12, T0, T0, ["hq"], 7, spared])).code is Code.MALFORMED
    assert decode_frame(encode_frame(Pong(T0, T0, (), None, 6_000))) == Pong(T0, T0, (), None, 6_000)


def decode_list(payload):
    return msgpack.unpackb(payload, raw=False)


@pytest.mark.parametrize("payload", [b"", b"\xc0", b"\x90", b"\x01", pack({0: 11}), pack(["11", 0]), pack([True, 0])])
def test_what_does_not_begin_with_a_kind_is_malformed(payload):
    assert decode_frame(payload).code is Code.MALFORMED


@pytest.mark.parametrize("kind", [0, 23, 99, 2**60, -1])
def test_an_unknown_kind_has_a_code_of_its_own(kind):
    assert decode_frame(pack([kind, 1, 2])).code is Code.UNKNOWN_FRAME


@pytest.mark.parametrize(
    "fields",
    [
        [1, 1, 1, "acme", 9, b"", S, N, 0, 0, 0], [1, 1, 1, "acme", 1, b"", b"short", N, 0, 0, 0],
        [1, 1, 1, "x" * 65, 1, b"", S, N, 0, 0, 0], [1, 1, 1, "acme", 1, "text", S, N, 0, 0, 0],
        [1, -1, 1, "acme", 1, b"", S, N, 0, 0, 0], [1, 1, 1, "acme", [], b"", S, N, 0, 0, 0],
        [1, 1, 1, "acme", 1, bytes(CREDENTIAL_BYTES_MAX + 1), S, N, 0, 0, 0],
        [3, 205, "x" * 513, N], [3, "205", "", N], [3, 205, "", bytes(17)],
        [4, b"credential"], [4, ["text"]],
        [5, 5, 0, []], [5, 0, -1, []], [5, 0, 0, {}], [5, 0, 0, [{}]], [5, 0, 0, [[]]], [5, 0, 0, [7]],
        [5, 0, 0, [[2, 0, [], [], b""]]], [5, 0, 0, [[0, -1, [], [], b""]]], [5, 0, 0, [[0, 0, "ot-1", [], b""]]],
        [5, 0, 0, [[0, 0, ["x"] * (HOPS_MAX + 1), [], b""]]], [5, 0, 0, [[0, 0, [7], [], b""]]],
        [5, 0, 0, [[0, 0, [], [b"fw"], b""]]], [5, 0, 0, [[0, 0, [], [], "text"]]],
        [5, 0, 0, [[0, 0, [], [], bytes(ENVELOPE_BYTES_MAX + 1)]]], [5, 0, 0, [[0, 0, [], [], b""]] * (ITEMS_MAX + 1)],
        [6, [b"short"]], [6, ID], [6, [None]], [7, [[ID, 704]]], [7, [[b"short", 704, ""]]], [7, [{}]],
        [8, [1, 2, 3, 4]], [8, [1, 2, 3, 4, 5, 6]], [8, [1, 2, 3, 4, -5]], [8, [1, 2, 3, 4, True]],
        [8, [2**53 + 1] * 5],
        [9, 1, 1, [], []], [9, 1, True, [7], []], [9, 1, True, [], [["fw-7", S]]], [9, 1, True, [], [["fw-7", S, -1]]],
        [9, 1, True, [], [{}]], [10, 1, [[0, 704]]], [10, 1, [{}]], [11, "now"], [11, 1.5], [12, 1], [13, 910],
        [13, 910, "x" * 513], [14, "text"], [14, None],
    ],
    ids=str,
)
def test_a_field_of_the_wrong_form_is_malformed(fields):
    assert decode_frame(pack(fields)).code is Code.MALFORMED


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (bytes(FRAME_BYTES_MAX + 1), Code.TOO_LARGE),
        (b"\xdd\xff\xff\xff\xff", Code.TOO_LARGE),
        (pack([6, [0] * FRAME_ELEMENTS_MAX]), Code.TOO_LARGE),
        (b"\x91" * 1_000, Code.TOO_DEEP),
    ],
)
def test_a_frame_beyond_the_bounds_is_refused_before_it_is_built(payload, code):
    assert decode_frame(payload) == Reject(code, "frame")


def test_who_is_not_known_yet_may_only_say_little():
    hello = encode_frame(FRAMES[0])
    assert isinstance(decode_frame(hello, HELLO_BYTES_MAX), Hello)
    assert decode_frame(hello, len(hello) - 1).code is Code.TOO_LARGE


def test_a_code_from_the_future_is_read_as_malformed():
    assert decode_frame(pack([7, [[ID, 999, "new"]]])) == Nack([(ID, Code.MALFORMED, "new")])


def test_a_refused_frame_is_not_quoted():
    assert "secret" not in str(decode_frame(pack([11, "secret"])))


def test_the_largest_message_fits_a_frame():
    item = Item(Direction.UP, 2**53, ["x" * 63] * HOPS_MAX, [], bytes(ENVELOPE_BYTES_MAX))
    assert isinstance(decode_frame(encode_frame(Data(Lane.LOW, T0, [item]))), Data)
