import dataclasses

import msgpack
import pytest

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import HEADER_BYTES_MAX, PARTS_MAX, RECORDS_MAX, TTL_MAX_MS
from fabric.protocol.envelope.header import Kind, Relabels, decode_header, encode_header
from fabric.protocol.vocabulary.severity import Lane, Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import Authority, derive, draft

MEMBER = Authority("header").issue("zeek-1")
HEADER, _ = draft(MEMBER, rules={"src_ip": Label.AMBER}, correlation=derive("action"), to="role=firewall")


def fields_of(raw):
    return unpack(raw, bytes_max=HEADER_BYTES_MAX, elements_max=9_999, depth_max=9)


def header_with(at, value):
    fields = fields_of(encode_header(HEADER))
    fields[at] = value
    return pack(fields)


def test_a_header_is_read_as_it_was_written():
    assert decode_header(encode_header(HEADER)) == HEADER


def test_fields_from_the_future_do_not_matter():
    assert decode_header(pack([*fields_of(encode_header(HEADER)), {"new": [1]}])) == HEADER


def test_a_version_from_the_future_is_read_as_far_as_it_is_known():
    assert decode_header(header_with(0, 7)) == HEADER


@pytest.mark.parametrize("kind", [0, 7, 255, 2**40])
def test_a_kind_that_is_not_known_has_a_code_of_its_own(kind):
    assert decode_header(header_with(1, kind)) == Reject(Code.UNKNOWN_KIND)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 0), (0, "1"), (0, True), (0, None), (1, "event"), (1, True), (2, b"bytes"), (2, "x" * 257), (2, 7),
        (3, "x" * 65), (4, b"short"), (4, bytes(9)), (5, -1), (5, 2**53 + 1), (5, 1.5), (6, "now"), (7, -1),
        (7, True), (9, "phase"), (9, -1), (11, []), (11, {}), (11, [[], []]), (11, [["a"] * 17, [], []]),
        (11, ["acme", [], []]), (11, [[7], [], []]), (11, {0: [], 1: [], 2: []}), (12, "x" * 1025), (13, b"x"),
        (13, bytes(31)), (14, 0), (14, RECORDS_MAX + 1), (14, "1"), (15, 7), (15, {1: 2}), (15, [7]), (15, [[]]),
        (15, [{}]), (15, [[1, 0, 0, 5, bytes(31)]]), (15, [[1, 0, 0, 2_000_001, bytes(32)]]),
        (15, [[1, 0, 0, -1, bytes(32)]]), (15, [[1, 0, 0, 5, bytes(32)]] * (PARTS_MAX + 1)), (15, "text"),
        (16, 7), (16, "x" * 65),
    ],
)
def test_a_header_field_of_the_wrong_form_is_refused(at, value):
    assert decode_header(header_with(at, value)) == Reject(Code.MALFORMED, "header")


@pytest.mark.parametrize("length", range(17))
def test_a_header_that_is_too_short_is_refused(length):
    assert decode_header(pack(fields_of(encode_header(HEADER))[:length])).code is Code.MALFORMED


def test_an_oversized_header_is_refused_unread():
    assert decode_header(bytes(HEADER_BYTES_MAX + 1)).code is Code.TOO_LARGE


def test_what_is_not_understood_counts_as_the_strictest_or_the_lowest():
    assert decode_header(header_with(10, 99)).label is Label.RED
    assert decode_header(header_with(15, [[99, 0, 0, 5, bytes(32)]])).manifest[0].label is Label.RED
    assert decode_header(header_with(8, 99)).severity is Severity.UNKNOWN
    assert decode_header(header_with(9, 99)).phase is Phase.NONE


def test_the_lane_follows_from_the_signed_header():
    assert HEADER.lane is Lane.MEDIUM
    assert dataclasses.replace(HEADER, kind=Kind.ACTION, severity=Severity.CRITICAL).lane is Lane.URGENT


def test_every_kind_has_a_longest_life():
    assert {kind.word for kind in Kind} == set(TTL_MAX_MS)


# -- what a message re-issues ---------------------------------------------------------------------------

OLD = Relabels(derive("old"), 7, Label.AMBER)


@pytest.mark.parametrize("kind", [Kind.EVENT, Kind.INTEL])
def test_what_a_message_relabels_is_said_behind_the_terms_and_the_state(kind):
    header = dataclasses.replace(HEADER, kind=kind, relabels=OLD)
    raw = encode_header(header)
    assert msgpack.unpackb(raw)[17:] == [0, 0, [derive("old"), 7, 2]]
    assert decode_header(raw) == header
    assert OLD.id == f"{derive('old')[:16].hex()}.7"


def test_who_relabels_nothing_says_what_was_said_before_it_could_be():
    assert len(msgpack.unpackb(encode_header(HEADER))) == 17
    assert decode_header(encode_header(HEADER)).relabels is None


def relabelling(value, kind=Kind.EVENT, *more):
    fields = msgpack.unpackb(encode_header(dataclasses.replace(HEADER, kind=kind)))
    return decode_header(msgpack.packb([*fields, 0, 0, value, *more]))


@pytest.mark.parametrize("kind", [Kind.ACTION, Kind.APPROVAL, Kind.RESULT, Kind.CONTROL])
def test_only_events_and_intel_relabel(kind):
    assert relabelling([derive("old"), 0, 2], kind).relabels is None
    assert relabelling("whatever a later version says there", kind).relabels is None


@pytest.mark.parametrize("value", [
    7, "old", b"old", {}, [], [derive("old")], [derive("old"), 0], [b"", 0, 2], [derive("old")[:16], 0, 2],
    [derive("old"), RECORDS_MAX, 2], [derive("old"), -1, 2], [derive("old"), "0", 2], [derive("old"), True, 2],
    ["x" * 32, 0, 2],
])
def test_what_names_no_message_is_malformed(value):
    assert relabelling(value) == Reject(Code.MALFORMED, "header")


def test_later_versions_may_say_more_of_it_or_something_else_behind_it():
    assert relabelling([derive("old"), 7, 2, "why"], Kind.EVENT, "more").relabels == OLD
    assert relabelling(None, Kind.EVENT, "more").relabels is None


@pytest.mark.parametrize("label", [5, 99, -1, "amber", None])
def test_a_label_that_is_not_known_was_red(label):
    assert relabelling([derive("old"), 7, label]).relabels.label is Label.RED
