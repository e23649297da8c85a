import dataclasses

import pytest

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code
from fabric.protocol.base.signing import TYPE_ENVELOPE, TYPE_ROOT
from fabric.protocol.envelope.header import Kind, encode_header
from fabric.protocol.envelope.layout import Envelope, decode_envelope, encode_envelope, leaf_of, redact, seal
from fabric.protocol.envelope.verify import OwnRoots, RootCache, Verified, open_envelope
from fabric.protocol.vocabulary.tlp import Label
from tests.support import Authority, derive, draft, message, opened

AUTHORITY = Authority("verify")
ZEEK = AUTHORITY.issue("zeek-1")
OTHER = AUTHORITY.issue("zeek-2")
RULES = {"src_ip": Label.AMBER}
RAW = message(ZEEK, rules=RULES)


def judge(raw, *members, roots=None):
    known = {m.credential.digest: m.credential for m in members or (ZEEK, OTHER)}
    return open_envelope(raw, known, roots or RootCache())


def altered(**fields):
    return encode_envelope(decode_envelope(RAW)._replace(**fields))


def signed(**fields):
    """A message that its origin signed, with header fields that `draft` would not make."""
    header, parts = draft(ZEEK)
    return seal([(dataclasses.replace(header, **fields), parts)], ZEEK.credential.digest, ZEEK.signer)[0]


def flipped(data, at=-1):
    return data[:at] + bytes([data[at] ^ 1]) + (data[at + 1 :] if at != -1 else b"")


def test_what_its_origin_signed_is_verified():
    result = judge(RAW)
    assert isinstance(result, Verified)
    assert (result.raw, result.credential, result.withheld) == (RAW, ZEEK.credential, 0)
    assert result.id == result.leaf[:16]


def test_only_open_envelope_makes_a_verified():
    with pytest.raises(TypeError):
        Verified(object(), b"", decode_envelope(RAW), draft(ZEEK)[0], b"", ZEEK.credential)


def test_after_redaction_the_proof_still_holds():
    whole = judge(RAW)
    green = redact(whole.envelope, whole.header.manifest, lambda entry: entry.label <= Label.GREEN)
    again = judge(encode_envelope(green))
    assert (again.id, again.withheld) == (whole.id, 1)


def test_without_any_part_the_header_is_still_proven():
    assert judge(altered(parts=(None, None))).withheld == 2


def test_an_unknown_signer_is_asked_for():
    assert judge(RAW, OTHER).code is Code.UNKNOWN_SIGNER


def test_the_signer_hint_is_no_proof():
    # Somebody else's credential under the same bytes: the origin in the header is not its id.
    assert judge(altered(signer=OTHER.credential.digest)).code is Code.BAD_SIGNATURE


def test_nobody_speaks_for_another_origin():
    header, parts = draft(ZEEK)
    forged = seal([(header, parts)], OTHER.credential.digest, OTHER.signer)[0]
    assert judge(forged).code is Code.BAD_SIGNATURE
    forged = seal([(header, parts)], ZEEK.credential.digest, OTHER.signer)[0]
    assert judge(forged).code is Code.BAD_SIGNATURE


def test_an_altered_header_is_noticed():
    header = decode_envelope(RAW).header
    assert judge(altered(header=header.replace(b"zeek.conn", b"zeek.dns_"))).code is Code.BAD_SIGNATURE


def test_an_altered_signature_is_noticed():
    assert judge(altered(signature=flipped(decode_envelope(RAW).signature))).code is Code.BAD_SIGNATURE


@pytest.mark.parametrize("at", [0, 15, 16, -1])
def test_an_altered_part_is_noticed_in_its_salt_and_in_its_body(at):
    parts = decode_envelope(RAW).parts
    assert judge(altered(parts=(flipped(parts[0], at), parts[1]))).code is Code.BAD_DIGEST


def test_parts_in_the_wrong_order_are_noticed():
    assert judge(altered(parts=decode_envelope(RAW).parts[::-1])).code is Code.BAD_DIGEST


@pytest.mark.parametrize("parts", [(), (None,), (None, None, None)])
def test_a_missing_or_added_part_entry_is_noticed(parts):
    assert judge(altered(parts=parts)).code is Code.BAD_MANIFEST


def test_a_part_of_another_message_does_not_fit():
    other = decode_envelope(message(ZEEK, rules=RULES, sequence=1))
    assert judge(altered(parts=other.parts)).code is Code.BAD_DIGEST


def test_a_signature_over_the_leaf_under_another_type_is_none():
    leaf = judge(RAW).leaf
    assert judge(altered(signature=ZEEK.signer.sign(TYPE_ENVELOPE, leaf))).code is Code.BAD_SIGNATURE
    assert isinstance(judge(altered(signature=ZEEK.signer.sign(TYPE_ROOT, leaf))), Verified)


def test_every_message_of_a_burst_is_verified_alone():
    burst = seal([draft(ZEEK, sequence=n) for n in range(7)], ZEEK.credential.digest, ZEEK.signer)
    assert [judge(raw).header.sequence for raw in burst] == list(range(7))


def test_a_path_that_leads_elsewhere_is_noticed():
    first, second = seal([draft(ZEEK, sequence=n) for n in range(2)], ZEEK.credential.digest, ZEEK.signer)
    envelope = decode_envelope(first)
    for path in ((), (derive("elsewhere"),), (*envelope.path, derive("further"))):
        assert judge(encode_envelope(envelope._replace(path=path))).code is Code.BAD_SIGNATURE
    # The sibling's signature is the same one, but not for this header.
    swapped = decode_envelope(second)._replace(header=envelope.header)
    assert judge(encode_envelope(swapped)).code is Code.BAD_SIGNATURE


def test_a_root_that_was_found_good_says_nothing_of_other_keys_and_roots():
    roots = RootCache()
    assert isinstance(judge(RAW, roots=roots), Verified)
    good = decode_envelope(RAW)
    altered_header = good._replace(header=good.header.replace(b"zeek.conn", b"zeek.dns_"))
    assert judge(encode_envelope(altered_header), roots=roots).code is Code.BAD_SIGNATURE
    renewed = dataclasses.replace(ZEEK.credential, sign_key=OTHER.signer.public)
    assert open_envelope(RAW, {ZEEK.credential.digest: renewed}, roots).code is Code.BAD_SIGNATURE


def test_the_cache_of_roots_is_bounded_and_forgets_nothing_important():
    roots = RootCache(roots_max=1)
    raws = [message(ZEEK, sequence=n) for n in range(3)]
    assert all(isinstance(judge(raw, roots=roots), Verified) for raw in raws + raws)


@pytest.mark.parametrize("topic", ["", "a..b", "a.*", ">", "a b", "ü"])
def test_a_broken_topic_is_refused_even_when_signed(topic):
    assert judge(signed(topic=topic)).code is Code.BAD_TOPIC


@pytest.mark.parametrize(
    ("kind", "topic"), [(Kind.EVENT, "intel.ipv4.deny"), (Kind.INTEL, "detections.x"), (Kind.EVENT, "intel")]
)
def test_an_event_does_not_pass_for_intel_nor_intel_for_an_event(kind, topic):
    assert judge(signed(kind=kind, topic=topic)).code is Code.BAD_TOPIC


@pytest.mark.parametrize("kind", [Kind.ACTION, Kind.APPROVAL, Kind.CONTROL])
def test_what_must_stand_alone_is_no_batch(kind):
    assert judge(signed(kind=kind, topic="deny.ipv4_net", records=2)).code is Code.BAD_MANIFEST


@pytest.mark.parametrize("raw", [b"", b"\xc1", pack([1, 2, 3, 4, 5]), encode_envelope(Envelope(b"", b"", b"", (), ()))])
def test_what_is_no_envelope_is_refused(raw):
    assert judge(raw).code is Code.MALFORMED


def test_a_header_that_cannot_be_read_is_refused_before_any_signature_is_looked_at():
    assert judge(altered(header=b"\x90"), OTHER).code is Code.MALFORMED


def test_two_copies_unite_to_what_both_had():
    whole = opened(RAW, ZEEK)
    left = opened(altered(parts=(None, whole.envelope.parts[1])), ZEEK)
    right = opened(altered(parts=(whole.envelope.parts[0], None)), ZEEK)
    assert left.united_with(right).raw == right.united_with(left).raw == RAW
    assert whole.united_with(left) is whole


def test_redaction_never_adds():
    whole = opened(RAW, ZEEK)
    stripped = opened(altered(parts=(None, None)), ZEEK)
    assert whole.with_parts_of(whole.envelope) is whole
    with pytest.raises(AssertionError):
        stripped.with_parts_of(whole.envelope)


def test_a_header_from_the_future_is_verified_and_forwarded_as_it_is():
    header, parts = draft(ZEEK)
    fields = unpack(encode_header(header), bytes_max=9_999, elements_max=999, depth_max=9)
    raw_header = pack([*fields, "a field of version 2"])
    signature = ZEEK.signer.sign(TYPE_ROOT, leaf_of(raw_header))
    raw = encode_envelope(Envelope(ZEEK.credential.digest, raw_header, signature, (), tuple(parts)))
    result = judge(raw)
    assert isinstance(result, Verified) and result.header == header
    assert result.with_parts_of(result.envelope._replace(parts=(None,))).envelope.header == raw_header


def test_what_a_node_has_just_signed_costs_no_check_and_what_anybody_else_signed_does(monkeypatch):
    checked = []
    monkeypatch.setattr(
        "fabric.protocol.base.signing.verify", lambda *args: checked.append(args) or False
    )
    roots = RootCache()
    own = seal([draft(ZEEK)], ZEEK.credential.digest, OwnRoots(ZEEK.signer, roots))[0]
    known = {ZEEK.credential.digest: ZEEK.credential}
    assert isinstance(open_envelope(own, known, roots), Verified) and not checked
    # A key that is not the credential's own is found as ever.
    wrong = seal([draft(ZEEK, sequence=2)], ZEEK.credential.digest, OwnRoots(OTHER.signer, roots))[0]
    assert open_envelope(wrong, known, roots).code is Code.BAD_SIGNATURE and len(checked) == 1
    assert open_envelope(own, known, RootCache()).code is Code.BAD_SIGNATURE, "what one node signed, another checks"
