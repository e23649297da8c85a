"""Stamps that were made before are those that would be made."""

from types import MappingProxyType

import pytest

from fabric.edge.identity.identity import Defaults
from fabric.edge.publishing import stamps as stamps_module
from fabric.edge.publishing.options import publish_stamp
from fabric.edge.publishing.stamps import STAMPS_MAX, Stamps
from fabric.protocol.base.errors import FabricError
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Audience, Label

DEFAULTS = Defaults(Label.GREEN, {})
SAID = [
    {}, {"severity": 1}, {"severity": Severity(1)}, {"severity": "high"}, {"labels": {"a": "amber", "*": "green"}},
    {"labels": {"a": Label.AMBER}}, {"labels": {"b": Label.AMBER}}, {"label": Label.GREEN, "labels": None},
    {"audience": {"organisations": ["msp"]}}, {"audience": Audience(("msp",))}, {"audience": Audience((), ("msp",))},
    {"audience": Audience(["msp"])},
    {"ttl": "1h"}, {"ttl": 1}, {"labels": {"a": "amber+strict", "b": "amber"}},
    {"labels": {"b": "amber", "a": "amber+strict"}}, {"labels": {}},
    {"labels": {"a": "red"}, "audience": Audience((), (), ("lead-1", "role=lead"))},
]
WRONG = [{"severity": True}, {"label": 1}, {"label": True}, {"ttl": True}, {"labels": {"a": 1}}, {"labels": [1]},
         {"severity": []}, {"ttl": 1.0}, {"audience": Audience((1,))}, {"audience": Audience(("msp",), (True,))},
         {"audience": Audience(([],))}, {"audience": ["msp"]}, {"label": "red"}, {"labels": {"a": "red"}},
         {"labels": dict}]


def test_they_are_the_same_and_what_is_only_equal_is_told_apart():
    stamps = Stamps(DEFAULTS, Label.RED)
    for options in SAID * 2:
        assert stamps.of("detections.x", options) == publish_stamp("detections.x", DEFAULTS, **options)
        for wrong in WRONG:
            with pytest.raises(FabricError):
                stamps.of("detections.x", wrong)
    assert stamps.of("detections.x", {}) is stamps.of("detections.x", {})


def test_what_is_said_in_the_same_objects_and_has_changed_in_them_is_made_anew():
    stamps = Stamps(DEFAULTS, Label.RED)
    labels, audience, names = {"a": "amber"}, {"organisations": ["msp"]}, ["msp"]
    options = {"labels": labels, "audience": audience}
    listed = Audience(names)
    for _ in range(2):
        for said in (options, {"labels": labels}, {"audience": listed}, {"labels": labels}):
            assert stamps.of("detections.x", said) == publish_stamp("detections.x", DEFAULTS, **said)
        labels["b"], audience["communities"] = "green", ["isac"]
        names.append("isac")
    labels["a"] = True
    with pytest.raises(FabricError):
        stamps.of("detections.x", {"labels": labels})
    assert stamps.of("detections.x", {"labels": MappingProxyType({"b": "green"})}).rules == (("b", Label.GREEN),)


def test_labels_that_have_changed_behind_a_view_of_them_are_those_of_now():
    stamps, labels = Stamps(DEFAULTS, Label.RED), {"user": "green"}
    said = {"labels": MappingProxyType(labels), "severity": "low"}
    assert stamps.of("detections.x", said).rules == (("user", Label.GREEN),)
    labels |= {"user": "amber", "host": "amber"}
    assert stamps.of("detections.x", said).rules == (("user", Label.AMBER), ("host", Label.AMBER))
    labels["user"] = True
    with pytest.raises(FabricError):
        stamps.of("detections.x", said)


@pytest.mark.parametrize("kind", [dict, MappingProxyType])
def test_of_what_changes_while_it_is_read_nothing_else_is_remembered_than_it_was(kind, monkeypatch):
    stamps, labels, options = Stamps(DEFAULTS, Label.RED), {"user": "amber"}, {"severity": "low"}
    options["labels"] = labels if kind is dict else kind(labels)

    def others_change_it(*args, **given):
        labels["user"], options["severity"] = "green", "high"
        return publish_stamp(*args, **given)

    monkeypatch.setattr(stamps_module, "publish_stamp", others_change_it)
    stamps.of("detections.x", options)
    monkeypatch.undo()
    for _ in range(2):
        labels["user"], options["severity"] = "amber", "low"
        for again in (options, {"labels": {"user": "amber"}, "severity": "low"}):
            assert stamps.of("detections.x", again) == publish_stamp("detections.x", DEFAULTS, **again)
        labels["user"], options["severity"] = "green", "high"
        assert stamps.of("detections.x", options) == publish_stamp("detections.x", DEFAULTS, **options)


def test_so_many_are_known_at_a_time():
    stamps = Stamps(DEFAULTS, Label.RED)
    for n in range(2 * STAMPS_MAX):
        stamps.of(f"detections.x.n{n}", {})
    assert len(stamps._known) <= STAMPS_MAX
