"""What is blocked: kept, bounded, and each network for itself."""

import ipaddress
import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from relays.handlers.blocklist import Blocklist, without
from relays.handlers.kept import Entry

WHY = Entry("soar-1", 1_795_910_400_000, "4f")


def net(text):
    return ipaddress.ip_network(text)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "handlers" / "blocked.json"


@pytest.fixture
def blocklist(path):
    made = Blocklist(path, 10)
    with made.changing():
        yield made


def test_what_is_held_is_there_for_the_next_process_and_nobody_else(path, blocklist):
    blocklist.hold(net("10.1.0.0/16"), WHY)
    blocklist.hold(net("2001:db8::/32"), WHY)
    again = Blocklist(path)
    again._kept._load()
    assert net("10.1.0.0/16") in again and len(again) == 2
    assert again.release(net("2001:db8::/32")) == WHY
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("goes", ["10.0.0.0/8", "10.1.0.0/16"])
def test_of_two_that_overlap_the_other_stays(blocklist, goes):
    both = {net("10.0.0.0/8"), net("10.1.0.0/16")}
    for each in both:
        blocklist.hold(each, WHY)
    assert blocklist.merged(4) == [net("10.0.0.0/8")]
    blocklist.release(net(goes))
    (stays,) = both - {net(goes)}
    assert blocklist.merged(4) == [stays] == blocklist.overlapping(net(goes))


def test_ipv4_and_ipv6_do_not_meet(blocklist):
    blocklist.hold(net("2001:db8::/32"), WHY)
    assert blocklist.merged(4) == [] and blocklist.overlapping(net("10.0.0.0/8")) == []


def test_nobody_takes_all_of_the_room(blocklist):
    taken = 0
    while blocklist.has_room("soar-1"):
        blocklist.hold(net(f"10.0.0.{taken}"), WHY)
        taken += 1
    assert taken == 8 and blocklist.has_room("soar-2")
    blocklist.hold(net("10.0.0.1"), WHY)
    assert len(blocklist) == 8
    blocklist.release(net("10.0.0.1"))
    assert blocklist.has_room("soar-1")


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"kept": 7}', b'{"kept": [7]}', b'{"kept": [{"name": "x"}]}',
                b'{"kept": [{"name": "10.0.0.1/8", "by": "a", "since_ms": 1, "action": ""}]}',
                b'{"kept": [{"name": 7, "by": "a", "since_ms": 1, "action": ""}]}',
                b'{"kept": [{"name": "10.0.0.1/32", "by": "a", "since_ms": 1, "action": "", "more": 7}]}'],
)
def test_a_damaged_file_is_no_empty_one(path, blocklist, content):
    blocklist.hold(net("10.1.0.0/16"), WHY)
    path.write_bytes(content)
    with pytest.raises(FabricError) as raised:
        Blocklist(path)._kept._load()
    assert raised.value.code is Code.HANDLER_UNFIT and str(path) in raised.value.detail


def test_where_it_cannot_be_written_nothing_changed(path, blocklist, monkeypatch):
    blocklist.hold(net("10.1.0.0/16"), WHY)
    def full(*_):
        raise OSError(28, "full")

    monkeypatch.setattr("relays.handlers.kept.write_private", full)
    for change in (lambda: blocklist.hold(net("10.2.0.0/16"), WHY), lambda: blocklist.release(net("10.1.0.0/16"))):
        with pytest.raises(OSError):
            change()
    assert blocklist.merged(4) == [net("10.1.0.0/16")] and len(json.loads(path.read_text())["kept"]) == 1


def test_nobody_else_is_at_it_meanwhile(path):
    """Neither a thread nor, by a lock on disk, another process."""
    lists = [Blocklist(path, 1_000) for _ in range(2)]

    def work(which, which_list):
        for n in range(25):
            with which_list.changing():
                which_list.hold(net(f"10.{which}.0.{n}"), WHY)

    threads = [threading.Thread(target=work, args=(n, lists[n % 2])) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with lists[0].changing():
        assert len(lists[0]) == 100


@given(
    st.lists(st.tuples(st.integers(0, 63), st.integers(26, 32)), max_size=8),
    st.lists(st.tuples(st.integers(0, 63), st.integers(26, 32)), max_size=4),
)
def test_what_is_spared_is_in_nothing_that_is_left_and_nothing_else_is_missing(blocked, spared):
    def nets(of):
        return [ipaddress.ip_network((0x0B000000 + address, prefix), strict=False) for address, prefix in of]

    def addresses(of):
        return {address for network in of for address in network}

    merged = list(ipaddress.collapse_addresses(nets(blocked)))
    left = without(merged, [*nets(spared), net("::1")])
    assert addresses(left) == addresses(merged) - addresses(nets(spared))
    assert left == sorted(left) and sum(network.num_addresses for network in left) == len(addresses(left))
