"""A rule names fields by their keys, also in arrays; what is taken apart is put together again; a slip is seen."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.codec import pack
from fabric.protocol.base.limits import BODY_DEPTH_MAX
from fabric.protocol.envelope.field_labels import FieldLabels, _taking, label_fields, merge, near_names
from fabric.protocol.vocabulary.tlp import Label

CLEAR, GREEN, AMBER, RED = Label.CLEAR, Label.GREEN, Label.AMBER, Label.RED
HOSTS = {"hosts": [{"ip": "10.1.0.7", "name": "a"}, {"name": "b"}, {"ip": "10.1.0.8"}, "none"], "n": 4}


def split(record, rest=CLEAR, **rules):
    return FieldLabels({name.replace("__", "."): label for name, label in rules.items()}, rest).split(record)


def names(record):
    into = {}
    label_fields(record, GREEN, into)
    return list(into)


# -- arrays -----------------------------------------------------------------------------------------------------


def test_a_rule_reaches_into_every_object_of_an_array():
    pieces = split(HOSTS, hosts__ip=AMBER)
    assert pieces[AMBER] == {"hosts": [{"ip": "10.1.0.7"}, {}, {"ip": "10.1.0.8"}]}
    assert pieces[CLEAR] == {"hosts": [{"name": "a"}, {"name": "b"}, {}, "none"], "n": 4}


def test_an_array_of_which_nothing_is_left_is_not_there():
    assert split({"hosts": [{"ip": 1}, {"ip": 2}]}, hosts__ip=AMBER) == {AMBER: {"hosts": [{"ip": 1}, {"ip": 2}]}}
    pieces = split({"hosts": [{"name": "a"}, {"ip": 2}, {"ip": 3}]}, hosts__ip=AMBER)
    assert pieces[CLEAR] == {"hosts": [{"name": "a"}]}, "nor does its length tell of what was taken from its end"


@pytest.mark.parametrize("record", [
    {"a": [[{"b": 1}, {"c": 2}], [{"b": 3}]]}, {"a": [{"x": {"b": 1}}, {"b": [1, 2]}]}, {"a": ({"b": 1}, {"c": 2})},
])
def test_arrays_in_arrays_and_tuples_are_arrays_too(record):
    pieces = split(record, a__b=AMBER, a__x__b=RED)
    assert not any(name.endswith(".b") for name in names(pieces.get(CLEAR, {})))


def test_a_rule_for_an_array_is_for_all_that_is_in_it_but_what_a_longer_one_names():
    pieces = split({"hosts": [{"ip": 1, "name": 2}]}, hosts=AMBER, hosts__ip=RED)
    assert pieces == {AMBER: {"hosts": [{"name": 2}]}, RED: {"hosts": [{"ip": 1}]}}


def test_names_of_fields_in_arrays():
    assert names(HOSTS) == ["hosts.ip", "hosts.name", "hosts", "n"]
    assert names({"a": [[{"b": 1}], [{"c": []}]], "d": [], "e": [{}], "f": {}, "g": [[]]}) == [
        "a.b", "a.c", "d", "e", "f", "g"
    ]


# -- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("record", "is_named"), [
    ({"a.b.c": 1}, True), ({"a": {"b.c": 1}}, True), ({"a.b": {"c": 1}}, True), ({"a": {"b": {"c": 1}}}, True),
    ({"a": [{"b": [{"c": 1}]}]}, True), ({"a": {"b": {"c": {}}}}, True), ({"a.b": [{"c": None}]}, True),
    ({"A.b.c": 1}, False), ({"a_b_c": 1}, False), ({"a": {"c": 1}}, False), ({"a.b": 1}, False), ({"a": "b.c"}, False),
    ({"a.b.c ": 1}, False), ({"c": 1}, False), ({"a": [{"b": []}]}, True), ({"a": []}, True), ({"a": [{}]}, False),
])
def test_every_way_to_write_the_same_name_is_named_and_no_other(record, is_named):
    labels = FieldLabels({"a.b.c": RED}, CLEAR)
    assert (labels.unmatched(record) == []) is is_named
    assert (RED in labels.split(record)) is (is_named and names(record) == ["a.b.c"])


def test_a_rule_for_an_object_is_not_for_a_key_that_only_begins_like_it():
    assert split({"id": {"x": 1}, "id.x": 2}, id=AMBER) == {AMBER: {"id": {"x": 1}}, CLEAR: {"id.x": 2}}


def test_keys_that_are_numbers_are_named_as_their_readers_see_them():
    assert split({"ports": {80: "x", 443: "y"}}, ports__80=AMBER) == {
        AMBER: {"ports": {80: "x"}}, CLEAR: {"ports": {443: "y"}}
    }


def test_what_is_not_named_is_told_in_the_order_of_the_rules():
    labels = FieldLabels({"x": RED, "id.orig_h": AMBER, "*": GREEN, "y.z": RED}, CLEAR)
    assert labels.unmatched({"id.orig_h": 1}) == ["x", "y.z"]
    assert FieldLabels({"*": RED}, CLEAR).unmatched({}) == [], "what is not named otherwise may be nothing"


@pytest.mark.parametrize(("name", "near"), [
    ("src.ip", "src_ip"), ("SRC_IP", "src_ip"), ("srcip", "src_ip"), ("orig_h", "id.orig_h"), ("Hosts.IP", "hosts.ip"),
    ("hosts[].ip", "hosts.ip"), ("id_orig_h", "id.orig_h"),
])
def test_names_that_were_meant(name, near):
    record = {"src_ip": 1, "id.orig_h": 2, "hosts": [{"ip": 1}], "note": "x", "proto": "tcp"}
    assert near in near_names(name, record)
    assert near_names("quite different", record) == []


def test_near_names_are_few_and_short_whatever_is_there():
    near = near_names("k" * 5_000, {"k" * 5_000 + str(n): n for n in range(5_000)})
    assert len(near) <= 3 and all(len(name) <= 64 for name in near)


# -- whatever the record is -------------------------------------------------------------------------------------

KEYS = st.sampled_from(["a", "b", "c", "a.b", "b.c", "a.b.c", "x"])
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=25,
)
RECORDS = st.dictionaries(KEYS, VALUES, max_size=5)
RULES = st.dictionaries(
    st.lists(st.sampled_from("abcx"), min_size=1, max_size=4).map(".".join), st.sampled_from([GREEN, AMBER, RED]),
    max_size=5,
)


def leaves(value, name=()):
    """Every value that is no object and no array with something in it, by the keys to it."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*name, key))
    elif isinstance(value, list) and value:
        for item in value:
            yield from leaves(item, name)
    else:
        yield name, value


@settings(max_examples=120, deadline=None)
@given(record=RECORDS, rules=RULES)
def test_pieces_together_are_the_record_and_each_has_what_is_its_own(record, rules):
    before = copy.deepcopy(record)
    pieces = FieldLabels(rules, CLEAR).split(record)
    assert record == before

    def label_of(keys):
        ruled = [rules[".".join(keys[:n])] for n in range(len(keys), 0, -1) if ".".join(keys[:n]) in rules]
        return ruled[0] if ruled else CLEAR

    for label, piece in pieces.items():
        strange = [keys for keys, value in leaves(piece) if label_of(keys) is not label and value != {}]
        assert not strange, "written out once more, so that the code is not its own judge"
    merged = {}
    for label in sorted(pieces):
        merge(merged, copy.deepcopy(pieces[label]))
    assert merged == record
    unmatched = set(FieldLabels(rules, CLEAR).unmatched(record))
    ends = {".".join(keys[:n]) for keys, _ in leaves(record) for n in range(len(keys) + 1)}
    assert all(name not in ends for name in unmatched)


@settings(deadline=None)
@given(records=st.lists(RECORDS, max_size=6), rules=RULES)
def test_records_taken_apart_together_are_as_each_alone(records, rules):
    labels = FieldLabels(rules, GREEN)
    for _ in range(3):  # by what was remembered of their keys, too
        rows = labels.rows(records)
        assert tuple(rows) == labels.labels
        for label, row in rows.items():
            assert pack(row) == pack([labels.split(record).get(label, {}) for record in records])


def test_a_piece_has_its_fields_in_the_order_of_the_one_that_is_taken_apart_alone():
    labels = FieldLabels({"b": GREEN, "c": AMBER}, GREEN)
    record = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}
    assert {label: list(row[0]) for label, row in labels.rows([record]).items()} == {
        label: list(piece) for label, piece in labels.split(record).items()
    } == {GREEN: ["a", "d", "e", "b"], AMBER: ["c"]}


def test_keys_that_are_the_same_to_python_are_not_taken_for_each_other():
    labels = FieldLabels({"1": AMBER}, GREEN)
    assert labels.rows([{"1": 1, "a": 2}]) == {AMBER: [{"1": 1}], GREEN: [{"a": 2}]}
    for key in (1, True, 1.0):
        (found,) = [row[0] for row in labels.rows([{key: 1}]).values() if row[0]]
        assert type(next(iter(found))) is type(key)


def test_few_sets_of_keys_are_remembered_and_no_long_ones():
    labels = FieldLabels({"a": AMBER}, GREEN)
    long = [{"a": 1, "b" * 10_000: 2}, {f"b{n}": 2 for n in range(300)}]
    for n in range(2_000):
        labels.rows([{"a": 1, f"b{n}": 2}] * 2)
        assert len(labels._plans) <= 64
    labels.rows(long)
    labels.rows(long)
    assert max(map(len, labels._plans)) == 2


def test_of_keys_that_come_once_nothing_is_found_out_but_that_they_came():
    labels = FieldLabels({"a": AMBER}, GREEN)
    for n in range(2_000):
        labels.rows([{"a": 1, f"b{n}": 2}])
        assert len(labels._once) <= 256
    assert not labels._plans
    labels.rows([{"a": 1, "b1999": 2}])
    labels.rows([{"a": 1, "c": 2}, {"a": 2, "c": 3}])
    assert list(labels._plans) == [("a", "b1999"), ("a", "c")]


def test_what_is_remembered_is_of_use_also_where_there_are_more_sets_of_keys_than_have_a_place():
    labels = FieldLabels({"a": AMBER}, GREEN)

    def come_twice(name):
        for _ in range(2):
            labels.rows([{"a": 1, f"{name}{n}": 2} for n in range(100)])

    come_twice("b")
    known = list(labels._plans)
    come_twice("b")
    assert list(labels._plans) == known and len(known) == 64
    for _ in range(20):
        come_twice("c")
    assert not set(known) & set(labels._plans), "a source that sends others now is not without for ever"


def test_how_often_keys_are_compared_grows_with_their_number_and_not_with_its_square():
    compared = 0

    class Key(str):
        __slots__ = ()

        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    keys = tuple([Key(n) for n in range(200)])
    record = dict.fromkeys(keys)
    for own in (keys[:1], keys[:99], keys[50:], keys[::-1], keys):
        assert list(_taking(own, keys)([record])[0]) == list(own)
    assert compared <= 5 * len(keys)


def test_content_beyond_a_message_is_left_to_who_refuses_it():
    deep: object = {"b": 1}
    for _ in range(5_000):
        deep = [deep]
    labels = FieldLabels({"a.b": RED}, CLEAR)
    assert labels.split({"a": deep}) and labels.unmatched({"a": deep}) == ["a.b"]
    shallow: object = {"b": 1}
    for _ in range(BODY_DEPTH_MAX - 3):
        shallow = [shallow]
    assert list(labels.split({"a": shallow})) == [RED], "as deep as one may be it is found"
    assert names({"a": deep}) == ["a"]


@given(there=VALUES, comes=VALUES)
def test_whatever_two_parts_hold_they_are_merged_somehow(there, comes):
    merged = {"a": copy.deepcopy(there)}
    merge(merged, {"a": comes})
    assert list(merged) == ["a"]
