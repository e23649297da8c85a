import dataclasses

import msgpack
import pytest

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import ENVELOPE_BYTES_MAX, HEADER_BYTES_MAX, PART_BYTES_MAX, PARTS_MAX, PATH_MAX
from fabric.protocol.envelope.header import decode_header, encode_header
from fabric.protocol.envelope.layout import (
    Approved,
    Envelope,
    climb,
    decode_envelope,
    encode_envelope,
    leaf_of,
    merkle,
    redact,
    seal,
)
from fabric.protocol.vocabulary.tlp import Label
from tests.support import Authority, derive, draft, message

MEMBER = Authority("envelope").issue("zeek-1")
HEADER, PARTS = draft(MEMBER, rules={"src_ip": Label.AMBER}, correlation=derive("action"), to="role=firewall")
RAW = message(MEMBER, rules={"src_ip": Label.AMBER})


def fields_of(raw):
    return unpack(raw, bytes_max=ENVELOPE_BYTES_MAX, elements_max=9_999, depth_max=9)


def envelope_with(at, value):
    fields = fields_of(RAW)
    fields[at] = value
    return pack(fields)


# -- envelope -------------------------------------------------------------------------------------------


def test_an_envelope_is_read_as_it_was_written():
    assert encode_envelope(decode_envelope(RAW)) == RAW


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, bytes(15)), (0, "text"), (0, None), (1, "text"), (1, bytes(HEADER_BYTES_MAX + 1)), (2, bytes(63)),
        (2, bytes(65)), (3, None), (3, [bytes(31)]), (3, [bytes(32)] * (PATH_MAX + 1)), (3, b"path"), (4, None),
        (4, [b"short"]), (4, ["text"]), (4, [False]), (4, [None] * (PARTS_MAX + 1)), (4, {}),
        (4, [bytes(PART_BYTES_MAX + 1)]), (4, [[bytes(16)]]),
    ],
)
def test_an_envelope_field_of_the_wrong_form_is_refused(at, value):
    assert isinstance(decode_envelope(envelope_with(at, value)), Reject)


@pytest.mark.parametrize(
    "raw",
    [b"", b"\xc0", b"\x90", RAW[:-1], RAW + b"\x00", pack(fields_of(RAW)[:4]), pack([*fields_of(RAW), None])],
)
def test_what_is_no_envelope_is_refused(raw):
    assert decode_envelope(raw).code is Code.MALFORMED


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (bytes(ENVELOPE_BYTES_MAX + 1), Code.TOO_LARGE),
        (b"\xdd\xff\xff\xff\xff", Code.TOO_LARGE),
        (b"\x91" * 100, Code.TOO_DEEP),
    ],
)
def test_a_structure_beyond_the_bounds_is_refused_before_it_is_built(raw, code):
    assert decode_envelope(raw).code is code


# -- redaction ------------------------------------------------------------------------------------------


def test_redaction_takes_parts_and_nothing_else():
    whole = decode_envelope(RAW)
    manifest = decode_header(whole.header).manifest
    less = redact(whole, manifest, lambda entry: entry.label <= Label.GREEN)
    assert less == whole._replace(parts=(whole.parts[0], None))


def test_nothing_to_redact_is_the_same_object():
    whole = decode_envelope(RAW)
    assert redact(whole, decode_header(whole.header).manifest, lambda entry: True) is whole


def test_what_was_withheld_stays_withheld():
    whole = decode_envelope(RAW)
    manifest = decode_header(whole.header).manifest
    none = redact(whole, manifest, lambda entry: False)
    assert none.parts == (None, None)
    assert redact(none, manifest, lambda entry: True) is none


# -- bursts ---------------------------------------------------------------------------------------------


def test_one_message_needs_no_path():
    assert decode_envelope(RAW).path == ()


def test_a_burst_shares_one_signature_and_every_path_leads_to_its_root():
    burst = [decode_envelope(raw) for raw in seal(
        [draft(MEMBER, sequence=n) for n in range(5)], MEMBER.credential.digest, MEMBER.signer
    )]
    assert len({envelope.signature for envelope in burst}) == 1
    assert len({climb(leaf_of(envelope.header), envelope.path) for envelope in burst}) == 1
    assert [decode_header(envelope.header).sequence for envelope in burst] == [0, 1, 2, 3, 4]


def test_the_longest_burst_fits_its_path():
    leaves = [derive("leaf", n) for n in range(2**PATH_MAX)]
    root, paths = merkle(leaves)
    assert max(map(len, paths)) == PATH_MAX
    assert climb(leaves[-1], paths[-1]) == root


def test_an_odd_leaf_is_promoted_as_it_is():
    leaves = [derive("leaf", n) for n in range(3)]
    root, paths = merkle(leaves)
    assert [len(path) for path in paths] == [2, 2, 1]
    assert all(climb(leaf, path) == root for leaf, path in zip(leaves, paths, strict=True))


def test_the_id_is_of_the_header_and_not_of_the_parts():
    # Otherwise a copy with fewer parts would be another message.
    whole = decode_envelope(RAW)
    stripped = decode_envelope(encode_envelope(whole._replace(parts=(None, None))))
    assert leaf_of(stripped.header) == leaf_of(whole.header)
    assert leaf_of(encode_header(HEADER)) != leaf_of(encode_header(dataclasses.replace(HEADER, sequence=1)))


def test_an_envelope_is_five_fields_and_of_what_was_held_six_and_no_more_are_signed_than_the_header():
    assert Envelope._fields == ("signer", "header", "signature", "path", "parts", "approved")
    assert len(msgpack.unpackb(RAW)) == 5
    held = decode_envelope(RAW)._replace(approved=Approved(5, 4, ("fw-1",), ((b"credential", b"envelope"),)))
    again = decode_envelope(encode_envelope(held))
    assert again == held and leaf_of(again.header) == leaf_of(decode_envelope(RAW).header)


@pytest.mark.parametrize("more", [
    5, [], [1, 2], [1, 2, [], [[b"", b""]]], [1, 2, ["fw-1"], []], [1, 2, [7], [[b"", b""]]],
    [-1, 2, ["f"], [[b"", b""]]], [1, 2, ["fw-1"], [[b"x"]]], [1, 2, ["fw-1"], [["x", b""]]],
    [1, 2, ["fw-1"], [[b"", b""]] * 65], [1, 2, ["f"], [b"x"]], [1, 2, ["f"], [[b"", b""]], 9],
])
def test_what_releases_an_action_is_of_its_form_or_the_envelope_is_malformed(more):
    found = decode_envelope(pack([*msgpack.unpackb(RAW), more]))
    assert isinstance(found, Reject) and found.code in (Code.MALFORMED, Code.TOO_LARGE, Code.TOO_DEEP)


def test_there_is_no_seventh_field():
    assert isinstance(decode_envelope(pack([*msgpack.unpackb(RAW), [1, 2, ["f"], [[b"", b""]]], 0])), Reject)
