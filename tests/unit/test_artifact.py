"""What a requester believes of what a target says that it left."""

import pytest

from fabric.edge.artifacts.artifact import Artifact, read_artifacts
from fabric.protocol.base.limits import ARTIFACTS_MAX
from fabric.protocol.vocabulary.tlp import Label

SAID = {"id": "0123456789abcdef", "name": "a.bin", "bytes": 3, "sha256": "ab" * 32, "label": "amber", "until": 5}


def read(*said, label=Label.GREEN):
    return read_artifacts(list(said), target="fw-1", action="cd" * 32, label=label)


def test_what_it_names():
    (one,) = read(SAID)
    assert one == Artifact(
        "0123456789abcdef", "a.bin", 3, "ab" * 32, Label.AMBER, 5, "fw-1", "cd" * 32, Label.GREEN
    )
    assert read(one.to_book()) == (one,)
    assert one.to_json() == {**SAID, "action": "cd" * 32, "target": "fw-1"}


@pytest.mark.parametrize("wrong", [
    {"id": "../x"}, {"id": 7}, {"id": "0123456789ABCDEF"}, {"sha256": "ab"}, {"sha256": None}, {"bytes": -1},
    {"bytes": True}, {"bytes": 2**60}, {"bytes": "3"}, {"until": None}, {"name": None}, {"name": b"x"},
])  # fmt: skip
def test_what_cannot_be_one_is_left_out(wrong):
    assert read({**SAID, **wrong}, SAID) == read(SAID)


@pytest.mark.parametrize("said", [None, 7, "x", {}, [None, 7, [], "x"], b"x"])
def test_what_is_no_list_of_them(said):
    assert read_artifacts(said, target="fw-1", action="", label=Label.CLEAR) == ()


def test_their_names_are_safe_and_distinct_and_their_number_is_bounded():
    found = read(*[{**SAID, "name": "../x\n"}] * (ARTIFACTS_MAX + 5))
    assert len(found) == ARTIFACTS_MAX and [one.name for one in found[:3]] == ["x_", "x_-2", "x_-3"]


def test_a_label_is_never_below_the_result_s_and_one_that_is_not_known_is_the_highest():
    labels = [read({**SAID, "label": label}, label=Label.AMBER)[0].label for label in ("clear", "red", "purple", 7)]
    assert labels == [Label.AMBER, Label.RED, Label.RED, Label.RED]
