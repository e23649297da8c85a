"""What becomes of any record, whatever is declared: nothing is raised, lost, invented, or labelled lower."""

import json

from hypothesis import assume, given
from hypothesis import strategies as st

from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import check_topic, covers
from relays.gateways.mapping import Mapped, Unfit, read_mapping
from relays.gateways.options import Options

NAMES = st.sampled_from(["a", "b", "c", "a.b", "a.b.c", "b.a", "c.c"])
PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map(".".join)
LABELS = st.sampled_from([label.short for label in Label])
SHAPES = st.recursive(
    st.none(), lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=3), max_leaves=12
)
RECORDS = st.dictionaries(NAMES, SHAPES, max_size=4)
UGLY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3)
    | st.sampled_from(["\ud800", "", "..", ">", "x" * 10_000, "9" * 5_000, 2**64, 10**4_000]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=3) | NAMES | st.integers(), inner, max_size=4),
    max_leaves=20,
)
DECLARED = st.fixed_dictionaries({}, optional={
    "topic": st.sampled_from(["d.x", "d.{a}", "d.x-{a.b}.{c}", {"template": "d.{b}", "default": "d.o"},
                              {"field": "a", "table": {"1": "d.one", "0..9": "d.few", "*": "d.o"}}]),
    "severity": st.sampled_from(["low", {"field": "a"}, {"field": "b.a", "table": {"1..2": "high"}, "default": 5}]),
    "phase": st.sampled_from([{"field": "c"}, "c2"]),
    "label": st.sampled_from([{"field": "a"}, {"field": "b", "table": {"1": "amber", "*": "clear"}}]) | LABELS,
    "labels": st.dictionaries(PATHS, LABELS, max_size=4), "time": st.sampled_from(["a", "a.b"]),
    "drop": st.lists(PATHS, min_size=1, max_size=2), "preset": st.just("ocsf"),
    "rename": st.dictionaries(PATHS, st.sampled_from(["n", "m", "a.n", "c", "n.m.o", "b"]), max_size=3),
    "set": st.dictionaries(st.sampled_from(["s", "a", "t.u"]), st.integers(0, 9), max_size=2),
})


def read(table):
    options = Options({"topic": "d.x", **table})
    mapping = read_mapping(options)
    assume(not options.faults)
    return mapping


def numbered(shape, count):
    """Each leaf has a value of its own."""
    if isinstance(shape, dict):
        return {key: numbered(item, count) for key, item in shape.items()}
    if isinstance(shape, list):
        return [numbered(item, count) for item in shape]
    count.append(None)
    return 1_000 + len(count)


def leaves(value, names=()):
    """Each value that is no holder: to the keys that lead to it."""
    if isinstance(value, dict):
        return {leaf: way for key, item in value.items() for leaf, way in leaves(item, (*names, key)).items()}
    if isinstance(value, list):
        return {leaf: way for item in value for leaf, way in leaves(item, names).items()}
    return {value: names}


def labels_of(record, rules, rest):
    pieces = FieldLabels(rules, rest).split(record)
    return {leaf: label for label, piece in pieces.items() for leaf in leaves(piece)}


def under(way, name):
    """Whether this way leads through a field of this name."""
    return any(".".join(way[:end]) == name for end in range(1, len(way) + 1))


@given(RECORDS, DECLARED, st.sampled_from(list(Label)))
def test_nothing_is_lost_invented_or_labelled_lower(shape, table, default):
    mapping = read(table)
    record = numbered(shape, [])
    before = json.dumps(record)
    found = mapping.apply(record)
    assert json.dumps(record) == before
    if isinstance(found, Unfit):
        return
    gone = [*table.get("drop", ()), *table.get("set", ())]
    stay = {leaf for leaf, way in leaves(record).items() if not any(under(way, name) for name in table.get("drop", ()))}
    come = leaves(found.content)
    assert set(come) - set(range(10)) <= stay
    lost = stay - set(come)
    assert all(any(under(leaves(record)[leaf], name) for name in gone) for leaf in lost)
    assert {name: found.content[name] for name in table.get("set", {})} == table.get("set", {})
    rest = default if found.label is None else found.label
    declared = dict(mapping.labels)
    lowest = mapping.label if isinstance(mapping.label, Label) else default if found.label is None else Label.CLEAR
    least = labels_of(record, declared, declared.get("*", lowest))
    after = labels_of(found.content, dict(found.labels), rest)
    for leaf in set(come) & stay:
        assert after[leaf] >= least[leaf], (leaf, found)
    assert found.label is None or max([rest, *found.labels.values()]) <= mapping.label_max(default)


@given(UGLY, DECLARED, st.none() | st.integers(0, 2**42))
def test_any_record_is_mapped_or_does_not_fit(value, table, now_ms):
    mapping = read(table)
    record = value if isinstance(value, dict) else {"a": value, "b": value, "c": {"c": value}, "severity_id": value,
                                                   "osint": value, "kill_chain": value, "time": value}
    found = mapping.apply(record, now_ms=now_ms)
    if isinstance(found, Unfit):
        assert found.error.detail.isprintable()
        return
    assert isinstance(found, Mapped) and isinstance(found.severity, Severity) and isinstance(found.phase, Phase)
    assert check_topic(found.topic) is None
    assert any(covers(pattern, found.topic) for pattern in mapping.patterns)
    assert all(note.isprintable() for note in found.notes)


def test_ten_thousand_keys_take_no_time_to_speak_of():
    table = {"drop": ["k1.x", "k2"], "rename": {"k3": "n"}, "labels": {"k3": "amber"}}
    mapping = read_mapping(Options({"topic": "d.x", **table}))
    record = {f"k{n}": n for n in range(10_000)}
    found = mapping.apply(record)
    assert len(found.content) == 9_999 and found.labels["n"] is Label.AMBER
