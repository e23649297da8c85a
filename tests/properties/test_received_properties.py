"""For any JSON: it is a message with the types that a message has, or it is refused by name."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.identity.identity import Defaults
from fabric.edge.messages import Message
from fabric.edge.publishing.relabelling import relabelled
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Relabels
from fabric.protocol.vocabulary.tlp import Label
from relays.reading.received import message_in
from tests.support import derive

FAST = settings(max_examples=150, deadline=None)
LEAF = derive("old").hex()
WHOLE = {
    "id": f"{LEAF[:32]}.0", "topic": "a.b", "kind": "event", "origin": "zeek-1", "severity": "high", "phase": "none",
    "label": "amber", "issued_at": 1, "ttl_ms": 60_000, "age_ms": 0, "content": {"a": 1}, "labels": {"a": "amber"},
    "withheld": {}, "audience": {"organisations": ["acme"]}, "leaf": LEAF,
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=4), inside, max_size=3),
    max_leaves=8,
)
# A few names of a whole line have something else, or near it.
CHANGES = st.dictionaries(st.sampled_from(list(WHOLE)), JSON | st.sampled_from(list(WHOLE.values())), max_size=3)


@FAST
@given(CHANGES, st.sets(st.sampled_from(list(WHOLE)), max_size=1))
def test_a_line_is_a_message_or_is_refused_by_name(changes, missing):
    said = {name: value for name, value in {**WHOLE, **changes}.items() if name not in missing}
    try:
        message = message_in(said)
    except FabricError as error:
        assert error.code is Code.BAD_INPUT
        return
    assert isinstance(message, Message) and message.to_json()["leaf"] == LEAF
    assert isinstance(message.label, Label) and isinstance(message.content, dict) and len(message.leaf) == 32
    try:
        stamp, content = relabelled(message, "acme", Defaults(Label.AMBER, {}), label="clear")
    except FabricError:
        return  # of a word that means nothing, or no lower label
    assert stamp.label is Label.CLEAR and content == message.content
    assert isinstance(stamp.relabels, Relabels) and stamp.relabels.label > Label.CLEAR


def test_a_whole_line_is_one():
    assert message_in(WHOLE).label is Label.AMBER
