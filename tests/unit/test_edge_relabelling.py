"""A message that was received, again at a lower label: what is signed of it, and what is refused by its number."""

import pytest

from fabric.edge.identity.identity import Defaults
from fabric.edge.messages import Message
from fabric.edge.publishing.relabelling import highest_of, relabelled
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind, Relabels
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.support import derive

DEFAULTS = Defaults(Label.AMBER, {})
LEAF = derive("old")
HOUR_MS = 3_600_000


def received(**said):
    fields = {
        "id": f"{LEAF[:16].hex()}.3", "topic": "detections.zeek.conn", "kind": "event", "origin": "zeek-1",
        "severity": Severity.HIGH, "phase": Phase.DELIVERY, "label": Label.GREEN, "issued_at_ms": 1, "ttl_ms": HOUR_MS,
        "age_ms": 7, "path": ("hq",), "content": {"rule": "scan", "src": {"ip": "10.1.0.7"}},
        "labels": {"rule": Label.GREEN, "src.ip": Label.AMBER}, "withheld": {}, "audience": Audience(("acme",)),
        "leaf": LEAF,
    }
    return Message(**{**fields, **said})


def again(message=None, label="green", own="acme", **said):
    return relabelled(message or received(), own, DEFAULTS, label=label, **said)


def code_of(*args, **said):
    with pytest.raises(FabricError) as raised:
        again(*args, **said)
    assert raised.value.next_step
    return raised.value.code


def test_all_of_it_bears_the_lower_label_and_names_what_it_was():
    stamp, content = again()
    assert (stamp.label, stamp.rules, stamp.relabels) == (Label.GREEN, (), Relabels(LEAF, 3, Label.AMBER))
    assert content == received().content
    assert (stamp.kind, stamp.topic, stamp.severity, stamp.phase, stamp.ttl_ms) == (
        Kind.EVENT, "detections.zeek.conn", Severity.HIGH, Phase.DELIVERY, HOUR_MS
    )


def test_intel_stays_intel():
    stamp, _ = again(received(kind="intel", topic="intel.ipv4", label=Label.AMBER, labels={}))
    assert stamp.kind is Kind.INTEL and stamp.relabels.label is Label.AMBER


@pytest.mark.parametrize(("audience", "own", "kept"), [
    (Audience(("acme",)), "acme", None), (Audience(("acme",)), "guard", Audience(("acme",))),
    (Audience(("acme", "msp"), ("isac",)), "acme", Audience(("msp",), ("isac",))),
    (Audience(("acme",), (), ("lead-1", "hq")), "acme", None),
])
def test_it_is_for_whom_it_was_but_recipients_narrow_red_only(audience, own, kept):
    assert again(received(audience=audience), own=own)[0].audience == kept


def test_whom_it_is_for_and_how_long_it_lives_may_be_said():
    stamp, _ = again(audience={"communities": ["isac"]}, ttl="10m")
    assert (stamp.audience, stamp.ttl_ms) == (Audience((), ("isac",)), 600_000)


@pytest.mark.parametrize("label", ["amber", "amber+strict", "red", Label.AMBER])
def test_a_label_that_is_not_lower_is_refused(label):
    assert code_of(label=label) is Code.NOT_LOWERED


def test_only_of_what_is_there_may_be_said_that_it_was_lowered():
    """The field above the envelope's label is left out: what remains is no higher than it was asked for."""
    assert code_of(fields=["rule"]) is Code.NOT_LOWERED
    stamp, content = again(fields=["rule"], label="clear")
    assert (stamp.relabels.label, content) == (Label.GREEN, {"rule": "scan"})
    stamp, content = again(fields=["src"], label="clear")
    assert (stamp.relabels.label, content) == (Label.AMBER, {"src": {"ip": "10.1.0.7"}})
    assert highest_of(received()) is Label.AMBER and highest_of(received(), ["rule"]) is Label.GREEN


def test_what_was_withheld_is_not_re_issued_unless_somebody_says_what_is():
    message = received(withheld={Label.RED: 2})
    with pytest.raises(FabricError) as raised:
        again(message)
    assert raised.value.code is Code.NOT_WHOLE and raised.value.detail.endswith(": 2 red")
    assert again(message, fields=["rule", "src", "rule"])[1] == message.content


@pytest.mark.parametrize("fields", [["user"], ["rule", "user"], [], ["src.ip"], "user"])
def test_a_field_that_is_not_there_is_named(fields):
    assert code_of(fields=fields) is Code.USAGE


@pytest.mark.parametrize("message", [
    received(kind="gap"), received(kind="result"), received(leaf=b""), received(leaf=LEAF[:16]), received(id="x"),
    received(id="x.y"), received(id=f"x.{10**9}"), {"id": "x.0"}, "x",
])
def test_what_was_not_received_is_not_re_issued(message):
    assert code_of(message) is Code.USAGE


def test_words_that_mean_nothing_are_refused_as_ever():
    assert code_of(label="purple") is Code.BAD_LABEL
    assert code_of(audience="msp") is Code.BAD_AUDIENCE
    assert code_of(ttl="99d") is Code.TTL_TOO_LONG
