import copy
import zlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.codec import count, pack, plain_elements, shapes_of
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import BODY_BYTES_MAX, SALT_BYTES
from fabric.protocol.envelope import parts as parts_module
from fabric.protocol.envelope.field_labels import FieldLabels
from fabric.protocol.envelope.header import Encoding, PartEntry
from fabric.protocol.envelope.layout import part_digest
from fabric.protocol.envelope.parts import (
    Budget,
    _names_chars,
    _plain_names_chars,
    build_parts,
    decode_part,
    padme,
    read_records,
)
from fabric.protocol.vocabulary.tlp import Label
from tests.support import Authority, draft, entropy

CLEAR, GREEN, AMBER, RED = Label.CLEAR, Label.GREEN, Label.AMBER, Label.RED
ZEEK = {"id.orig_h": "10.1.0.7", "id": {"resp_h": "203.0.113.9", "resp_p": 443}, "proto": "tcp", "note": None}
MEMBER = Authority("parts").issue("zeek-1")


def build(records, rules=None, label=GREEN, seed="parts"):
    return build_parts(records, FieldLabels(rules or {}, label), label, entropy(seed))


def read(records, rules=None, label=GREEN, without=()):
    header, parts = draft(MEMBER, records=records, rules=rules, label=label)
    kept = [None if entry.label in without else part for entry, part in zip(header.manifest, parts, strict=True)]
    return read_records(header, kept)


def entry_for(body, size=None, encoding=Encoding.PLAIN, content_type=0):
    return PartEntry(GREEN, content_type, int(encoding), len(body) if size is None else size, part_digest(body))


def body_of(rows):
    packed = pack(rows)
    return len(packed).to_bytes(4) + packed


# -- which field gets which label -----------------------------------------------------------------------


def test_a_literal_key_is_found_before_a_path():
    split = FieldLabels({"id.orig_h": AMBER}, GREEN).split(ZEEK)
    assert split[AMBER] == {"id.orig_h": "10.1.0.7"}
    assert split[GREEN] == {"id": {"resp_h": "203.0.113.9", "resp_p": 443}, "proto": "tcp", "note": None}


def test_a_path_takes_one_field_out_of_a_nested_object():
    split = FieldLabels({"id.resp_h": AMBER}, GREEN).split(ZEEK)
    assert split[AMBER] == {"id": {"resp_h": "203.0.113.9"}}
    assert split[GREEN]["id"] == {"resp_p": 443}


def test_a_literal_key_does_not_shield_the_field_that_the_path_names():
    split = FieldLabels({"a.b": AMBER}, GREEN).split({"a.b": 1, "a": {"b": 2}, "c": 3})
    assert split == {AMBER: {"a.b": 1, "a": {"b": 2}}, GREEN: {"c": 3}}


@pytest.mark.parametrize("rules", [{"a.b": AMBER, "a": AMBER}, {"a": AMBER, "a.b": AMBER}])
def test_a_rule_for_an_object_and_one_for_its_field_lose_nothing(rules):
    assert FieldLabels(rules, GREEN).split({"a": {"b": 1, "c": 2}}) == {AMBER: {"a": {"b": 1, "c": 2}}}


def test_a_star_names_the_label_of_everything_else():
    split = FieldLabels({"id.orig_h": RED, "*": AMBER}, CLEAR).split(ZEEK)
    assert list(split) == [RED, AMBER]


@pytest.mark.parametrize("path", ["id.none", "proto.x", "none.none", "id.resp_h.x", "note.x"])
def test_a_path_that_leads_nowhere_takes_nothing(path):
    assert FieldLabels({path: RED}, GREEN).split(ZEEK) == {GREEN: ZEEK}


def test_the_callers_record_stays_as_it_was():
    before = copy.deepcopy(ZEEK)
    FieldLabels({"id.resp_h": AMBER, "id.orig_h": RED, "id": AMBER, "proto": AMBER}, GREEN).split(ZEEK)
    assert before == ZEEK


# -- parts ----------------------------------------------------------------------------------------------


def test_one_part_for_each_label_that_has_fields():
    manifest, parts = build([ZEEK], {"proto": AMBER, "none": RED})
    assert [entry.label for entry in manifest] == [GREEN, AMBER]
    assert [part_digest(part) for part in parts] == [entry.digest for entry in manifest]


def test_a_value_is_in_the_part_of_its_label_and_in_no_other():
    manifest, parts = build([ZEEK], {"id.orig_h": AMBER})
    found = [entry.label for entry, part in zip(manifest, parts, strict=True) if b"10.1.0.7" in part]
    assert found == [AMBER]


def test_the_same_content_has_another_digest_with_another_salt():
    assert build([ZEEK], seed=1)[0][0].digest != build([ZEEK], seed=2)[0][0].digest


def test_every_part_has_a_salt_of_its_own():
    _, parts = build([ZEEK], {"proto": AMBER, "note": RED})
    assert len({part[:SALT_BYTES] for part in parts}) == 3


def test_a_part_above_the_envelopes_label_tells_no_length():
    sizes = {build([{"ip": "x" * n}], {"ip": AMBER})[0][1].size for n in range(100, 120)}
    assert len(sizes) <= 4
    exact = {build([{"ip": "x" * n}], label=AMBER)[0][0].size for n in range(100, 120)}
    assert len(exact) == 20


@pytest.mark.parametrize("size", [0, 1, 2, 9, 100, 1_000, 12_345, 10**6, BODY_BYTES_MAX])
def test_padding_adds_at_most_an_eighth(size):
    assert size <= padme(size) <= size + size // 8 + 1
    assert padme(padme(size)) == padme(size)


def test_padding_leaves_few_sizes():
    assert len({padme(size) for size in range(1, 2**16)}) < 500


def test_large_content_is_compressed_and_red_never_is():
    text = {"log": "denied " * 500}
    assert build([text])[0][0].encoding == Encoding.ZLIB
    manifest, parts = build([text], label=RED)
    assert manifest[0].encoding == Encoding.PLAIN and text["log"].encode() in parts[0]


def test_what_zlib_cannot_shrink_stays_plain():
    assert build([{"blob": entropy("blob")(2_000)}])[0][0].encoding == Encoding.PLAIN


@pytest.mark.parametrize("content", [{"x": object()}, {"x": {1, 2}}, {"x": 2**70}, {"x": "\ud800"}])
def test_content_that_is_no_plain_value_is_the_callers_fault(content):
    with pytest.raises(FabricError) as caught:
        build([content])
    assert caught.value.code is Code.BAD_INPUT


@pytest.mark.parametrize("records", [
    [], [{}], [{"a": 1, "bc": "x", "d": None}, {"ä": b"1", "e": 1.5, "f": True}], [{"a": {}}], [{1: 2}], [{True: 2}],
    [{"a": [1]}], [{f"n{n}": n for n in range(400)}],
])
def test_what_plain_records_cost_is_what_reading_them_costs(records):
    shapes = shapes_of(records)
    is_flat = all(type(key) is str and not isinstance(value, list | dict) for r in records for key, value in r.items())
    assert (shapes is not None) == is_flat
    if shapes is not None:
        elements = count(pack(records), elements_max=10_000, depth_max=8)
        assert plain_elements(shapes) == elements
        assert _plain_names_chars(shapes) == sum(_names_chars(record, 0) for record in records)


def test_content_that_does_not_fit_one_part_is_the_callers_fault():
    with pytest.raises(FabricError) as caught:
        build([{"blob": entropy("blob")(210_000)}])
    assert caught.value.code is Code.TOO_LARGE


# -- what the reader gets -------------------------------------------------------------------------------


def test_the_reader_gets_every_record_whole_and_in_order():
    records = [{"n": n, "src": {"ip": f"10.0.0.{n}", "port": n}} for n in range(5)]
    readings = read(records, {"src.ip": AMBER, "n": RED})
    assert [reading.content for reading in readings] == records
    assert readings[0].labels == {"n": RED, "src.ip": AMBER, "src.port": GREEN}
    assert not readings[0].withheld


def test_what_was_withheld_is_said_and_not_in_the_content():
    (reading,) = read([ZEEK], {"id.orig_h": AMBER, "proto": RED}, without=(AMBER, RED))
    assert reading.content == {"id": {"resp_h": "203.0.113.9", "resp_p": 443}, "note": None}
    assert reading.withheld == {AMBER: 1, RED: 1}


def test_when_all_is_withheld_each_record_is_empty():
    assert [r.content for r in read([ZEEK, ZEEK], without=(GREEN,))] == [{}, {}]


def test_a_record_without_fields_of_a_label_does_not_shift_the_others():
    readings = read([{"a": 1}, {"b": 2}, {"a": 3, "b": 4}], {"b": AMBER})
    assert [reading.content for reading in readings] == [{"a": 1}, {"b": 2}, {"a": 3, "b": 4}]


NESTED = st.sampled_from([[], {}, [{"a": 1}], {"b": {"c": 1}}, [[], 1]])
VALUES = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=2) | NESTED
FEW_NAMES = st.sampled_from(["a", "b", "a.b", "c"])


@settings(deadline=None)
@given(
    st.lists(st.lists(st.dictionaries(FEW_NAMES, VALUES, max_size=3), min_size=3, max_size=3), max_size=3),
    st.lists(st.sampled_from(Label), min_size=3, max_size=3),
)
def test_what_is_read_does_not_depend_on_the_way_in_which_it_is_read(tables, labels):
    """Also where a publisher has put one field into several parts, of whatever labels."""
    bodies = [body_of(rows) for rows in tables]
    manifest = [entry_for(body)._replace(label=label) for body, label in zip(bodies, labels, strict=False)]
    header = replace(draft(MEMBER, records=[{}] * 3)[0], manifest=tuple(manifest))

    def seen():
        readings = read_records(header, [bytes(SALT_BYTES) + body for body in bodies])
        return [(list(each.content.items()), list(each.labels.items()), each.withheld) for each in readings]

    quick = seen()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(parts_module, "unpack_rows", lambda *_, **__: None)
        assert repr(seen()) == repr(quick)


def test_each_record_has_its_labels_for_itself():
    one, two = read([{"a": 1}, {"a": 2}])
    one.labels["b"] = RED  # type: ignore[index]
    assert two.labels == {"a": GREEN} and two.content == {"a": 2}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (body_of([{}]), {"content_type": 1}),
        (body_of([{}]), {"encoding": 2}),
        (body_of([{}]), {"encoding": Encoding.ZLIB}),
        (body_of([{}]), {"size": 99}),
        (b"\x00\x00\x00", {}),
        (b"\x00\x00\x00\x09" + pack([{}]), {}),
        (body_of([{}, {}]), {}),
        (body_of({}), {}),
        (body_of([[]]), {}),
        (body_of([1]), {}),
        (b"\x00\x00\x00\x01\xc1", {}),
        (b"\x00\x00\x00\x05\xdd\xff\xff\xff\xff", {}),
        (b"\x00\x00\x01\x00" + b"\x91" * 256, {}),
        (zlib.compress(b"\x00" * 1_000_000), {"encoding": Encoding.ZLIB, "size": 500}),
        (zlib.compress(b"\x00" * 500), {"encoding": Encoding.ZLIB, "size": 1_000_000}),
    ],
)
def test_a_body_that_is_not_what_the_manifest_says_is_refused(body, fields):
    result = decode_part(entry_for(body, **fields), bytes(SALT_BYTES) + body, records=1, budget=Budget())
    assert isinstance(result, Reject) and result.code is Code.BAD_BODY


def test_a_zip_bomb_costs_no_more_than_the_size_that_was_signed():
    bomb = zlib.compress(bytes(50_000_000), 9)
    entry = entry_for(bomb, size=100, encoding=Encoding.ZLIB)
    assert decode_part(entry, bytes(SALT_BYTES) + bomb, 1, Budget()) == Reject(Code.BAD_BODY, "size")


def test_a_refused_body_is_not_quoted():
    body = body_of(["secret value"])
    result = decode_part(entry_for(body), bytes(SALT_BYTES) + body, records=1, budget=Budget())
    assert "secret" not in str(result)


def test_a_map_that_a_path_empties_goes_and_one_that_was_empty_stays():
    labels = FieldLabels({"a.b.c": Label.AMBER}, Label.GREEN)
    record = {"a": {"b": {"c": 1}}, "e": {}, "n": 2}
    assert labels.split(record) == {Label.AMBER: {"a": {"b": {"c": 1}}}, Label.GREEN: {"e": {}, "n": 2}}
    assert record == {"a": {"b": {"c": 1}}, "e": {}, "n": 2}
    assert labels.split({"a": {"b": {"c": 1}, "d": 2}})[Label.GREEN] == {"a": {"d": 2}}
