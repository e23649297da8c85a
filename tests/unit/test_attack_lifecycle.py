"""Whoever asks for actions, executes them or reports on them, and lies: what a relay makes of it."""

from contextlib import closing

import pytest

from fabric.protocol.access.permissions import CANCEL
from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Op
from fabric.protocol.envelope.layout import Kind, Terms
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.resolution import RESOLVED
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind, RequestGrant
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Nack, Role
from tests.conversation import Conversation
from tests.support import EVERYTHING, Authority, entropy, opened, verified

AUTHORITY = Authority("attacks on actions")
ME = AUTHORITY.issue("hq", NodeKind.RELAY, Label.RED)
SOAR = AUTHORITY.issue("soar-1", grants=EVERYTHING)


def relay() -> Conversation:
    return Conversation(Relay(ME.credential, ME.signer, AUTHORITY.key, b"m" * 16, entropy("relay"), ()))


def asks(topic):
    """A root's requester who may ask for everything asks for this; what came back."""
    talk = relay()
    soar = talk.connect(SOAR, Role.POINT)
    talk.attach(soar, SOAR, "hq")
    action, _, type_ = topic.partition(".")
    talk.send(soar, verified(
        SOAR, kind=Kind.ACTION, topic=topic, to="all", severity=Severity.HIGH,
        records=[{"action": action, "target": {type_: "1"}, "args": {}}],
    ))
    talk.wait(1_000)
    return talk, [code for nack in talk.heard(soar, Nack) for _, code, _ in nack.refusals]


@pytest.mark.parametrize("topic", ["x-" + "a" * 250, "deny." + "x-" * 125, ".".join("a" * 16), "deny", "deny.all"])
def test_a_grant_for_everything_is_none_for_what_is_no_action(topic):
    """Its resolution would have a topic that no message can have: it could be told to nobody."""
    talk, refused = asks(topic)
    assert refused == [Code.BAD_ACTION] and talk.count("resolved:nobody") == 0


def test_the_longest_action_has_a_resolution():
    talk, refused = asks("x-" + "a" * 62 + "." + "n" * 16 + "." + "t" * 47)
    assert not refused and talk.count("resolved:nobody") == 1
