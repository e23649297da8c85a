"""Records on disk: what is torn is told from what is damaged."""

import pytest

from fabric.protocol.audit.chain import ENTRY_BYTES_MAX
from fabric.protocol.audit.records import AROUND_BYTES, Rest, last_record, read_records, rest_of, write_record

ONE, TWO = write_record(b"one", b"1" * 32), write_record(b"twotwo", b"2" * 32)


def test_the_last_record_is_found_from_the_end():
    record = last_record(b"whatever was before" + ONE + TWO)
    assert record is not None and record.entry == b"twotwo" and record.hash == b"2" * 32
    assert last_record(ONE[:-1]) is None and last_record(b"") is None


@pytest.mark.parametrize("left", range(1, len(TWO)))
def test_every_beginning_of_a_record_is_torn(left):
    data = ONE + TWO[:left]
    ends = [record.ends for record in read_records(data)][-1]
    assert rest_of(data, ends) is Rest.TORN


@pytest.mark.parametrize("rest", [
    bytes(4), (ENTRY_BYTES_MAX + 1).to_bytes(4, "big") + bytes(9), TWO[:-1] + b"!", (3).to_bytes(4, "big") + bytes(60),
])
def test_what_can_never_become_a_record_is_damaged(rest):
    assert rest_of(ONE + rest, len(ONE)) is Rest.DAMAGED


def test_nothing_is_nothing():
    assert rest_of(ONE, len(ONE)) is Rest.NONE and len(ONE) == 3 + AROUND_BYTES
