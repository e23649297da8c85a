"""A message for who is cleared for less: the same as if a hop on the way had taken the parts out."""

from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.messages import Message
from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.envelope.field_labels import FieldLabels, label_fields, merge
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.narrowing import narrowed

LABELS = st.sampled_from(list(Label))


def message(content, labels, label=Label.CLEAR, withheld=()):
    return Message(
        f"{1:032x}.0", "detections.x", "event", "s", Severity.LOW, Phase.NONE, label, 1, 1000, 0, ("hq",), content,
        labels, dict(withheld),
    )


def test_fields_above_it_are_taken_out_and_said_to_be_withheld():
    found = message(
        {"rule": "scan", "src": "10.1.0.7", "who": {"name": "eve", "host": "a"}},
        {"rule": Label.CLEAR, "src": Label.AMBER, "who.name": Label.RED, "who.host": Label.GREEN},
        withheld={Label.RED: 1},
    )
    seen = narrowed(found, Label.GREEN)
    assert seen.content == {"rule": "scan", "who": {"host": "a"}}
    assert seen.labels == {"rule": Label.CLEAR, "who.host": Label.GREEN}
    assert seen.withheld == {Label.RED: 2, Label.AMBER: 1} and seen.highest_label is Label.GREEN
    assert found.content["src"] == "10.1.0.7" and found.content["who"]["name"] == "eve", "the other is as it was"


def test_a_message_whose_envelope_is_above_it_is_not_there_at_all():
    assert narrowed(message({"a": 1}, {"a": Label.AMBER}, Label.AMBER), Label.GREEN) is None


def test_what_is_within_it_is_the_same_message():
    found = message({"a": 1}, {"a": Label.AMBER}, Label.AMBER)
    assert narrowed(found, Label.AMBER) is found and narrowed(found, Label.RED) is found


def test_a_field_whose_label_nobody_knows_goes_with_what_is_above():
    seen = narrowed(message({"a": 1, "b": 2, "stray": 3}, {"a": Label.CLEAR, "b": Label.RED}), Label.AMBER)
    assert seen.content == {"a": 1}


KEYS = st.text("ab.*1", min_size=1, max_size=3)
PLAIN = st.integers(0, 9) | st.sampled_from(["x", None, True])
VALUES = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
RECORDS = st.dictionaries(KEYS | st.integers(0, 2), VALUES, max_size=5)
RULES = st.dictionaries(st.text("ab.*", min_size=1, max_size=5), LABELS, max_size=6)


def copied(record):
    return unpack(pack(record), bytes_max=10**6, elements_max=10**5, depth_max=64)


def read(parts):
    """What a reader has of these parts, as the protocol puts them together."""
    content, labels = {}, {}
    for label, piece in parts.items():
        label_fields(piece, label, labels)
        merge(content, copied(piece))
    return content, labels


@given(record=RECORDS, rules=RULES, rest=LABELS, label_max=LABELS)
def test_it_is_what_a_reader_of_that_clearance_would_have_got(record, rules, rest, label_max):
    parts = dict(sorted(FieldLabels(rules, rest).split(copied(record)).items()))
    content, labels = read(parts)
    before = copied(content)
    seen = narrowed(message(content, labels), label_max)
    within, within_labels = read({label: piece for label, piece in parts.items() if label <= label_max})
    assert content == before
    assert all(label <= label_max for label in seen.labels.values())
    found = {}
    label_fields(seen.content, Label.CLEAR, found)
    assert found.keys() <= seen.labels.keys(), "and nothing is left whose label is not said"
    # One name may stand for fields of several parts, where a key has dots in it: then all of them go.
    if all(labels[name] == label for name, label in within_labels.items()):
        assert seen.content == within and seen.labels == within_labels


@given(content=RECORDS, labels=st.dictionaries(st.text("ab.*1", min_size=1, max_size=5), LABELS, max_size=8),
       label_max=LABELS)
def test_whatever_labels_a_message_has_nothing_is_left_that_is_above(content, labels, label_max):
    seen = narrowed(message(content, labels), label_max)
    if seen.content is not content:
        found = {}
        label_fields(seen.content, Label.CLEAR, found)
        assert not [name for name in found if labels.get(name, Label.CLEAR) > label_max]


def test_messages_with_many_fields_and_others_with_the_same_names_do_not_mix():
    """What is remembered of one message's labels is for those with just the same ones."""
    for count in (3, 100, 3):
        names = [f"f{number}" for number in range(count)]
        for high in (names[0], names[-1]):
            labels = {name: Label.RED if name == high else Label.CLEAR for name in names}
            seen = narrowed(message(dict.fromkeys(names, 1), labels), Label.GREEN)
            assert set(names) - set(seen.content) == {high}
