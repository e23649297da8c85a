"""Whatever is done to the bytes of an audit log, it is noticed."""

import tempfile
from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fabric.audit.segments import segments
from fabric.audit.verifying import verify_log
from fabric.protocol.audit.records import RECORD_BYTES_MAX, last_record, read_records, record_at, write_record
from tests.auditing import AUTHORITY, DMZ, fill, log_in, sign

FOLDER = Path(tempfile.mkdtemp(prefix="audit-"))
LOG = log_in(FOLDER, segment_bytes=700)
fill(LOG, 6)
sign(LOG, FOLDER)
fill(LOG, 4)
sign(LOG, FOLDER)
LOG.close()
FILES = [(segment.path, segment.read()) for segment in segments(FOLDER)]
SIZE = sum(len(data) for _, data in FILES)


def verdict(files):
    """With the heads that lie beside it: who takes those away as well leaves what the parent has."""
    for path, data in files:
        path.write_bytes(data)
    return verify_log(FOLDER, AUTHORITY.key, DMZ.credential.fabric, "dmz")


def mutated(change):
    """The files, of which one is another."""
    which, how = change
    return [(path, how(data) if n == which else data) for n, (path, data) in enumerate(FILES)]


@st.composite
def changes(draw):
    which = draw(st.integers(0, len(FILES) - 1))
    data = FILES[which][1]
    at = draw(st.integers(0, len(data) - 1))
    match draw(st.sampled_from(["flip", "cut", "insert", "swap", "end", "repeat"])):
        case "flip":
            bit = 1 << draw(st.integers(0, 7))
            return which, lambda d: d[:at] + bytes([d[at] ^ bit]) + d[at + 1 :]
        case "cut":
            upto = draw(st.integers(at + 1, len(data)))
            return which, lambda d: d[:at] + d[upto:]
        case "insert":
            more = draw(st.binary(min_size=1, max_size=60))
            return which, lambda d: d[:at] + more + d[at:]
        case "end":
            more = draw(st.binary(min_size=1, max_size=60))
            return which, lambda d: d + more
        case "repeat":
            return which, lambda d: d[:at] + d
        case _:
            other = draw(st.integers(0, len(data) - 1))
            size = draw(st.integers(1, 80))
            a, b = sorted((at, other))
            return which, lambda d: d[:a] + d[b : b + size] + d[a + size : b] + d[a : a + size] + d[b + size :]


def test_as_it_is_it_is_whole():
    found = verdict(FILES)
    assert found.is_whole and not found.torn_bytes and len(FILES) >= 3 and found.heads == 2


@settings(max_examples=75)
@given(changes())
def test_any_change_of_its_bytes_is_noticed(change):
    files = mutated(change)
    assume(files != FILES)
    found = verdict(files)
    assert not found.is_whole or found.torn_bytes


def test_each_byte_counts():
    """The largest segment has every kind of byte there is: of each a bit is turned."""
    which = max(range(len(FILES)), key=lambda n: len(set(FILES[n][1])))
    for at in range(0, len(FILES[which][1]), 13):
        files = mutated((which, lambda d, at=at: d[:at] + bytes([d[at] ^ 1]) + d[at + 1 :]))
        found = verdict(files)
        assert not found.is_whole or found.torn_bytes, at


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.binary(max_size=30))
def test_records_are_read_from_both_ends_and_never_beyond(entries, tail):
    data = b"".join(write_record(entry, bytes(32)) for entry in entries)
    assert [record.entry for record in read_records(data)] == entries
    last = last_record(data)
    assert (last.entry if last else None) == (entries[-1] if entries else None)
    for record in read_records(data + tail):
        assert record.ends <= len(data + tail) and len(record.entry) <= RECORD_BYTES_MAX
    assert record_at(tail, len(tail)) is None
