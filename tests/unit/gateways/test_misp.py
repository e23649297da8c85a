"""MISP: what its events become, under which labels, and that each is given once; against its documented answers."""

import json
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from fabric.protocol.base.errors import FabricError
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.gateways.blocklist.entries import Entries, indicator_of
from relays.gateways.blocklist.never import Never
from relays.gateways.kinds import Pulled
from relays.gateways.mapping import Mapped, read_mapping
from relays.gateways.misp.events import newest_s, read_misp, records_of
from relays.gateways.misp.settings import read_settings
from relays.gateways.misp.source import SOURCE, parse_all
from relays.gateways.misp.types import about
from relays.gateways.options import Options
from relays.gateways.pulling.pages import Unreadable
from tests.unit.gateways.intel import attribute, event
from tests.unit.gateways.misp_server import KEY, Misp
from tests.unit.gateways.pull_server import place, serving
from tests.unit.gateways.support import TestIntake, at_work

NOW_MS = 1_773_144_000_000
MAPPING = read_mapping(Options({"topic": "intel.{fabric.kind}.misp"}), read_misp)


def mapped(given, unmarked=None):
    """What becomes of an event: of itself, and of each attribute."""
    found = [MAPPING.apply(record, now_ms=NOW_MS) for record in records_of(given, unmarked)
             if not isinstance(record, Unreadable)]
    assert all(isinstance(each, Mapped) for each in found)
    return found


def test_an_event_becomes_a_report_and_a_record_for_each_attribute():
    found = mapped(event(
        7, attribute(1), attribute(2, "domain", "Bad.Example"), attribute(3, "text", "hello", to_ids=False),
        attribute(4, "ip-src|port", "198.51.100.9|80"), attribute(5, deleted=True), attribute(6, "yara", "rule x {}"),
        tags=["tlp:green"],
        Object=[{"name": "file", "uuid": "o", "meta-category": "file", "distribution": "5", "Attribute": [
            attribute(8, "filename|sha256", "a|b.exe|" + "A" * 64), attribute(9, "size-in-bytes", "7", to_ids=False)]}],
    ))
    assert [each.topic for each in found] == [
        "intel.report.misp", "intel.ipv4.misp", "intel.domain.misp", "intel.observed-data.misp", "intel.ipv4.misp",
        "intel.ipv4.misp", "intel.indicator.misp", "intel.file.misp", "intel.observed-data.misp",
    ]
    assert [each.content["fabric"].get("values") for each in found] == [
        None, {"ipv4": ["198.51.100.1"]}, {"domain": ["bad.example"]}, None, None, None, None,
        {"sha256": ["a" * 64]}, None,
    ]
    report, address, *_, in_object, _ = found
    assert report.content["info"] == "event 7" and "Attribute" not in report.content
    assert address.content["event"] == {"uuid": "11111111-0000-4000-8000-000000000007", "info": "event 7",
                                        "threat_level_id": "2", "org": "CIRCL"}
    assert in_object.content["object"] == {"name": "file", "uuid": "o", "meta-category": "file"}
    assert {each.label for each in found} == {Label.GREEN} and address.at_ms == 1_773_140_000_000
    assert [each.severity for each in found[:4]] == [Severity.MEDIUM] * 3 + [Severity.INFORMATIONAL]


@pytest.mark.parametrize(("tags", "own", "event_to", "attribute_to", "label"), [
    (["tlp:clear"], [], "0", "0", Label.CLEAR), (["TLP:Amber+Strict"], ["tlp:clear"], "3", "5", Label.AMBER_STRICT),
    (["tlp:green"], ["tlp:red"], "3", "5", Label.RED), (["tlp:white", "tlp:amber"], [], "3", "5", Label.AMBER),
    (["tlp:unclear"], [], "3", "5", Label.RED), (["tlp:ex:chr", "tlp:green"], [], "3", "5", Label.RED),
    (["type:OSINT"], [], "3", "5", None), ([], [], "2", "5", Label.GREEN), ([], [], "1", "3", Label.AMBER),
    ([], [], "0", "5", Label.AMBER_STRICT), ([], [], "3", "0", Label.AMBER_STRICT), ([], [], "4", "5",
                                                                                    Label.AMBER_STRICT),
    ([], [], "9", "5", Label.RED), ([], [], None, None, None), ([], [], {}, [], Label.RED), ([], ["tlp:clear"], "0",
                                                                                             "5", Label.CLEAR),
])
def test_the_label_is_that_of_tags_else_of_distributions(tags, own, event_to, attribute_to, label):
    given = event(1, attribute(1, distribution=attribute_to, Tag=[{"name": name} for name in own]), tags=tags,
                  distribution=event_to)
    assert mapped(given)[1].label is label
    assert mapped(given, Label.AMBER)[1].label is (Label.AMBER if label is None else label)


@pytest.mark.parametrize(("tags", "event_to", "unmarked", "passed_on"), [
    (["tlp:amber"], "3", None, False), (["tlp:amber+strict"], "3", None, False), (["tlp:what"], "3", None, False),
    ([], "0", None, False), ([], "1", None, False), ([], "4", None, False), ([], "9", None, False),
    (["tlp:green"], "0", None, True), (["tlp:clear"], "0", None, True), ([], "2", None, True),
    ([], "3", Label.AMBER, True),  # nobody marked it: it is ours to say whom it is for
])
def test_what_was_given_to_us_above_green_no_declaration_passes_on(tags, event_to, unmarked, passed_on):
    to = {"organisations": ["guard"], "communities": ["isac"]}
    mapping = read_mapping(Options({"topic": "intel.{fabric.kind}.misp", "audience": to}), read_misp)
    for record in records_of(event(1, attribute(1), tags=tags, distribution=event_to), unmarked):
        found = mapping.apply(record, now_ms=NOW_MS)
        assert found.audience == (Audience(("guard",), ("isac",)) if passed_on else None)
        assert ("it is for the own organisation only, by its own marking" in found.notes) is not passed_on
        assert "own" not in found.content["fabric"]


@pytest.mark.parametrize("tags", [
    {"Tag": {"name": "tlp:red"}}, {"EventTag": [{"Tag": {"name": "tlp:red"}}]}, {"Tag": [{"name": "TLP_red"}]},
    {"Tag": [{"name": "\u200btlp:red"}]}, {"Tag": [{"name": ["tlp:red"]}]}, {"Tag": [7]},
])
def test_a_tag_in_another_form_is_not_overlooked(tags):
    (report,) = mapped({"uuid": "x", "info": "x", **tags})
    assert report.label is Label.RED


def test_what_can_be_detected_no_more_is_off_the_block_list(tmp_path):
    entries = Entries(tmp_path, "ipv4", 100, Label.RED, Never("ipv4"))

    def listed(**more):
        report, one = mapped(event(1, attribute(1, **more)))
        assert one.topic == "intel.ipv4.misp"
        messages = [SimpleNamespace(content=each.content, labels={}, label=Label.GREEN, origin="misp-1",
                                    topic=each.topic, issued_at_ms=NOW_MS, withheld=()) for each in (report, one)]
        entries.take(filter(None, map(indicator_of, messages)), NOW_MS)
        return entries.listed(NOW_MS, 10**9).values

    assert listed() == ["198.51.100.1"]
    assert listed(timestamp="1773139999", to_ids=False) == ["198.51.100.1"], "it is an older version"
    assert listed(timestamp="1773140001", to_ids=False) == []
    assert listed(timestamp="1773140002") == ["198.51.100.1"]
    assert listed(timestamp="1773140003", deleted=True) == []
    entries.close()


def test_an_objects_distribution_narrows_what_is_in_it():
    given = event(1, Object=[{"distribution": "1", "Attribute": [attribute(1, distribution="3")]}])
    assert [each.label for each in mapped(given)] == [None, Label.AMBER]


def test_deleted_objects_take_their_values_along():
    (_, one) = mapped(event(1, Object=[{"deleted": True, "Attribute": [attribute(1)]}]))
    assert one.content["deleted"] is True and "values" not in one.content["fabric"]


@pytest.mark.parametrize(("level", "severity"), [
    ("1", Severity.HIGH), (1, Severity.HIGH), ("2", Severity.MEDIUM), ("3", Severity.LOW), ("4", Severity.UNKNOWN),
    (None, Severity.UNKNOWN), ({}, Severity.UNKNOWN),
])
def test_threat_levels_count_from_the_worst(level, severity):
    assert mapped(event(1, attribute(1), threat_level_id=level))[1].severity is severity


def test_the_phase_is_the_furthest_that_tags_and_galaxies_say():
    chains = ["mitre-attack:initial-access", 7, "x:actions on objectives"]
    galaxy = [{"GalaxyCluster": [{"meta": {"kill_chain": chains}}, {"meta": []}, 7]}, 7]
    found = mapped(event(1, attribute(1), attribute(2, Tag=[{"name": 'kill-chain:"Command and Control"'}]),
                         tags=["kill-chain:Reconnaissance"], Galaxy=galaxy))
    assert [each.phase for each in found] == [Phase.DELIVERY, Phase.DELIVERY, Phase.COMMAND_AND_CONTROL]


@pytest.mark.parametrize(("type_", "value", "kind", "values"), [
    ("ip-dst", "2001:DB8::1", "ipv6", {"ipv6": ["2001:db8::1"]}), ("ip-src", "198.51.100.0/24", "indicator", {}),
    ("hostname", "*.bad.example", "domain", {}), ("url", "http://bad.example/x", "url", {"url": ["http://bad.example/x"]}),
    ("email-src", "a@bad.example", "email", {"email": ["a@bad.example"]}), ("md5", "x", "file", {}),
    ("filename|md5", "x|" + "0" * 32, "file", {"md5": ["0" * 32]}), ("domain|ip", "bad.example|198.51.100.1",
                                                                    "indicator", {}),
    ("ip-dst|port", "x|80", "indicator", {}), ("filename", "x.exe", "file", {}), ("", "", "indicator", {}),
])
def test_a_value_is_one_that_could_be_blocked_alone(type_, value, kind, values):
    assert about(type_, value) == (kind, values)


def source(server, folder, **more):
    url = server.url.removesuffix("/v1/items")
    options = Options({"url": url, "every": "1h", "api_key": {"env": "MISP_KEY"}, **more})
    settings = read_settings(options)
    assert not options.faults, options.faults
    return SOURCE.open(settings, place(folder))


def run(made, intake):
    intake.waited.clear()
    return at_work(made, intake, lambda: intake.waited, made.wake)


def test_events_are_given_page_by_page_once_and_again_where_they_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("MISP_KEY", KEY)
    misp, intake = Misp(*(event(number, attribute(number)) for number in range(1, 6))), TestIntake()
    with serving(misp) as server:
        made = source(server, tmp_path, limit=2, search={"tags": ["type:OSINT"]})
        with run(made, intake):
            assert intake.waited == [None] and len(intake.records) == 10
            assert [question["page"] for question in misp.questions] == [1, 2, 3, 4]
            assert misp.questions[0] == {"tags": ["type:OSINT"], "returnFormat": "json", "limit": 2, "page": 1,
                                         "deleted": [0, 1], "published": 1}
            assert made.pull().result(20) == Pulled(0, 10, 0)
            assert misp.questions[-1]["publish_timestamp"] == 1_773_140_005 - 300
            misp.events[2] = event(3, attribute(3), attribute(30, deleted=True), publish_timestamp="1773140900",
                                   timestamp="1773140900")
            assert made.pull().result(20) == Pulled(2, 9, 0)
        intake.taken_max = len(intake.records) + 1
        misp.events += [event(6, attribute(6)), event(7, attribute(7))]
        for each in misp.events[-2:]:
            each["Event"]["publish_timestamp"] = "1773140900"
        with pytest.raises(FabricError):
            source(server, tmp_path).run(intake, threading.Event())
        intake.taken_max = None
        misp.events.reverse()
        with run(source(server, tmp_path, search={"tags": ["type:OSINT"]}), intake):
            pass
    assert sorted(record["info"] for record in intake.records if "info" in record) == sorted(
        f"event {number}" for number in (1, 2, 3, 3, 4, 5, 6, 7))
    assert sorted(record["value"] for record in intake.records if "value" in record) == sorted(
        f"198.51.100.{number}" for number in (1, 2, 3, 4, 5, 30, 6, 7))


def test_an_instance_that_gives_all_at_once_is_not_asked_for_more(tmp_path, monkeypatch):
    monkeypatch.setenv("MISP_KEY", KEY)
    asked = []

    def answer(_path, _headers, body):
        asked.append(json.loads(body))
        return 200, {}, {"response": [event(number) for number in range(3)]}

    intake = TestIntake()
    with serving(answer) as server:
        made = source(server, tmp_path, limit=2)
        with run(made, intake):
            assert made.pull().result(20) == Pulled(0, 3, 0)
    assert intake.waited == [None] and len(intake.records) == 3
    assert [question["page"] for question in asked] == [1, 1] and asked[1]["publish_timestamp"]


@pytest.mark.parametrize(("answer", "words"), [
    ((200, {}, {"errors": "s3cret"}), "no events: it has 'errors'"), ((200, {}, b"<html>"), "page for people"),
    ((403, {}, {"message": KEY}), "HTTP 403"), ((200, {}, {"response": {"Event": {}}}), "no events"),
    ((200, {}, {"response": [event(1)]}), "circle"),
])
def test_what_is_no_answer_of_misp_is_a_fault(tmp_path, monkeypatch, answer, words):
    monkeypatch.setenv("MISP_KEY", KEY)
    intake = TestIntake()
    with serving(lambda *_: answer) as server, run(source(server, tmp_path), intake):
        assert words in intake.waited[0] and KEY not in repr(intake.waited) and "s3cret" not in repr(intake.waited)


def test_what_is_no_event_or_attribute_hinders_no_other():
    found = list(records_of(event(1, attribute(1), 7, {"uuid": "x"}, attribute(2, value=7), Object=[7])))
    assert [isinstance(each, Unreadable) for each in found] == [False, False, True, True, True, True]
    (no,) = records_of({"Event": []})
    assert isinstance(no, Unreadable) and "no event" in no.error.detail


NAMES = ("Event", "Attribute", "Object", "Tag", "name", "uuid", "type", "value", "distribution", "Galaxy", "timestamp",
         "GalaxyCluster", "meta", "kill_chain", "to_ids", "deleted", "threat_level_id", "fabric", "Orgc")


@settings_of(max_examples=15)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "tlp:red", "0", "ip-dst", "198.51.100.1"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=8),
    max_leaves=20,
))
def test_whatever_an_event_is_nothing_is_raised_and_its_label_holds(given):
    for record in records_of({"Event": {"uuid": "x", "Tag": ["tlp:amber"], "Attribute": [given, given], "x": given}}):
        if not isinstance(record, Unreadable):
            found = MAPPING.apply(record, now_ms=NOW_MS)
            assert not isinstance(found, Mapped) or found.label >= Label.AMBER
    list(records_of(given))
    newest_s([given], "timestamp", 1)


def test_a_record_that_did_not_come_through_here_is_red():
    assert MAPPING.apply({"value": "x", "fabric": {"label": "clear"}}, now_ms=NOW_MS).label is Label.RED
    again = MAPPING.apply(json.loads(json.dumps(next(records_of(event(1, tags=["tlp:green"]))))), now_ms=NOW_MS)
    assert again.label is Label.GREEN, "a dead letter that is replayed bears what it bore"


def test_a_sample_is_an_answer_or_an_event():
    settings = read_settings(Options({"url": "https://misp.example", "api_key": {"env": "K"}, "unmarked": "amber"}))
    for sample in ({"response": [event(1, attribute(1))]}, event(1, attribute(1)), [event(1, attribute(1))]):
        records = list(parse_all(settings, json.dumps(sample).encode()))
        assert [record["fabric"]["label"] for record in records] == ["amber", "amber"]
    (fault,) = parse_all(settings, b'{"x": 1}')
    assert isinstance(fault, FabricError)
    with pytest.raises(FabricError, match="not JSON"):
        list(parse_all(settings, b"{"))


@pytest.mark.parametrize(("key", "value", "words"), [
    ("api_key", "s3cret", "a secret stands here"), ("token", {"env": "X"}, "MISP takes a key"),
    ("search", {"page": 7}, "said by itself"), ("search", {"tags": "x" * 20_000}, "longer than"),
    ("published", "yes", "neither"), ("limit", 0, "no such number"), ("unmarked", "pink", "no TLP label"),
])
def test_faults_of_a_declaration(key, value, words):
    options = Options({"url": "https://misp.example", "api_key": {"env": "K"}, key: value})
    read_settings(options)
    assert any(words in fault.cause for fault in options.faults) and "s3cret" not in repr(options.faults)
