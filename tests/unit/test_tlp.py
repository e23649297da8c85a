from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.vocabulary.tlp import (
    Audience,
    Label,
    label_from_wire,
    may_carry,
    may_hold,
    most_restrictive,
    parse_label,
)


@dataclass
class Node:
    id: str = "fw-7"
    organisation: str = "acme"
    clearance: Label = Label.AMBER
    communities: tuple[str, ...] = ()
    client_of: tuple[str, ...] = ()
    is_relay: bool = False
    carries_sealed: bool = False


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


# What FIRST's TLP 2.0 says, in its words, of who gets what. The source is acme, which named globex and the community
# isac, and for RED the two persons and the relay of acme that are to have it.
#
#   RED           "for the eyes and ears of individual recipients only, no further disclosure"
#   AMBER+STRICT  "restricts sharing to the organization only"
#   AMBER         "recipients can only spread this on a need-to-know basis within their organization and its clients"
#   GREEN         "recipients can spread this within their community", also "with peers and partner organizations"
#   CLEAR         "recipients can spread this to the world, there is no limit on disclosure"
NAMED = Audience(("acme", "globex"), ("isac",), ("lead-1", "hq", "outsider-1"))
CLEAR, GREEN, AMBER, STRICT, RED = Label
WHO = {
    "a person of the source who is named": (Node("lead-1"), RED),
    "a relay of the source that is named": (Node("hq"), RED),
    "the source's organisation": (Node("fw-7"), STRICT),
    "an organisation that is named": (Node("fw-8", "globex"), STRICT),
    "a direct client of the source": (Node("fw-9", "initech", client_of=("acme",)), AMBER),
    "a direct client of who is named": (Node("fw-9", "initech", client_of=("umbrella", "globex")), AMBER),
    "a client's client": (Node("fw-9", "hooli", client_of=("initech",)), CLEAR),
    "a client's client in the community": (Node("fw-9", "hooli", communities=("isac",), client_of=("initech",)), GREEN),
    "the source's own provider": (Node("soc", "provider"), CLEAR),
    "a member of the community": (Node("fw-9", "umbrella", communities=("other", "isac")), GREEN),
    "a member of another community": (Node("fw-9", "umbrella", communities=("other",)), CLEAR),
    "a client in the community": (Node("fw-9", "initech", communities=("isac",), client_of=("acme",)), AMBER),
    "a stranger": (Node("fw-9", "umbrella"), CLEAR),
    "a stranger with a recipient's name": (Node("outsider-1", "umbrella"), CLEAR),
    "a client with a recipient's name": (Node("outsider-1", "initech", client_of=("acme",)), AMBER),
}


@pytest.mark.parametrize("who", WHO)
@pytest.mark.parametrize("label", list(Label))
def test_who_may_hold_what_is_as_tlp_defines_it(who, label):
    node, most = WHO[who]
    for clearance in Label:
        node.clearance = clearance
        assert may_hold(node, label, NAMED) == (label <= min(most, clearance))


def test_an_unknown_label_goes_where_red_goes():
    node = Node("fw-7", clearance=RED)
    assert not may_hold(node, label_from_wire(7), NAMED)
    assert may_hold(Node("lead-1", clearance=RED), label_from_wire(7), NAMED)


def test_a_community_is_no_organisation_and_a_client_no_member():
    """Names of one list mean nothing in another."""
    assert not may_hold(Node(organisation="isac"), GREEN, NAMED)
    assert not may_hold(Node(organisation="umbrella", communities=("acme",)), GREEN, NAMED)
    assert not may_hold(Node(organisation="umbrella", client_of=("isac",)), GREEN, NAMED)
    nameless = Node(organisation="umbrella", communities=("",), client_of=("",))
    assert not may_hold(nameless, GREEN, Audience(("",), ("",)))


def test_nobody_is_its_own_client():
    assert not may_hold(Node(organisation="umbrella", client_of=("umbrella",)), AMBER, NAMED)


NAMES = st.sampled_from(["acme", "globex", "isac", ""])
SOME = st.lists(NAMES, max_size=2).map(tuple)
NODES = st.builds(Node, st.sampled_from(["a", "b"]), NAMES, st.sampled_from(Label), SOME, SOME)
AUDIENCES = st.builds(Audience, SOME, SOME, st.lists(st.sampled_from(["a", "b"]), max_size=2).map(tuple))


@given(NODES, AUDIENCES)
def test_who_may_hold_a_label_may_hold_all_below_it(node, audience):
    held = [label for label in Label if may_hold(node, label, audience)]
    assert held == list(Label)[: len(held)] and CLEAR in held


@given(NODES, AUDIENCES, AUDIENCES, st.sampled_from(Label))
def test_who_is_named_besides_takes_nothing_from_those_who_were(node, audience, more, label):
    """But for recipients, of whom the first ones named take RED from everybody else."""
    both = Audience(
        audience.organisations + more.organisations, audience.communities + more.communities, audience.recipients
    )
    assert may_hold(node, label, both) or not may_hold(node, label, audience)


@given(NODES, AUDIENCES, st.sampled_from(Label))
def test_a_lower_clearance_opens_nothing(node, audience, lower):
    held = [label for label in Label if may_hold(node, label, audience)]
    node.clearance = min(node.clearance, lower)
    assert [label for label in Label if may_hold(node, label, audience)] == [x for x in held if x <= node.clearance]


def test_red_with_recipients_is_for_them_alone():
    named = Audience(("acme",), recipients=("lead-1",))
    assert may_hold(Node("lead-1", "acme", Label.RED), Label.RED, named)
    assert not may_hold(Node("hq", "acme", Label.RED), Label.RED, named)
    assert not may_hold(Node("lead-1", "globex", Label.RED), Label.RED, named)
    # Recipients narrow RED only.
    assert may_hold(Node("hq", "acme", Label.RED), Label.AMBER_STRICT, named)


def test_red_without_recipients_is_for_the_cleared_of_the_organisation():
    assert may_hold(Node("hq", "acme", Label.RED), Label.RED, ACME)
    assert not may_hold(Node("dmz", "acme", Label.AMBER_STRICT), Label.RED, ACME)


# -- what is sealed -------------------------------------------------------------------------------------------

TO_LEAD = Audience(("acme",), ("isac",), ("lead-1",))


@pytest.mark.parametrize(("node", "carries"), [
    (Node("hq", clearance=Label.RED, is_relay=True), True),
    (Node("hq", clearance=Label.AMBER_STRICT, is_relay=True), False),
    (Node("dmz", clearance=Label.CLEAR, is_relay=True, carries_sealed=True), True),
    (Node("guard", organisation="guard", clearance=Label.RED, is_relay=True), False),
    (Node("guard", organisation="guard", clearance=Label.GREEN, is_relay=True, carries_sealed=True), True),
    (Node("guard", organisation="guard", clearance=Label.RED, is_relay=True, client_of=("acme",)), False),
    (Node("member", organisation="bank", clearance=Label.RED, is_relay=True, communities=("isac",)), False),
    (Node("nameless", organisation="", clearance=Label.RED, is_relay=True), False),
    (Node("analyst-1", clearance=Label.RED), False),
    (Node("analyst-1", clearance=Label.RED, carries_sealed=True), False),
])
def test_relays_carry_what_is_sealed_and_nobody_else(node, carries):
    assert may_carry(node, TO_LEAD) is carries
    assert not may_carry(node, ACME), "what has no recipients is sealed to nobody"


def test_an_audience_of_nobody_is_carried_by_no_nameless_relay():
    nameless = Node("hq", organisation="", clearance=Label.RED, is_relay=True)
    assert not may_carry(nameless, Audience(("",), (), ("lead-1",)))
