"""The kind `blocklist` of sinks: what may be blocked now, one value a line, whatever comes in which order."""

import sqlite3
import threading
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.blocklist import SINK
from relays.gateways.blocklist import sink as sinks
from relays.gateways.blocklist.entries import Entries, indicator_of
from relays.gateways.blocklist.never import Never
from relays.gateways.blocklist.sink import BlockListSink
from relays.gateways.kinds import Place
from relays.gateways.mapping import read_mapping
from relays.gateways.misp.events import read_misp, records_of
from relays.gateways.narrowing import narrowed
from relays.gateways.options import Options
from tests.integration.harness import wait_for
from tests.unit.gateways.stix_support import NOW_MS, indicator, published, sdo, seen
from tests.unit.gateways.support import Outtake
from tests.unit.gateways.test_stix_markings import AMBER, GREEN, granular


def ipv4(number, *addresses, origin="feed-1", **more):
    pattern = " OR ".join(f"[ipv4-addr:value = '{address}']" for address in addresses)
    (mapped,) = published([indicator(number, pattern, **more)])
    return seen(mapped, origin=origin)


class Stage:
    def __init__(self, folder, values="ipv4", **more):
        self.path, self.folder, self.now_ms = folder / "block.txt", folder, NOW_MS
        options = Options({"path": str(self.path), "values": values, **more})
        self.settings = SINK.read(options)
        assert not options.faults, options.faults

    def run(self, *groups, stop=None, outtake=None):
        outtake = outtake or Outtake(*groups)
        place = Place("fw", "block", self.folder / "state", None)
        BlockListSink(self.settings, place, lambda: self.now_ms).run(outtake, stop or threading.Event())
        return outtake

    @property
    def lines(self):
        return self.path.read_text().splitlines()[1:]

    @property
    def header(self):
        return self.path.read_text().splitlines()[0]


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path)


def test_values_are_sorted_each_once_private_and_the_same_after_a_restart(stage):
    stage.run([ipv4(1, "198.51.100.7", "192.0.2.1")], [ipv4(2, "192.0.2.1"), ipv4(3, "192.0.2.0")])
    assert stage.path.read_text() == "# TLP:GREEN ipv4: 3\n192.0.2.0\n192.0.2.1\n198.51.100.7\n"
    assert stage.path.stat().st_mode & 0o777 == 0o600
    stage.path.unlink()
    stage.run()
    assert len(stage.lines) == 3
    written = stage.path.stat()
    stage.run()
    assert stage.path.stat().st_ino == written.st_ino, "nothing changed"


def test_what_is_revoked_goes_and_stays_away_and_only_its_origin_can_revoke_it(stage):
    stage.run([ipv4(1, "192.0.2.1"), ipv4(2, "192.0.2.2")])
    stage.run([ipv4(1, "192.0.2.1", origin="feed-2", revoked=True, modified="2026-02-01T00:00:00Z")])
    assert stage.lines == ["192.0.2.1", "192.0.2.2"]
    stage.run([ipv4(1, "192.0.2.1", revoked=True, modified="2026-02-01T00:00:00Z")])
    assert stage.lines == ["192.0.2.2"]
    stage.run([ipv4(1, "192.0.2.1"), ipv4(2, "192.0.2.9", modified="2026-01-03T00:00:00Z")])
    assert stage.lines == ["192.0.2.9"], "an older version came late"


def test_what_ends_goes_while_nothing_comes_and_what_begins_comes(stage, monkeypatch):
    monkeypatch.setattr(sinks, "_WRITE_S", 0.01)
    stop = threading.Event()
    later = "2026-05-29T00:00:00Z"  # NOW_MS is the 28th

    class Waiting(Outtake):
        def groups(self, records_max):
            yield from super().groups(records_max)
            stop.wait(60)

    outtake = Waiting([ipv4(1, "192.0.2.1", valid_until=later), ipv4(2, "192.0.2.2"), replace(
        ipv4(3, "192.0.2.3"), content={**ipv4(3, "192.0.2.3").content, "valid_from": later})])
    thread = threading.Thread(target=stage.run, kwargs={"outtake": outtake, "stop": stop})
    thread.start()
    wait_for(lambda: stage.path.exists() and stage.lines == ["192.0.2.1", "192.0.2.2"], "both")
    stage.now_ms += 2 * 86_400_000
    wait_for(lambda: stage.lines == ["192.0.2.2", "192.0.2.3"], "one ended, one began")
    stop.set()
    thread.join(20)
    assert not thread.is_alive()


def test_no_more_than_that_and_the_newest_first(tmp_path):
    stage = Stage(tmp_path, max=2)
    outtake = stage.run([ipv4(n, f"192.0.2.{n}", modified=f"2026-01-0{n}T00:00:00Z") for n in (3, 1, 5, 2, 4)])
    assert stage.lines == ["192.0.2.4", "192.0.2.5"]
    assert stage.header == "# TLP:GREEN ipv4: 2, 3 more have no room"
    assert outtake.notes == ["3 values are not on the list: it has room for 2"]
    outtake = stage.run([ipv4(n, f"192.0.2.{n}") for n in range(10, 20)])
    assert "7 indicators were forgotten: there were more than the list holds" in outtake.notes
    assert outtake.counts == {"forgotten": 7}
    assert len(stage.lines) == 2


def test_who_publishes_most_takes_the_room_of_nobody_else(tmp_path):
    stage = Stage(tmp_path, max=4)
    stage.run([ipv4(1, "192.0.2.1", origin="feed-2"), ipv4(2, "192.0.2.2", origin="feed-2")])
    stage.run([ipv4(n, f"203.0.113.{n}", origin="flood", modified="2026-05-01T00:00:00Z") for n in range(1, 100)])
    assert stage.lines == ["192.0.2.1", "192.0.2.2", "203.0.113.87", "203.0.113.88"]
    stage.run([ipv4(3, "192.0.2.3", origin="feed-3")])
    assert {"192.0.2.1", "192.0.2.3"} < set(stage.lines), "one of each, and the newest of all others"


def test_one_message_does_not_fill_it(tmp_path):
    stage = Stage(tmp_path)
    many = replace(ipv4(1, "192.0.2.1"), content={**ipv4(1, "192.0.2.1").content, "fabric": {"kind": "ipv4", "values": {
        "ipv4": [f"203.0.{n // 200}.{n % 200}" for n in range(1_001)]}}})
    stage.run([many, ipv4(2, "192.0.2.2")])
    assert stage.lines == ["192.0.2.2"]


@pytest.mark.parametrize(("topic", "kind", "is_listed"), [
    ("intel.ipv4.x", "ipv4", True), ("intel.indicator.url", "indicator", True), ("intel.osint", "ipv4", True),
    ("intel.domain.x", "domain", False), ("intel.domain.x", "ipv4", False), ("intel.domain.ipv4", "ipv4", False),
    ("intel.domain.indicator", "indicator", False),
])
def test_a_topic_of_one_kind_lists_values_of_no_other(stage, topic, kind, is_listed):
    message = ipv4(1, "192.0.2.1")
    ours = {"kind": kind, "values": message.content["fabric"]["values"]}
    stage.run([replace(message, topic=topic, content={**message.content, "fabric": ours})])
    assert stage.lines == (["192.0.2.1"] if is_listed else [])


def test_a_feed_takes_off_nothing_of_another_one_behind_the_same_gateway(stage):
    def revoked(**more):
        return replace(ipv4(1, "192.0.2.1", revoked=True, modified="2026-03-01T00:00:00Z"), **more)

    stage.run([ipv4(1, "192.0.2.1")], [revoked(topic="intel.ipv4.taxii")])
    assert stage.lines == ["192.0.2.1"]
    stage.run([revoked(topic="intel.indicator.feed", content={**revoked().content, "fabric": {"kind": "indicator"}})])
    assert stage.lines == [], "of another kind by now, and of the same feed"


def test_a_value_that_did_not_come_for_long_is_taken_off(tmp_path):
    stage = Stage(tmp_path, max_age="30d", header=False)
    stage.run([ipv4(1, "192.0.2.1"), ipv4(2, "192.0.2.2")])
    stage.now_ms += 20 * 86_400_000
    stage.run([ipv4(1, "192.0.2.1")])
    stage.now_ms += 20 * 86_400_000
    stage.run()
    assert stage.path.read_text() == "192.0.2.1\n"


def test_nothing_is_on_it_above_its_label_also_where_that_was_lowered(tmp_path):
    high = ipv4(1, "192.0.2.1", object_marking_refs=[GREEN], granular_markings=granular(pattern=AMBER))
    assert high.labels["fabric.values.ipv4"] is Label.AMBER
    stage = Stage(tmp_path)
    stage.run([high, ipv4(2, "192.0.2.2", object_marking_refs=[GREEN])])
    assert stage.header == "# TLP:AMBER ipv4: 2"
    stage = Stage(tmp_path, max_label="green")
    stage.run([narrowed(high, Label.GREEN)])
    assert (stage.header, stage.lines) == ("# TLP:GREEN ipv4: 1", ["192.0.2.2"])


def test_attributes_of_misp_are_listed_until_they_are_deleted(stage):
    def attribute(value, timestamp, **more):
        event = {"uuid": "e", "Attribute": [
            {"uuid": "a1", "id": "7", "type": "ip-dst", "value": value, "to_ids": True, "timestamp": timestamp,
                **more}]}
        mapping = read_mapping(Options({"topic": "intel.{fabric.kind}.misp"}), read_misp)
        return [seen(mapping.apply(record, now_ms=NOW_MS)) for record in records_of(event)]

    outtake = stage.run(attribute("192.0.2.1", "1780000000"))
    assert stage.lines == ["192.0.2.1"] and "1 messages are about no indicator" in outtake.notes[0]
    stage.run(attribute("192.0.2.9", "1779999999"))
    assert stage.lines == ["192.0.2.1"], "an older version"
    stage.run(attribute("192.0.2.1", "1780000001", deleted=True))
    assert stage.lines == []


def test_a_copy_out_of_which_parts_were_taken_takes_nothing_off(stage):
    marks = {"object_marking_refs": [GREEN], "granular_markings": granular(pattern=AMBER)}
    whole = ipv4(1, "192.0.2.1", **marks)
    stage.run([whole], [narrowed(whole, Label.GREEN)])
    assert stage.lines == ["192.0.2.1"]
    newer = ipv4(1, "192.0.2.9", modified="2026-01-03T00:00:00Z", **marks)
    stage.run([narrowed(newer, Label.GREEN)])
    assert stage.lines == [], "what it is by now nobody here may know"


@pytest.mark.parametrize(("kind", "never", "values", "left"), [
    ("ipv4", [], ["127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "255.255.255.255", "10.0.0.1"], ["10.0.0.1"]),
    ("ipv4", ["10.0.0.0/8"], ["10.0.0.1", "192.0.2.1"], ["192.0.2.1"]),
    ("ipv6", ["2001:db8::/32"], ["::1", "::", "fe80::1", "ff02::1", "::ffff:127.0.0.1", "2001:db8::1", "2001:db9::1"],
     ["2001:db9::1"]),
    ("domain", ["example.com"], ["example.com", "www.example.com", "notexample.com"], ["notexample.com"]),
    ("domain", ["www.corp.example"], ["corp.example", "a.www.corp.example", "x.corp.example"], ["x.corp.example"]),
    ("url", ["http://x.example/"], ["http://x.example/", "http://x.example/a", "http://[::1]:80/"],
     ["http://x.example/a"]),
    ("url", ["corp.example", "10.0.0.0/8"], ["HTTPS://WWW.Corp.Example:443/?a", "http://corp.example.#", "x://10.1.1.1",
     "http://[::ffff:10.1.1.1]/", "http://127.1.1.1/", "http://x.example/corp.example"], ["http://x.example/corp.example"]),
    ("email", ["corp.example", "a@x.example"], ["a@corp.example", "x@mail.corp.example", "a@x.example", "b@x.example"],
     ["b@x.example"]),
])
def test_what_is_never_listed(kind, never, values, left):
    options = Options({"path": "/x", "values": kind, **({"never": never} if never else {})})
    found = SINK.read(options).never
    assert not options.faults
    assert [value for value in values if not found.covers(value)] == left


@pytest.mark.parametrize(("kind", "never", "write"), [
    ("ipv4", "example.com", '["10.0.0.0/8"]'), ("ipv6", "10.0.0.0/8", '["2001:db8::/32"]'),
    ("url", "*.example", '["example.com", "10.0.0.0/8"]'), ("domain", "10.0.0.0/8", '["example.com"]'),
    ("md5", "x", "a value as it would be on the list"),
])
def test_what_to_write_instead_is_of_the_kind_that_is_listed(kind, never, write):
    options = Options({"path": "/x", "values": kind, "never": [never]})
    SINK.read(options)
    (fault,) = options.faults
    assert fault.write == f"write e.g. {write}"


def test_declarations_are_read_strictly():
    for given_, key in (({"path": "/x/"}, "path"), ({}, "values"), ({"values": "ipv5"}, "values"), ({"max": 0}, "max"),
                        ({"never": ["10.0.0.1/8"]}, "never"), ({"readers": "me"}, "readers"),
                        ({"max_age": "1s"}, "max_age")):
        options = Options({"path": "/x", **({"values": "ipv4"} if key != "values" else {}), **given_})
        SINK.read(options)
        assert [fault.key for fault in options.faults] == [key]


def test_readers_and_what_is_about_no_indicator(tmp_path):
    stage = Stage(tmp_path, readers="all")
    malware = seen(published([sdo("malware", 1, is_family=False)])[0])
    outtake = stage.run([malware, replace(malware, content={"rule": "x"}), ipv4(1, "192.0.2.1")])
    assert outtake.notes == ["2 messages are about no indicator, and on no list"] and stage.lines == ["192.0.2.1"]
    assert stage.path.stat().st_mode & 0o777 == 0o644


def test_a_state_that_cannot_be_read_leaves_the_list_as_it_is(stage):
    stage.run([ipv4(1, "192.0.2.1")])
    state = stage.folder / "state" / "indicators.sqlite"
    state.write_bytes(b"nothing of a database" * 1_000)
    with pytest.raises(FabricError) as raised:
        stage.run([ipv4(2, "192.0.2.2")])
    assert raised.value.code is Code.SINK_AWAY and "stays as it is" in raised.value.next_step
    assert stage.lines == ["192.0.2.1"]


def test_a_disk_that_is_full_is_waited_for_and_nothing_is_acknowledged(stage, monkeypatch):
    def full(*_args, **_more):
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(Entries, "_keep", full)
    outtake, stop = Outtake([ipv4(1, "192.0.2.1")]), threading.Event()
    thread = threading.Thread(target=lambda: pytest.raises(FabricError, stage.run, outtake=outtake, stop=stop))
    thread.start()
    wait_for(lambda: outtake.waited and outtake.waited[-1], "it waits")
    stop.set()
    thread.join(20)
    assert "no space left" in outtake.waited[-1] and outtake.acknowledged == []


_VERSIONS = st.lists(st.tuples(
    st.integers(1, 3), st.integers(1, 5), st.sets(st.integers(1, 6), max_size=3), st.booleans(),
    st.sampled_from(["a", "b"]),
), max_size=12)


@settings(max_examples=10)
@given(_VERSIONS)
def test_in_whatever_order_versions_come_the_newest_of_each_counts(tmp_path_factory, versions):
    newest = {}
    for number, day, values, revoked, origin in versions:
        newest.setdefault((origin, number, day), (values, revoked))  # what is the same version says the same
    messages = []
    for number, day, _, _, origin in versions:
        values, revoked = newest[origin, number, day]
        (found,
         ) = published([indicator(number,
             " OR ".join(f"[ipv4-addr:value = '192.0.2.{n}']" for n in sorted(values)) or "x",
                                        modified=f"2026-01-0{day}T00:00:00Z", revoked=revoked)])
        messages.append(seen(found, origin=origin))
    entries = Entries(tmp_path_factory.mktemp("x"), "ipv4", 100, Label.RED, Never("ipv4"))
    for message in messages:
        entries.take([indicator_of(message)], NOW_MS)
    last = {}
    for (origin, number, _), (values, revoked) in sorted(newest.items()):
        last[origin, number] = set() if revoked else values
    expected = sorted({f"192.0.2.{n}" for values in last.values() for n in values})
    assert entries.listed(NOW_MS, 10**15).values == expected
    entries.close()
