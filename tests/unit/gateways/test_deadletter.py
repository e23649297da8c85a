"""Dead letters on disk: kept, bounded, private, and shared by processes."""

import os
import stat
import zlib
from collections import Counter

import pytest

from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.deadletter import DeadLetters, Form, Store, stores_of
from relays.gateways.deadletter import store as module
from relays.gateways.deadletter.letter import RAW_BYTES_MAX, Letter, decode, encode, letter_of

ERROR = FabricError(Code.UNMAPPED, "sev: there is no such field")


def letter(number: int, raw: bytes = b"x") -> Letter:
    return letter_of(number, 1_000 + number, raw, ERROR, f"conn.log:{number}", Label.AMBER)


@pytest.mark.parametrize("raw", [
    b"", b"\xff\x00\n\x1b[31m", {"a": 1}, {"a": "\ud800", "n": float("nan")}, {"o": object()}, {"deep": [[[[]]]]},
    {1: 2}, b"y" * (RAW_BYTES_MAX + 5),
])
def test_whatever_was_rejected_can_be_kept(raw):
    made = letter_of(7, 1_000, raw, FabricError(Code.UNMAPPED, "d\ud800" * 9_999), "w" * 9_999, Label.RED)
    ((end, read),) = decode(encode(made))
    assert read == made and end == len(encode(made))
    assert len(made.raw) <= RAW_BYTES_MAX and made.is_cut == (made.bytes_ > RAW_BYTES_MAX)


def test_what_is_damaged_is_no_letter():
    data = encode(letter(1)) + encode(letter(2))
    assert [read.number for _, read in decode(data)] == [1, 2]
    for at in range(len(encode(letter(1))), len(data)):
        damaged = data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]
        assert [read.number for _, read in decode(damaged)] == [1]
        assert [read.number for _, read in decode(data[:at])] == [1]


def test_letters_are_there_for_the_next_process_and_private(tmp_path):
    store = Store(tmp_path / "deadletters" / "conn")
    for _ in range(3):
        store.add(letter)
    again = Store(store.folder)
    assert [each.number for each in again.letters()] == [1, 2, 3]
    assert again.letters()[1].where == "conn.log:2" and again.letters()[0].why.startswith("E750")
    for path in store.folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_two_processes_share_a_store(tmp_path):
    writer, other = Store(tmp_path / "conn"), Store(tmp_path / "conn")
    for _ in range(3):
        writer.add(letter)
    assert other.remove([2, 9]) == 1
    assert writer.add(letter).number == 4
    assert other.add(letter).number == 5
    assert writer.remove([1, 3, 4, 5]) == 4 and other.letters() == [] and not list(tmp_path.glob("conn/*.letters"))
    assert other.add(letter).number == 6, "no number is given twice"
    assert Store(tmp_path / "conn").add(letter).number == 7


def test_the_oldest_go_and_are_counted(tmp_path):
    store = Store(tmp_path / "conn", letters_max=10, segment_letters=4)
    for _ in range(30):
        store.add(letter)
    left = [each.number for each in store.letters()]
    assert left[-1] == 30 and 6 <= len(left) <= 10 and store.lost == 30 - len(left)
    assert Store(tmp_path / "conn").lost == store.lost
    store = Store(tmp_path / "big", bytes_max=3 << 20)
    for _ in range(20):
        store.add(lambda number: letter(number, b"z" * RAW_BYTES_MAX))
    assert sum(path.stat().st_size for path in store.folder.glob("*.letters")) <= 3 << 20
    assert store.lost + len(store.letters()) == 20


def test_an_end_that_was_not_written_whole_is_cut_off_and_counted(tmp_path):
    store = Store(tmp_path / "conn")
    store.add(letter)
    store.add(letter)
    store.close()
    (path,) = store.folder.glob("*.letters")
    os.truncate(path, path.stat().st_size - 1)
    again = Store(tmp_path / "conn")
    assert [each.number for each in again.letters()] == [1] and again.lost == 1
    assert again.add(letter).number == 2
    path.write_bytes(b"\xff" * 50)
    assert Store(tmp_path / "conn").letters() == []


def test_what_is_put_back_has_its_number_again(tmp_path):
    store = Store(tmp_path / "conn")
    first = store.add(letter)
    store.add(letter)
    store.remove([1])
    store.put_back(first)
    assert [each.number for each in store.letters()] == [1, 2]
    assert store.add(letter).number == 3


def test_a_link_in_its_place_is_not_followed(tmp_path):
    store = Store(tmp_path / "conn")
    store.add(letter)
    store.close()
    (path,) = store.folder.glob("*.letters")
    path.unlink()
    path.symlink_to(tmp_path / "else")
    with pytest.raises(FabricError) as caught:
        store.add(letter)
    assert caught.value.code is Code.NOT_PRIVATE and not (tmp_path / "else").exists()


def test_each_source_has_its_own_with_its_label(tmp_path):
    letters = DeadLetters(tmp_path, {"conn": Label.AMBER}, frozenset({"archive"}), lambda: 5)
    letters.keep("conn", {"a": 1}, ERROR, "conn.log:1")
    letters.keep("conn", b"raw", ERROR, "conn.log:2")
    letters.keep("other", {"a": 1}, ERROR, "192.0.2.1")
    letters.keep("archive", {"a": 1}, ERROR, "x")
    letters.sync()
    letters.close()
    found = {store.source: store.letters() for store in stores_of(tmp_path)}
    assert list(found) == ["archive", "conn", "other"]
    assert [(each.label, each.form) for each in found["conn"]] == [(Label.AMBER, Form.RECORD), (Label.AMBER, Form.RAW)]
    assert found["other"][0].label is Label.RED and found["archive"][0].form is Form.MESSAGE
    assert stores_of(tmp_path, "../x") == [] and [store.source for store in stores_of(tmp_path, "conn")] == ["conn"]
    assert stores_of(tmp_path / "none") == [] and Store(tmp_path / "none").letters() == []


def test_what_the_source_knew_of_its_severity_is_kept_and_older_letters_are_read():
    for severity in (None, *Severity):
        made = letter_of(7, 1_000, b"x", ERROR, "w", Label.RED, severity=severity)
        ((_, read),) = decode(encode(made))
        assert read == made and read.severity is severity
    for more, severity in (([], None), ([int(Severity.HIGH)], Severity.HIGH)):
        old = pack([7, 1_000, 750, "d", "w", int(Label.RED), 0, b"x", 1, 0, *more])
        ((_, read),) = decode(len(old).to_bytes(4, "big") + zlib.crc32(old).to_bytes(4, "big") + old)
        assert (read.number, read.severity, read.raw, read.by) == (7, severity, b"x", "")


def by(name, raw=b"x"):
    return lambda number: letter_of(number, number, raw, ERROR, "x", Label.AMBER, by=name)


def of(store):
    return Counter(each.by for each in store.letters())


def test_whoever_floods_a_source_takes_the_room_of_nobody_else(tmp_path):
    store = Store(tmp_path / "api", letters_max=100, segment_letters=10)
    for number in range(60):
        store.add(by("quiet" if number % 2 else "other"))
    for _ in range(1_000):
        store.add(by("loud"))
    left = of(store)
    assert (left["quiet"], left["other"]) == (30, 30) and 20 < left["loud"] <= 40
    assert store.lost + left.total() == 1_060 and of(Store(store.folder)) == left
    numbers = [each.number for each in store.letters() if each.by == "loud"]
    assert numbers[-1] == 1_060, "of whoever has most the oldest go"
    for _ in range(1_000):
        store.add(by("quiet"))
    left = of(store)
    assert left["other"] == 30 and abs(left["quiet"] - left["loud"]) <= 20, "a share for each"


def test_what_is_large_counts_by_its_bytes(tmp_path):
    store = Store(tmp_path / "api", bytes_max=4 << 20)
    for _ in range(200):
        store.add(by("quiet", b"small"))
    for _ in range(40):
        store.add(by("loud", b"z" * RAW_BYTES_MAX))
    assert of(store)["quiet"] == 200 and 8 <= of(store)["loud"] <= 16
    assert sum(path.stat().st_size for path in store.folder.glob("*.letters")) <= 4 << 20


def test_many_with_few_each_do_not_have_each_segment_written_again_and_again(tmp_path, monkeypatch):
    written, write = [], module.write_private
    monkeypatch.setattr(module, "write_private", lambda path, *data, **how: (
        written.append(path), write(path, *data, **how)
    ))
    store = Store(tmp_path / "udp", letters_max=100, segment_letters=20)
    for number in range(1_000):
        store.add(by(f"192.0.2.{number % 250}"))
    assert 80 <= len(store.letters()) <= 100
    assert not [path for path in written if path.suffix == ".letters"]
