"""A log that was tampered with is told from one that was not, and the first entry that is wrong is named."""

import shutil

import pytest

from fabric.audit.segments import Signed, read_signed, segments, write_signed
from fabric.audit.verifying import verify_log
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import Entry, decode_entry, encode_entry, follow
from fabric.protocol.audit.checking import Known
from fabric.protocol.audit.records import read_records, write_record
from tests.auditing import AUTHORITY, DMZ, HQ, fill, head_of, log_in, sign
from tests.support import T0, Authority


@pytest.fixture
def folder(tmp_path):
    log = log_in(tmp_path / "dmz")
    fill(log, 5)
    sign(log, tmp_path / "dmz")
    fill(log, 3)
    log.close()
    return tmp_path / "dmz"


def verdict(folder, node="dmz", known=()):
    return verify_log(folder, AUTHORITY.key, DMZ.credential.fabric, node, known)


def rewrite(folder, change):
    """Another whole chain from the same entries, as whoever has the folder can write it."""
    (segment,) = segments(folder)
    entries = [decode_entry(record.entry) for record in read_records(segment.read())]
    hash_, data = bytes(32), b""
    for entry in change(entries):
        raw = encode_entry(entry)
        hash_ = follow(hash_, raw)
        data += write_record(raw, hash_)
    segment.path.write_bytes(data)


def test_one_that_is_whole_says_what_is_in_it(folder):
    found = verdict(folder)
    assert found.is_whole and (found.first, found.last) == (1, 11)
    assert (found.heads, found.head, found.witnessed, found.witnessed_number, found.witnessed_by) == (1, 6, 1, 6, "hq")
    assert found.signatures_checked and not verify_log(folder, b"").signatures_checked


def test_an_entry_that_was_altered_is_named(folder):
    (segment,) = segments(folder)
    data = segment.read()
    at = data.index(b"fw-2")
    segment.path.write_bytes(data[:at] + b"fw-3" + data[at + 4 :])
    (flaw,) = verdict(folder).flaws
    assert (flaw.number, flaw.what) == (4, "hash")


def test_entries_that_were_cut_out_or_exchanged_are_named(folder):
    (segment,) = segments(folder)
    data = segment.read()
    records = list(read_records(data))
    starts = [0, *(record.ends for record in records)]
    pieces = [data[a:b] for a, b in zip(starts, starts[1:], strict=False)]
    segment.path.write_bytes(b"".join(pieces[:4] + pieces[6:]))
    assert verdict(folder).flaws[0].number == 5
    pieces[3], pieces[4] = pieces[4], pieces[3]
    segment.path.write_bytes(b"".join(pieces))
    assert verdict(folder).flaws[0].number == 4


def test_a_chain_that_was_written_anew_differs_from_the_heads(folder):
    rewrite(folder, lambda entries: [e._replace(at_ms=e.at_ms + 1) if e.number == 3 else e for e in entries])
    found = verdict(folder)
    assert not found.is_whole
    assert {flaw.what for flaw in found.flaws} == {"head", "rewritten"}


def test_a_chain_without_its_heads_differs_from_what_lies_beside_it_and_from_the_parent(folder):
    head = Known(*head_in(folder), by="its head that hq has")
    rewrite(folder, lambda entries: entries[:4])
    found = verdict(folder)
    assert [(flaw.number, flaw.what) for flaw in found.flaws] == [(5, "tail")]
    (folder / "signed").unlink()
    assert verdict(folder).is_whole  # nobody else is asked
    (flaw,) = verdict(folder, known=(head,)).flaws
    assert (flaw.number, flaw.what) == (5, "tail") and "hq" in flaw.words


def head_in(folder):
    log = log_in(folder)
    found = log.log_id, 6, log.hash_of(6)
    log.close()
    return found


def test_another_log_of_the_same_node_is_noticed(folder):
    head = Known(*head_in(folder), by="its head that hq has")
    shutil.rmtree(folder)
    log = log_in(folder, seed="another")
    fill(log, 20)
    assert verdict(folder).is_whole
    (flaw,) = verdict(folder, known=(head,)).flaws
    assert flaw.what == "other_log"


def test_a_log_of_another_node_is_not_this_one_s(folder):
    (flaw,) = verdict(folder, node="hq").flaws[:1]
    assert (flaw.number, flaw.what) == (1, "other_node")


def test_a_segment_of_another_log_is_noticed(tmp_path):
    one, two = log_in(tmp_path / "one", segment_bytes=1), log_in(tmp_path / "two", seed=1, segment_bytes=1)
    fill(one, 3)
    fill(two, 3)
    shutil.copy(segments(tmp_path / "two")[1].path, segments(tmp_path / "one")[1].path)
    found = verdict(tmp_path / "one")
    assert {"hash", "other_log"} <= {flaw.what for flaw in found.flaws} and found.flaws[0].number == 3


def test_a_segment_that_is_missing_is_named(tmp_path):
    log = log_in(tmp_path, segment_bytes=1)
    fill(log, 4)
    segments(tmp_path)[1].path.unlink()
    flaw = verdict(tmp_path).flaws[0]
    assert (flaw.number, flaw.what) == (3, "missing")


def test_a_head_by_another_key_and_a_counter_signature_for_something_else_are_noticed(tmp_path):
    log = log_in(tmp_path)
    fill(log, 2)
    stranger = Authority("other").issue("dmz")
    head = head_of(log, stranger)
    log.append([(T0, kinds.LOG_HEAD, {"head": head.raw})], durable=False)
    of_nothing = {"who": "hq", "witness": b"?", "credential": HQ.credential.raw}
    log.append([(T0, kinds.LOG_WITNESSED, of_nothing)], durable=False)
    log.append([(T0, kinds.LOG_HEAD, {"head": b""})], durable=False)
    assert [(flaw.number, flaw.what) for flaw in verdict(tmp_path).flaws] == [(4, "head"), (5, "witness"), (6, "head")]


def test_a_head_under_a_renewed_credential_is_the_node_s_own(tmp_path):
    log = log_in(tmp_path)
    fill(log, 1)
    newer = AUTHORITY.issue("dmz", serial=2, kind=DMZ.credential.kind)
    log.append([(T0, kinds.TRUST_RENEWED, {"serial": 2, "credential": newer.credential.raw})], durable=False)
    sign(log, tmp_path, newer)
    found = verdict(tmp_path)
    assert found.is_whole and found.heads == 1


def test_entries_of_a_later_version_are_none_of_its_flaws(tmp_path):
    log = log_in(tmp_path)
    log.append([(T0, "moon.phase", {"new": 1})], durable=False)
    assert verdict(tmp_path).is_whole


def test_what_is_signed_beside_a_log_is_read_as_far_as_it_can_be(folder):
    assert read_signed(folder).head
    write_signed(folder, Signed(b"?", b"?", b"?", b"?"))
    assert verdict(folder).is_whole
    (folder / "signed").write_bytes(b"\xc1")
    assert read_signed(folder) == Signed()


def begin_anew(folder, first, before, told=5):
    """A node rewrites its log so that it begins behind every head that its parent has, and says that it let go of the
    rest."""
    (segment,) = segments(folder)
    begun = decode_entry(next(read_records(segment.read())).entry)
    segment.path.unlink()
    hash_, data = before, b""
    entries = [
        begun._replace(number=first, fields={**begun.fields, "before": before}),
        Entry(first + 1, T0, kinds.LOG_DROPPED, {"through": first - 1}),
        *(Entry(first + 2 + n, T0, kinds.ACTION_HANDED, {"who": "soar-2"}) for n in range(told)),
    ]
    for entry in entries:
        raw = encode_entry(entry)
        hash_ = follow(hash_, raw)
        data += write_record(raw, hash_)
    (folder / f"{first:016d}.log").write_bytes(data)


def test_a_log_that_begins_behind_all_heads_and_says_that_the_rest_was_let_go_is_not_whole(folder):
    log = log_in(folder)
    head = head_of(log)
    log.close()
    known = (Known(head.log, head.number, head.hash, "a head"),)
    assert verdict(folder, known=known).is_whole
    write_signed(folder, Signed())
    begin_anew(folder, head.number + 1, head.hash)
    assert [flaw.what for flaw in verdict(folder, known=known).flaws] == ["missing"], "there was room for it"


def test_nor_where_it_is_large_enough_to_have_let_something_go(folder):
    log = log_in(folder)
    head = head_of(log)
    log.close()
    known = (Known(head.log, head.number, head.hash, "a head"),)
    write_signed(folder, Signed())

    def flaws(first, before):
        begin_anew(folder, first, before)
        found = verify_log(folder, AUTHORITY.key, DMZ.credential.fabric, "dmz", known, bytes_max=10)
        return [(flaw.number, flaw.what) for flaw in found.flaws]

    assert flaws(head.number + 1, bytes(32)) == [(head.number, "rewritten")]
    assert flaws(head.number + 1, head.hash) == []
    assert flaws(head.number + 7, bytes(32)) == [(head.number + 7, "unseen")]
