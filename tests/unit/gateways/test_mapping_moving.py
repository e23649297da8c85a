"""Fields that are dropped, renamed and set, and the labels that stay with them."""

import pytest

from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.mapping.paths import path_of
from tests.unit.gateways.mapping_support import mapped

ZEEK = {"ts": 1.5, "id.orig_h": "10.0.0.1", "id": {"orig_h": "10.0.0.2", "port": 5}}


@pytest.mark.parametrize(("path", "value"), [
    ("id.orig_h", "10.0.0.1"), ("id.port", 5), ("ts", 1.5), ("id.none", None), ("ts.x", None), ("hosts.1.ip", "b"),
    ("hosts.ip", None), ("hosts.9.ip", None), ("a.b.c.d", 1), ("x.y.z", 2),
])
def test_a_key_that_is_the_name_goes_before_a_path(path, value):
    hosts = [{"ip": "a"}, {"ip": "b"}]
    record = {**ZEEK, "hosts": hosts, "a": {"b.c": {"d": 1}}, "x.y": {"q": 0}, "x": {"y": {"z": 2}}}
    assert path_of(path).value(record) == value


def test_what_is_dropped_goes_wherever_it_has_its_name_and_leaves_no_empty_holder():
    record = {**ZEEK, "hosts": [{"ip": 1, "n": 2}, {"ip": 3}], "only": {"in": {"here": 1}}}
    found = mapped('drop = ["id.orig_h", "hosts.ip", "only.in.here", "no.such"]', record)
    assert found.content == {"ts": 1.5, "id": {"port": 5}, "hosts": [{"n": 2}, {}]}
    assert found.dropped == ("id.orig_h", "hosts.ip", "only.in.here")
    assert record["id"]["orig_h"] == "10.0.0.2" and len(record["hosts"][0]) == 2, "the source's record is as it was"
    assert mapped('drop = ["hosts.ip"]', {"hosts": [{"ip": 1}, {"ip": 2}]}).content == {}
    assert mapped('drop = ["hosts.0.ip"]', {"hosts": [{"ip": 1}, {"ip": 2}]}).content == {"hosts": [{}, {"ip": 2}]}


def test_a_label_stays_with_what_is_renamed():
    toml = 'labels = { "id.orig_h" = "amber", secret = "red", "secret.open" = "green" }\n'
    found = mapped(toml + 'rename = { "id.orig_h" = "src_ip" }', {"id": {"orig_h": "10.0.0.2"}})
    assert (found.content, found.labels["src_ip"]) == ({"src_ip": "10.0.0.2"}, Label.AMBER)
    found = mapped(toml + 'rename = { secret = "x.y" }', {"secret": {"open": 1, "in": 2}})
    assert found.content == {"x.y": {"open": 1, "in": 2}}
    assert (found.labels["x.y"], found.labels["x.y.open"]) == (Label.RED, Label.GREEN)
    found = mapped(toml + 'rename = { "hosts.0.ip" = "first" }', {"hosts": [{"ip": 1}, {"ip": 2}]})
    assert found.content == {"hosts": [{}, {"ip": 2}], "first": 1} and "first" not in found.labels


@pytest.mark.parametrize("there", [{"new": 1}, {"new": {"sub": 1}}, {"new.sub": 1}])
def test_a_name_that_is_taken_is_not_taken_again(there):
    toml = 'labels = { "old.sub" = "amber", old = "green" }\nrename = { old = "new" }'
    record = {"old": {"sub": 2}, **there}
    found = mapped(toml, record)
    assert found.content == record and not found.renamed and "new" not in found.labels
    assert found.notes == ("old keeps its name: there is new already",)


def test_what_is_set_is_the_declaration_s_word():
    found = mapped('set = { site = "plant-1", "a.b" = 2 }', {"site": "forged", "a": {"b": 1, "c": 1}, "x": 0})
    assert found.content == {"a": {"c": 1}, "x": 0, "site": "plant-1", "a.b": 2}
