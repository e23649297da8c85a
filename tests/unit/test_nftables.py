"""The handler `nftables`: what it blocks, what it never does, and that the table is what its list says."""

import ipaddress
import json
import random
import socket
import subprocess

import pytest
from structlog.testing import capture_logs

from fabric.protocol.base.errors import Code, FabricError
from relays.handlers import ruleset
from relays.handlers.blocklist import Blocklist
from relays.handlers.kinds import Options
from relays.handlers.nftables import KIND, Nftables, make
from relays.handlers.protected import Protected
from relays.handlers.ruleset import NftError, Table, script
from tests.handling import action_for, end_of, place_in
from tests.network import in_new_network, needs_tables


def deny(text, action="deny", **more):
    return action_for(action, "ipv6_net" if ":" in text else "ipv4_net", text, **more)


class Kernel:
    """What it was told last."""

    def __init__(self):
        self.text, self.refuses = "", False

    def __call__(self, text):
        if self.refuses:
            raise NftError("Could not process rule: No space left on device")
        self.text = text


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def handler(tmp_path, kernel):
    return started(tmp_path, kernel)


def started(folder, kernel):
    table = Table("message_fabric", "fw-7")
    protected = Protected([], lambda: ["10.9.9.1:7700"], list)
    made = Nftables(table, Blocklist(folder / "h" / "blocked.json"), protected, kernel, lambda _: kernel.text)
    made.start()
    return made


def test_a_network_is_blocked_and_allowed_again(handler, kernel):
    answer = handler(deny("203.0.113.9"))
    assert end_of(answer) == ("completed", "") and answer.result == {"blocked": "203.0.113.9", "already": False}
    assert "elements = { 203.0.113.9/32 }" in kernel.text
    assert handler(deny("203.0.113.9")).result["already"]
    allowed = handler(deny("203.0.113.9", "allow"))
    assert allowed.result == {"allowed": "203.0.113.9", "was_blocked": True} and "elements" not in kernel.text
    assert handler.revert(deny("203.0.113.9")).result["was_blocked"] is False


def test_one_that_is_reverted_says_nothing_about_those_it_overlaps(handler, kernel):
    wide, narrow = deny("11.0.0.0/8"), deny("11.1.0.0/16")
    for first, second in ((wide, narrow), (narrow, wide)):
        handler(wide), handler(narrow)
        answer = handler.revert(first)
        assert answer.result["still_blocked"] == [second.target.value] and end_of(answer)[0] == "completed"
        assert f"elements = {{ {second.target.value} }}" in kernel.text
        handler.revert(second)
        assert "elements" not in kernel.text


def test_who_asks_for_a_network_to_be_let_through_is_not_told_that_it_is_while_another_blocks_it(handler):
    handler(deny("11.0.0.0/8"))
    answer = handler(deny("11.1.0.0/16", "allow"))
    assert end_of(answer) == ("failed", "E953") and answer.result["still_blocked"] == ["11.0.0.0/8"]


def test_what_would_cut_it_off_is_refused(handler, kernel):
    before = kernel.text
    for text in ("0.0.0.0/0", "::/0", "127.0.0.1", "10.0.0.0/8"):  # the relay is in the last
        assert end_of(handler(deny(text))) == ("refused", "E951")
    assert kernel.text == before


def test_it_is_there_again_after_a_start_and_after_somebody_flushed_it(tmp_path, handler, kernel):
    handler(deny("203.0.113.9"))
    kernel.text = ""
    started(tmp_path, kernel)
    assert "203.0.113.9" in kernel.text
    kernel.text = ""
    assert handler(deny("203.0.113.9")).result["already"] and "203.0.113.9" in kernel.text


def test_what_the_kernel_refuses_did_not_happen(tmp_path, handler, kernel):
    handler(deny("203.0.113.9"))
    kernel.refuses = True
    answers = [handler(deny("203.0.113.10")), handler(deny("203.0.113.9", "allow"))]
    answers.append(handler.revert(deny("203.0.113.9")))
    assert {end_of(answer) for answer in answers} == {("failed", "E709")}
    assert all("No space left" in answer.reason for answer in answers)
    kernel.refuses = False
    started(tmp_path, kernel)
    assert "elements = { 203.0.113.9/32 }" in kernel.text


def test_a_kernel_that_refuses_at_the_start_is_an_error_with_a_number(tmp_path, kernel):
    kernel.refuses = True
    with pytest.raises(FabricError) as raised:
        started(tmp_path, kernel)
    assert raised.value.code is Code.HANDLER_UNFIT


def test_an_address_of_ipv4_in_the_clothes_of_ipv6_is_not_said_to_be_blocked(handler, kernel):
    for action in ("deny", "allow"):
        for text in ("::ffff:203.0.113.9", "::ffff:203.0.113.0/120"):
            assert end_of(handler(action_for(action, "ipv6_net", text))) == ("refused", "E706")
    assert "elements" not in kernel.text


def test_one_requester_leaves_room_to_others(tmp_path, kernel):
    table, protected = Table("t", "fw-7"), Protected([], list, list)
    handler = Nftables(table, Blocklist(tmp_path / "h" / "b.json", 5), protected, kernel, lambda _: kernel.text)
    handler.start()
    ends = [end_of(handler(deny(f"203.0.113.{n}"))) for n in range(5)]
    assert ends == [("completed", "")] * 4 + [("failed", "E709")]
    assert end_of(handler(deny("203.0.113.9", requester="soar-2"))) == ("completed", "")


@pytest.mark.parametrize(
    ("option", "value"), [("never", "nonsense"), ("hook", "prerouting"), ("verdict", "log"), ("table", "a b"),
                          ("table", "x;flush"), ("table", "9")],
)
def test_an_option_that_cannot_be(tmp_path, option, value):
    with pytest.raises(FabricError) as raised:
        make(Options("nftables", {option: [value]}), place_in(tmp_path))
    assert raised.value.code is Code.USAGE and f"{option}={value}" in raised.value.detail


def test_what_it_needs_is_named_where_it_is_not_there(monkeypatch):
    monkeypatch.setattr(ruleset.shutil, "which", lambda *_, **__: None)
    (need,) = KIND.needs(Options("nftables"))
    assert "not there" in need.problem and "apt-get install nftables" in need.next_step


def test_hooks_and_verdict_are_in_the_table():
    text = script(Table("t", "fw-7", ("forward",), "reject"), [], [])
    assert "hook input" not in text and "ip daddr @blocked4 counter reject" in text and "ip6 saddr" in text


# -- with the kernel's own ------------------------------------------------------------------------------------


def listed(table):
    out = subprocess.run(["nft", "-j", "list", "table", "inet", table], capture_output=True, text=True, check=True)
    found = set()
    for entry in json.loads(out.stdout)["nftables"]:
        for element in entry.get("set", {}).get("elem", ()):
            prefix = element["prefix"] if isinstance(element, dict) else {"addr": element, "len": None}
            found.add(ipaddress.ip_network(f"{prefix['addr']}/{prefix['len']}" if prefix["len"] else prefix["addr"]))
    return found


@needs_tables
def test_whatever_is_blocked_and_reverted_in_whatever_order_the_kernel_has_exactly_that(tmp_path):
    dice = random.Random(7)
    nets = ["11.0.0.0/8", "11.1.0.0/16", "11.1.2.0/24", "11.1.2.3", "11.0.0.0/9", "11.128.0.0/9", "203.0.113.9",
            "2001:db8::/32", "2001:db8:1::/48", "2001:db8::1"]

    def work():
        subprocess.run(["nft", "-f", "-"], input="table inet other { chain c { }\n}", text=True, check=True)
        handler = make(Options("nftables"), place_in(tmp_path))
        handler.start()
        blocked = set()
        for _ in range(25):
            text = dice.choice(nets)
            if text in blocked:
                handler.revert(deny(text))
                blocked.discard(text)
            else:
                assert end_of(handler(deny(text))) == ("completed", "")
                blocked.add(text)
            wanted = [ipaddress.ip_network(each) for each in blocked]
            merged = {each for version in (4, 6)
                      for each in ipaddress.collapse_addresses([n for n in wanted if n.version == version])}
            assert listed("message_fabric") == merged
        assert "table inet other" in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout

    in_new_network(work)


@needs_tables
def test_packets_stop_and_go_again(tmp_path):
    def work():
        for address in ("203.0.113.9/32", "203.0.113.10/32"):
            subprocess.run(["ip", "addr", "add", address, "dev", "lo"], check=True)
        table, protected = Table("message_fabric", "fw-7"), Protected([], list, list)
        handler = Nftables(table, Blocklist(tmp_path / "h" / "blocked.json"), protected)
        handler.start()
        assert goes("203.0.113.9")
        handler(deny("203.0.113.9"))
        assert not goes("203.0.113.9") and goes("203.0.113.10")
        handler(deny("203.0.113.0/24"))
        handler.revert(deny("203.0.113.9"))
        assert not goes("203.0.113.9")
        handler.revert(deny("203.0.113.0/24"))
        assert goes("203.0.113.9")

    in_new_network(work)


def goes(address):
    """Whether a datagram from this address arrives, by the loopback: at once, or never."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as to, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as by:
        to.bind(("203.0.113.10", 0))
        to.setblocking(False)
        by.bind((address, 0))
        try:
            by.sendto(b"x", to.getsockname())
            return to.recv(1) == b"x"
        except (BlockingIOError, PermissionError):
            return False


@needs_tables
def test_what_somebody_flushed_is_there_again_and_the_log_says_so(tmp_path):
    def work():
        handler = make(Options("nftables"), place_in(tmp_path))
        handler.start()
        handler(deny("203.0.113.9"))
        with capture_logs() as logs:
            handler.tend()
            subprocess.run(["nft", "flush", "ruleset"], check=True)
            handler.tend()
        assert [log["event"] for log in logs] == ["table was gone, and is there again"]
        assert listed("message_fabric") == {ipaddress.ip_network("203.0.113.9")}
        subprocess.run(["nft", "delete", "chain", "inet", "message_fabric", "input"], check=True)
        handler.tend()
        assert "chain input" in subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout

    in_new_network(work)


def by_hand(*words):
    subprocess.run(["nft", *words], check=True)


@needs_tables
@pytest.mark.parametrize("deed", [
    "flush table inet message_fabric", "flush set inet message_fabric blocked4",
    "flush chain inet message_fabric input",
    "delete element inet message_fabric blocked4 { 203.0.113.9 }",
    "add element inet message_fabric blocked4 { 192.0.2.1 }", "insert rule inet message_fabric input accept",
])  # fmt: skip
def test_what_somebody_changed_in_the_table_by_hand_is_as_it_was(tmp_path, deed):
    def work():
        handler = make(Options("nftables"), place_in(tmp_path))
        handler.start()
        handler(deny("203.0.113.9"))
        before = ruleset.listing(Table("message_fabric", "fw-7"))
        by_hand(*deed.split(" ", 5) if "element" in deed else deed.split())
        with capture_logs() as logs:
            handler.tend(), handler.tend()
        assert ruleset.listing(Table("message_fabric", "fw-7")) == before
        assert [log["event"] for log in logs] == ["table was changed, and is as it was again"]

    in_new_network(work)


@needs_tables
def test_packets_that_were_counted_are_no_change(tmp_path):
    def work():
        subprocess.run(["ip", "addr", "add", "203.0.113.10/32", "dev", "lo"], check=True)
        subprocess.run(["ip", "addr", "add", "203.0.113.9/32", "dev", "lo"], check=True)
        handler = Nftables(
            Table("message_fabric", "fw-7"), Blocklist(tmp_path / "h" / "b.json"), Protected([], list, list)
        )
        handler.start()
        handler(deny("203.0.113.9"))
        assert not goes("203.0.113.9")
        with capture_logs() as logs:
            handler.tend()
        assert logs == []

    in_new_network(work)


@needs_tables
def test_an_address_that_this_machine_has_by_now_is_let_through_as_long_as_it_has_it(tmp_path):
    net = ipaddress.ip_network("198.51.100.0/24")

    def work():
        handler = make(Options("nftables"), place_in(tmp_path))
        handler.start()
        handler(deny(str(net)))
        subprocess.run(["ip", "addr", "add", "198.51.100.7/32", "dev", "lo"], check=True)
        with capture_logs() as logs:
            handler.tend(), handler.tend()
        assert [log["event"] for log in logs] == ["some of what is blocked is let through"]
        assert listed("message_fabric") == set(net.address_exclude(ipaddress.ip_network("198.51.100.7")))
        make(Options("nftables"), place_in(tmp_path)).start()  # after a restart, too
        assert listed("message_fabric") == set(net.address_exclude(ipaddress.ip_network("198.51.100.7")))
        subprocess.run(["ip", "addr", "del", "198.51.100.7/32", "dev", "lo"], check=True)
        handler.tend()
        assert listed("message_fabric") == {net}

    in_new_network(work)


@needs_tables
def test_a_table_of_another_control_point_or_made_by_hand_is_not_touched(tmp_path):
    def work():
        make(Options("nftables"), place_in(tmp_path)).start()
        other = place_in(tmp_path)._replace(id="fw-8", folder=tmp_path / "other")
        with pytest.raises(FabricError) as raised:
            make(Options("nftables"), other).start()
        assert raised.value.code is Code.HANDLER_UNFIT and "that of message-fabric fw-7" in raised.value.detail
        make(Options("nftables", {"table": ["fw_8"]}), other).start()
        subprocess.run(["nft", "-f", "-"], input="table inet by_hand { }", text=True, check=True)
        with pytest.raises(FabricError) as raised:
            make(Options("nftables", {"table": ["by_hand"]}), other).start()
        assert "not made by this handler" in raised.value.detail

    in_new_network(work)


@needs_tables
def test_what_nft_says_of_a_fault_is_told_without_what_it_was_given():
    def work():
        with pytest.raises(NftError) as raised:
            ruleset.apply("table inet x { set s { type ipv4_addr; elements = { 192.0.2.77, nonsense } } }")
        return str(raised.value)

    said = in_new_network(work)
    assert said and "192.0.2.77" not in said
