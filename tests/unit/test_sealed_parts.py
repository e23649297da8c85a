"""Sealed parts: who opens them, what is bound to them, and what does not open."""

from dataclasses import replace

import nacl.bindings
import pytest

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import SALT_BYTES
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.header import Encoding
from fabric.protocol.envelope.parts import Budget, build_parts, decode_part, padme, read_records
from fabric.protocol.envelope.sealed_parts import Opener, Recipient, recipient, seal_content
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.support import Authority, derive, draft, entropy

AUTHORITY = Authority("sealing")
ORIGIN, LEAD, DEPUTY, OTHER = (AUTHORITY.issue(name) for name in ("zeek-1", "lead-1", "lead-2", "analyst-1"))
RECORD = {"src_ip": "10.1.0.7", "user": "k.l"}
HEADER = replace(
    draft(ORIGIN, label=Label.GREEN)[0], sequence=7,
    audience=Audience(("acme",), (), ("zeek-1", "lead-1", "lead-2")),
)


def opener(member):
    return Opener(member.id, member.signer)


def sealed(header=HEADER, to=(ORIGIN, LEAD, DEPUTY), rules=None, records=(RECORD,), seed="sealed"):
    draw = entropy(seed)
    keys = [recipient(member.credential) for member in to]
    manifest, parts = build_parts(
        records, FieldLabels(rules or {"user": Label.RED}, header.label), header.label, draw,
        lambda content: seal_content(content, header, keys, draw),
    )
    return replace(header, manifest=manifest, records=len(records)), parts


def read(header, parts, member):
    return read_records(header, parts, opener(member).open)


@pytest.mark.parametrize("member", [ORIGIN, LEAD, DEPUTY], ids=lambda member: member.id)
def test_each_recipient_reads_all_of_it(member):
    header, parts = sealed()
    (reading,) = read(header, parts, member)
    assert reading.content == RECORD and reading.withheld == {}
    assert reading.labels == {"src_ip": Label.GREEN, "user": Label.RED}


def test_to_everybody_else_it_is_withheld():
    header, parts = sealed()
    for open_ in (None, opener(OTHER).open):
        (reading,) = read_records(header, parts, open_)
        assert reading.content == {"src_ip": "10.1.0.7"} and reading.withheld == {Label.RED: 1}
    assert b"k.l" not in b"".join(parts)


def test_only_what_is_red_is_sealed_and_it_is_padded():
    header, parts = sealed(rules={"user": Label.RED, "src_ip": Label.AMBER})
    by_label = {entry.label: entry for entry in header.manifest}
    assert by_label[Label.RED].is_sealed and not by_label[Label.AMBER].is_sealed
    assert not header.is_sealed, "there is something that others read"
    size = by_label[Label.RED].size
    assert size == padme(size)
    longer, _ = sealed(records=({"user": "k.m"},))
    assert {entry.size for entry in longer.manifest if entry.is_sealed} == {size}


def test_what_is_red_altogether_is_sealed_altogether():
    header, _ = sealed(replace(HEADER, label=Label.RED), rules={"user": Label.RED})
    assert header.is_sealed and [entry.label for entry in header.manifest] == [Label.RED]
    assert not replace(header, manifest=()).is_sealed


@pytest.mark.parametrize("changed", [
    {"origin": "analyst-1"}, {"topic": "detections.other"}, {"stream": bytes(8)}, {"sequence": 8},
    {"audience": Audience(("acme",), (), ("zeek-1", "lead-1", "lead-2", "analyst-1"))},
])
def test_in_another_message_it_does_not_open(changed):
    header, parts = sealed()
    entry = header.manifest[1]
    assert isinstance(opener(LEAD).open(header, entry, parts[1]), bytes)
    assert opener(LEAD).open(replace(header, **changed), entry, parts[1]) == Reject(
        Code.NOT_OPENED, "another key, or another message"
    )


def test_the_key_of_another_of_that_name_opens_nothing():
    header, parts = sealed()
    thief = Opener("lead-1", OTHER.signer)
    assert thief.open(header, header.manifest[1], parts[1]).code is Code.NOT_OPENED
    (reading,) = read_records(header, parts, thief.open)
    assert reading.content == {"src_ip": "10.1.0.7"} and reading.withheld == {Label.RED: 1}, "the rest is read"


def test_whatever_is_altered_does_not_open():
    header, parts = sealed()
    entry, part = header.manifest[1], parts[1]
    wrapped, nonce, text = unpack(part[SALT_BYTES:], bytes_max=10_000, elements_max=99, depth_max=4)

    def opened(*fields):
        return opener(LEAD).open(header, entry, part[:SALT_BYTES] + pack(list(fields)))

    assert opened(wrapped, nonce, text) == opener(LEAD).open(header, entry, part)
    swapped = [[wrapped[1][0], wrapped[2][1]], *wrapped[2:]]
    for fields in [
        (wrapped, nonce, text[:-1] + bytes([text[-1] ^ 1])), (wrapped, bytes(24), text), (wrapped, nonce, text + b"x"),
        (wrapped, nonce, b""), (wrapped, nonce[:-1], text), ([], nonce, text), (swapped, nonce, text),
        ([[wrapped[1][0], wrapped[1][1][:-1]]], nonce, text), ([["lead-1", 7]], nonce, text), (wrapped, nonce),
        (wrapped * 6, nonce, text), ("lead-1", nonce, text),
    ]:
        assert opened(*fields).code is Code.NOT_OPENED, fields
    assert opener(LEAD).open(header, entry, part[:SALT_BYTES]).code is Code.NOT_OPENED


def test_who_is_named_in_the_audience_and_not_in_the_part_has_it_withheld():
    header, parts = sealed(to=(ORIGIN, LEAD))
    assert opener(DEPUTY).open(header, header.manifest[1], parts[1]) is None
    (reading,) = read(header, parts, DEPUTY)
    assert reading.withheld == {Label.RED: 1}


def test_of_what_is_not_red_it_is_no_encoding():
    header, parts = sealed()
    entry = header.manifest[1]._replace(label=Label.AMBER)
    assert not entry.is_sealed and entry.encoding == Encoding.SEALED
    refused = decode_part(entry, parts[1], 1, Budget(), b"content")
    assert refused == Reject(Code.BAD_BODY, "encoding 2")


def test_content_that_is_sealed_has_the_size_that_was_signed():
    header, parts = sealed()
    entry = header.manifest[1]._replace(size=header.manifest[1].size - 1)
    assert opener(LEAD).open(header, entry, parts[1]) == Reject(Code.NOT_OPENED, "size")


def test_a_sealing_key_of_its_own_comes_first():
    public, secret = nacl.bindings.crypto_box_keypair()
    own = recipient(replace(LEAD.credential, seal_key=public))
    assert own == Recipient("lead-1", public)
    box = unpack(
        seal_content(b"content", HEADER, [own], entropy("own")), bytes_max=1_000, elements_max=9, depth_max=4
    )[0][0][1]
    assert len(nacl.bindings.crypto_box_seal_open(box, public, secret)) == 32


@pytest.mark.parametrize("keys", [{"seal_key": bytes(32)}, {"sign_key": bytes(32)}, {"sign_key": derive("no point")}])
def test_to_a_key_that_is_none_nothing_is_sealed(keys):
    assert recipient(replace(LEAD.credential, **keys)) == Reject(Code.NOT_OPENED, "lead-1")


def test_no_two_parts_have_the_same_key_or_text():
    first, second = (sealed(seed=seed)[1][1] for seed in ("one", "two"))
    assert first[SALT_BYTES:] != second[SALT_BYTES:]
    texts = [unpack(part[SALT_BYTES:], bytes_max=10_000, elements_max=99, depth_max=4)[2] for part in (first, second)]
    assert texts[0] != texts[1]
