"""What a program publishes has the fields that its labels name, or is not taken."""

import pytest

from fabric.edge.publishing.labelling import KnownLabels, Labelling, unmatched_words
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label


def test_what_has_every_field_passes_and_what_lacks_one_is_refused_by_names_only():
    labelling = Labelling()
    rules = (("src_ip", Label.AMBER), ("hosts.ip", Label.RED))
    labelling.require(rules, {"src_ip": 1, "hosts": [{"ip": 2}]})
    labelling.require((), {})
    with pytest.raises(FabricError) as refused:
        labelling.require(rules, {"src.ip": "10.1.0.7", "hosts": [{"IP": "10.1.0.8"}]})
    assert refused.value.code is Code.UNMATCHED_LABEL
    assert "src_ip (there is src.ip" in refused.value.detail and "10.1.0" not in refused.value.detail


def test_many_names_are_told_by_number():
    words = unmatched_words([f"f{n}" for n in range(9)], {})
    assert words == "f0; f1; f2; f3; f4; and 4 more"


def test_rules_that_are_remembered_are_bounded():
    known = KnownLabels()
    for n in range(3_000):
        known.of(((f"f{n}", Label.RED),), Label.GREEN)
    assert len(known._known) <= 1_024


def test_the_same_rules_are_computed_once_for_each_label_of_the_rest():
    known, rules = KnownLabels(), (("a", Label.RED),)
    green = known.of(rules, Label.GREEN)
    assert known.of((("a", Label.RED),), Label.GREEN) is green and known.of(rules, Label.AMBER) is not green
