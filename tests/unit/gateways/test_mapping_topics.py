"""A topic that a record fills in: each field is one word, whatever is in it."""

import pytest

from relays.gateways.mapping import Unfit
from tests.unit.gateways.mapping_support import declared, mapped

TEMPLATE = 'topic = "detections.{vendor}.x-{kind}"'


@pytest.mark.parametrize(("vendor", "topic"), [
    ("zeek", "detections.zeek.x-1"), ("Palo Alto", "detections.Palo_Alto.x-1"), ("a.b.>", "detections.a_b.x-1"),
    ("../../intel", "detections.intel.x-1"), ("*", None), (">", None), ("", None), ("..", None), (None, None),
    ({"a": 1}, None), (["a"], None), ("a\nb", "detections.a_b.x-1"), ("ü", None), ("x" * 65, None),
    (7, "detections.7.x-1"), (True, None), (2.5, "detections.2_5.x-1"),
])
def test_a_field_is_one_word_or_does_not_fit(vendor, topic):
    found = declared(TEMPLATE).apply({"vendor": vendor, "kind": 1})
    if topic is None:
        assert isinstance(found, Unfit) and found.field == "vendor"
        assert ("is not there" in found.error.detail) is (vendor is None)
    else:
        assert found.topic == topic


def test_a_declared_default_is_for_what_fills_it_not():
    toml = 'topic = { template = "detections.{vendor}.{kind}", default = "detections.other" }'
    assert mapped(toml, {"vendor": ">", "kind": 1}).topic == "detections.other"
    assert declared(toml).patterns == ("detections.*.*", "detections.other")
    long = 'topic = "detections.' + ".".join(f"{{f{n}}}" for n in range(5)) + '"'
    assert isinstance(declared(long).apply({f"f{n}": "y" * 60 for n in range(5)}), Unfit), "longer than a topic"


def test_a_table_chooses_among_topics():
    toml = 'topic = { field = "kind", table = { dns = "detections.dns", "1..9" = "detections.few" } }'
    assert mapped(toml, {"kind": "DNS"}).topic == "detections.dns"
    assert mapped(toml, {"kind": 3}).topic == "detections.few"
    assert isinstance(declared(toml).apply({"kind": "ssh"}), Unfit)
    assert declared(toml).patterns == ("detections.dns", "detections.few")
    assert declared(TEMPLATE).patterns == ("detections.*.*",)
