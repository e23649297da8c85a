"""Entries and the chain of an audit log: one encoding, one hash, frozen."""

import pytest

from fabric.protocol.audit.chain import (
    ENTRY_BYTES_MAX,
    NOTHING,
    Entry,
    decode_entry,
    encode_entry,
    follow,
    follow_digest,
    grow,
    named,
)
from fabric.protocol.audit.kinds import NAMES_MAX
from fabric.protocol.audit.records import write_record
from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.signing import digest

FIRST = Entry(1, 1_700_000_000_000, "log.begun", {"node": "hq", "log": bytes(range(16)), "fabric": "acme"})
SECOND = Entry(
    2, 1_700_000_000_001, "action.handed", {"who": "soar-1", "targets": ("fw-1", "fw-2"), "action": b"\1" * 32}
)
# Frozen: logs in the field have these bytes.
FIRST_HEX = (
    "9401cf0000018bcfe56800a96c6f672e626567756e83a6666162726963a461636d65a36c6f67c410"
    "000102030405060708090a0b0c0d0e0fa46e6f6465a26871"
)
SECOND_HASH = "8e93b9c36ac591df992491046ee44b249273a9619c05b9ea2345c7e78dd98c83"


def test_the_bytes_of_an_entry_are_frozen():
    assert encode_entry(FIRST).hex() == FIRST_HEX


def test_the_hash_of_a_log_is_frozen():
    first = follow(NOTHING, encode_entry(FIRST))
    second = follow(first, encode_entry(SECOND))
    assert second.hex() == SECOND_HASH
    record = write_record(encode_entry(FIRST), first)
    assert record.hex() == f"{len(FIRST_HEX) // 2:08x}{FIRST_HEX}{first.hex()}{len(FIRST_HEX) // 2:08x}"


@pytest.mark.parametrize("entry", [FIRST, SECOND])
def test_what_was_written_is_read(entry):
    assert decode_entry(encode_entry(entry)) == entry


def test_the_order_of_fields_changes_nothing():
    turned = FIRST._replace(fields=dict(reversed(FIRST.fields.items())))
    assert encode_entry(turned) == encode_entry(FIRST)


def test_a_kind_and_fields_of_a_later_version_are_read():
    entry = decode_entry(pack([7, 8, "moon.phase", {"new": [1, {"a": 2}], "old": "x"}, "appended"]))
    assert entry == Entry(7, 8, "moon.phase", {"new": "list", "old": "x"})


@pytest.mark.parametrize("raw", [
    b"", b"\xc1", pack([0, 1, "k", {}]), pack([True, 1, "k", {}]), pack([1, -1, "k", {}]), pack([1, 1, "", {}]),
    pack([1, 1, "k" * 33, {}]), pack([1, 1, "k", []]), pack([1, 1, "k", {1: 2}]), pack([2**53 + 1, 1, "k", {}]),
    pack([1, 1, "k", {"x": b"\0" * ENTRY_BYTES_MAX}]), pack({"a": 1}),
])
def test_what_is_no_entry_is_refused(raw):
    refused = decode_entry(raw)
    assert isinstance(refused, Reject) and refused.code is Code.MALFORMED


def test_a_log_is_shown_to_have_grown_by_digests_alone():
    raws = [encode_entry(FIRST._replace(number=n)) for n in range(1, 6)]
    hashes = [NOTHING]
    for raw in raws:
        hashes.append(follow(hashes[-1], raw))
    assert grow(hashes[2], map(digest, raws[2:])) == hashes[5]
    assert grow(hashes[2], map(digest, raws[1:])) != hashes[5]
    assert follow_digest(hashes[0], digest(raws[0])) == hashes[1]


def test_few_targets_are_named_and_of_many_there_is_a_digest():
    few = [f"fw-{n}" for n in range(NAMES_MAX)]
    assert named([*reversed(few), few[0]]) == {"targets": tuple(sorted(few))}
    many = named([*few, "one-more"])
    assert many["target_count"] == NAMES_MAX + 1 and many == named(["one-more", *few])
    assert many["targets_digest"] != named([*few, "another"])["targets_digest"]
