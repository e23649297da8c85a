from dataclasses import dataclass

import pytest

from fabric.protocol.vocabulary.tlp import Audience, Label, label_from_wire, may_hold, most_restrictive, parse_label


@dataclass
class Node:
    id: str = "fw-7"
    organisation: str = "acme"
    clearance: Label = Label.AMBER


ACME = Audience(("acme",))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("TLP:CLEAR", Label.CLEAR),
        ("tlp:white", Label.CLEAR),
        ("White", Label.CLEAR),
        ("green", Label.GREEN),
        (" TLP: AMBER ", Label.AMBER),
        ("TLP:AMBER+STRICT", Label.AMBER_STRICT),
        ("tlp:amber+strict", Label.AMBER_STRICT),
        ("AMBER_AND_STRICT", Label.AMBER_STRICT),
        ("amber-strict", Label.AMBER_STRICT),
        ("TLP: AMBER + STRICT", Label.AMBER_STRICT),
        ("TLP-AMBER-STRICT", Label.AMBER_STRICT),
        ("tlp_amber_strict", Label.AMBER_STRICT),
        ("Amber  strict", Label.AMBER_STRICT),
        ("[TLP:RED]", Label.RED),
        ('"tlp:green"', Label.GREEN),
        ("TLP WHITE", Label.CLEAR),
        ("RED", Label.RED),
        ("marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", Label.CLEAR),
        ("bab4a63c-aed9-4cf5-a766-dfca5abac2bb", Label.GREEN),
        ("55d920b0-5e8b-4f79-9ee9-91f868d9b421", Label.AMBER),
        ("939a9414-2ddd-4d32-a0cd-375ea402b003", Label.AMBER_STRICT),
        ("MARKING-DEFINITION--E828B379-4E03-4974-9AC4-E53A884C97C1", Label.RED),
        ("marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9", Label.CLEAR),
        ("34098fce-860f-48ae-8e50-ebd3cc5e41da", Label.GREEN),
        ("f88d31f6-486f-44da-b317-01333bde0b82", Label.AMBER),
        ("5e57c739-391a-4eb3-b6be-7d15ca92d5ed", Label.RED),
    ],
)
def test_every_spelling_is_read(text, label):
    assert parse_label(text) is label


@pytest.mark.parametrize(
    "text",
    ["", "tlp:", "tlp", "not clear", "clear green", "cl ear", "amber+", "+clear", "strict", "purple", "TLP:EX:CHR",
     "marking-definition--", "red" * 99],
)
def test_what_is_no_label_is_none(text):
    assert parse_label(text) is None


@pytest.mark.parametrize("label", list(Label))
def test_what_is_written_is_read_again(label):
    assert parse_label(label.spelling) is parse_label(label.short) is label


def test_amber_strict_is_spelled_as_the_standard_does():
    assert Label.AMBER_STRICT.spelling == "TLP:AMBER+STRICT"
    assert Label.AMBER_STRICT.short == "amber+strict"


@pytest.mark.parametrize("n", [5, 99, -1, None, "red", 1.0, True, False, b"\x00", [0], 2**64])
def test_a_label_from_the_future_or_of_the_wrong_type_counts_as_red(n):
    assert label_from_wire(n) is Label.RED


def test_known_numbers_are_their_labels():
    assert [label_from_wire(n) for n in range(5)] == list(Label)


def test_the_most_restrictive_wins_and_none_at_all_is_red():
    assert most_restrictive(Label.GREEN, Label.AMBER_STRICT, Label.CLEAR) is Label.AMBER_STRICT
    assert most_restrictive() is Label.RED


def test_nobody_holds_above_their_clearance():
    for clearance in Label:
        for label in Label:
            assert may_hold(Node(clearance=clearance), label, ACME) == (label <= clearance)


def test_another_organisation_holds_only_what_is_clear():
    stranger = Node(organisation="globex", clearance=Label.RED)
    assert [label for label in Label if may_hold(stranger, label, ACME)] == [Label.CLEAR]


def test_each_organisation_that_the_audience_names_may_hold_it():
    both = Audience(("acme", "globex"))
    assert may_hold(Node(organisation="globex"), Label.AMBER, both)


def test_an_empty_audience_is_nobody():
    assert not may_hold(Node(), Label.GREEN, Audience(()))
    assert not may_hold(Node(organisation=""), Label.GREEN, Audience(("",)))


def test_red_with_recipients_is_for_them_alone_relays_included():
    named = Audience(("acme",), recipients=("lead-1",))
    assert may_hold(Node("lead-1", "acme", Label.RED), Label.RED, named)
    assert not may_hold(Node("hq", "acme", Label.RED), Label.RED, named)
    assert not may_hold(Node("lead-1", "globex", Label.RED), Label.RED, named)
    # Recipients narrow RED only.
    assert may_hold(Node("hq", "acme", Label.RED), Label.AMBER_STRICT, named)


def test_red_without_recipients_is_for_the_cleared_of_the_organisation():
    assert may_hold(Node("hq", "acme", Label.RED), Label.RED, ACME)
    assert not may_hold(Node("dmz", "acme", Label.AMBER_STRICT), Label.RED, ACME)
