"""What a reader may see of objects, as bundles: nothing above its clearance, nothing that points at it, and valid."""

import json
from dataclasses import replace

import pytest
import stix2
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.stix.markings import Markings
from relays.gateways.stix.outgoing import Outgoing, definition_of, selects
from relays.gateways.stix.requirements import is_whole, mended
from tests.unit.gateways.stix_support import id_of, indicator, published, sdo, seen
from tests.unit.gateways.test_stix_markings import AMBER, CLEAR, GREEN, OTHER, OWN, RED, STRICT, definition, granular

LABEL_OF = {CLEAR: Label.CLEAR, GREEN: Label.GREEN, AMBER: Label.AMBER, STRICT: Label.AMBER_STRICT, RED: Label.RED}
STATEMENT = definition(
    OWN, spec_version="2.1", created="2026-01-01T00:00:00.000Z", definition_type="statement",
    definition={"statement": "Copyright"},
)


def out(objects, clearance=Label.RED, outgoing=None):
    """The objects of a bundle that a reader gets, without definitions of TLP, and all of it."""
    messages = [each for mapped in published(objects) if (each := seen(mapped, clearance)) is not None]
    found = (outgoing or Outgoing()).of(messages)
    return [each for each in found.objects if "tlp_2_0" not in json.dumps(each.get("extensions", {}))], found


def test_an_object_goes_out_as_it_came_but_marked_with_tlp_2():
    amber_1 = "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"
    each = sdo("malware", 1, is_family=True, name="x", object_marking_refs=[amber_1, OWN])
    (only, statement), found = out([each, STATEMENT])
    assert only == {**each, "object_marking_refs": [AMBER, OWN]}
    assert statement == {**STATEMENT, "object_marking_refs": [GREEN]}
    assert [each["id"] for each in found.objects] == [GREEN, AMBER, each["id"], OWN]
    stix2.parse({"type": "bundle", "id": id_of("bundle", 1), "objects": found.objects})


def test_a_field_that_is_withheld_takes_along_what_cannot_be_without_it():
    references = [{"source_name": "a", "url": "u"}, {"source_name": "b", "external_id": "1"}]
    each = sdo("malware", 1, is_family=False, description="x", object_marking_refs=[GREEN],
        external_references=references,
               granular_markings=granular(description=RED, external_references__url=AMBER))
    (only,), _ = out([each], Label.GREEN)
    assert "description" not in only and only["external_references"] == references[1:]
    (only,), _ = out([each], Label.AMBER)
    assert only["external_references"] == references
    assert only["granular_markings"] == [{"marking_ref": AMBER, "selectors": ["external_references"]}]
    (only,), _ = out([each], Label.RED)
    assert only["granular_markings"][1] == {"marking_ref": RED, "selectors": ["description"]}


def test_what_an_object_cannot_be_without_takes_it_along_and_what_refers_to_it():
    identity = sdo("identity", 1, name="Eve", object_marking_refs=[GREEN], granular_markings=granular(name=RED))
    malware = sdo("malware", 2, is_family=False, created_by_ref=identity["id"], object_marking_refs=[GREEN])
    related = sdo("relationship", 3, relationship_type="authored-by", source_ref=malware["id"],
        target_ref=identity["id"])
    about = sdo("note", 4, content="on the relationship", object_refs=[related["id"]])
    report = sdo("report", 5, name="all", published="2026-01-01T00:00:00Z", object_refs=[
        each["id"] for each in (identity, malware, related, about)])
    objects = [report, about, related, malware, identity]
    left, found = out(objects, Label.GREEN)
    assert {each["id"] for each in left} == {report["id"], malware["id"]}
    assert {each["type"]: each.get("object_refs") for each in left}["report"] == [malware["id"]]
    assert all("created_by_ref" not in each for each in left)
    assert (found.left_out, found.not_stix) == (3, 0)
    assert len(out(objects, Label.RED)[0]) == 5


def test_it_remembers_what_it_left_out_until_it_may_be_seen():
    outgoing = Outgoing()
    identity = sdo("identity", 1, name="Eve", object_marking_refs=[GREEN], granular_markings=granular(name=RED))
    out([identity], Label.GREEN, outgoing)
    malware = sdo("malware", 2, is_family=False, created_by_ref=identity["id"])
    assert "created_by_ref" not in out([malware], Label.GREEN, outgoing)[0][0]
    out([{**identity, "granular_markings": []}], Label.GREEN, outgoing)
    assert "created_by_ref" in out([malware], Label.GREEN, outgoing)[0][0]


def test_own_granular_markings_stay_as_far_as_what_they_are_for_is_there():
    own = [{"marking_ref": OWN, "selectors": ["name", "description", "nothing"]}, {"lang": "fr", "selectors": ["name"]},
           {"marking_ref": OTHER, "selectors": ["nothing"]}, "x", {"marking_ref": RED, "selectors": ["aliases.[1]"]}]
    each = sdo("malware", 1, is_family=True, name="x", description="y", aliases=["a", "b"], object_marking_refs=[GREEN],
               granular_markings=own)
    del own[3]
    (only, _), _ = out([each, STATEMENT])
    assert only["granular_markings"] == [
        {"marking_ref": RED, "selectors": ["aliases"]}, {"marking_ref": OWN, "selectors": ["name", "description"]},
        {"lang": "fr", "selectors": ["name"]},
    ]
    (only, _), _ = out([each, STATEMENT], Label.GREEN)
    assert "granular_markings" not in only and "aliases" not in only, "they named what is withheld"


def test_nobody_says_anew_what_tlp_means():
    white = definition(AMBER, spec_version="2.1", created="2026-01-01T00:00:00.000Z", definition_type="tlp",
                       definition={"tlp": "white"})
    amber_1 = {**white, "id": "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"}
    left, found = out([white, amber_1, STATEMENT])
    assert [each["id"] for each in left] == [OWN]
    assert [each["id"] for each in found.objects] == [GREEN, OWN]


def test_an_id_that_was_computed_from_what_is_withheld_is_withheld_too():
    account = {
        "type": "user-account", "spec_version": "2.1", "id": "user-account--0d5b424b-93b8-5cd8-ac36-306e1789d63c",
        "user_id": "1001", "display_name": "Eve", "object_marking_refs": [GREEN],
    }
    given = {**account, "granular_markings": granular(user_id=RED)}
    watched = sdo("note", 1, content="x", object_refs=[account["id"], id_of("malware", 1)])
    (note,), found = out([given, watched], Label.GREEN)
    assert note["object_refs"] == [id_of("malware", 1)] and found.left_out == 1
    assert out([given], Label.RED)[0][0]["user_id"] == "1001" and len(out([account], Label.GREEN)[0]) == 1
    (chosen,), _ = out([{**given, "id": "user-account--0d5b424b-93b8-4cd8-ac36-306e1789d63c"}], Label.GREEN)
    assert "user_id" not in chosen, "an id that says nothing"


def test_what_is_no_stix_is_counted_and_nothing_else():
    objects = [sdo("malware", 1, is_family=False), sdo("malware", 2, is_family=True)]
    messages = [seen(mapped) for mapped in published(objects)]
    plain = replace(messages[0], content={"rule": "scan"})
    found = Outgoing().of([*messages, plain])
    assert [each["id"] for each in found.objects if each["type"] == "malware"] == [id_of("malware", 1)]
    assert (found.not_stix, found.left_out) == (2, 0)


@pytest.mark.parametrize("label", list(Label))
def test_definitions_of_tlp_are_those_that_are_published(label):
    found = definition_of(label)
    assert LABEL_OF[found["id"]] is label
    stix2.parse(found)


@pytest.mark.parametrize(("each", "whole"), [
    (sdo("location", 1, region="x"), True), (sdo("location", 1), False), (sdo("x-own", 1), True),
    (mended(sdo("location", 1, longitude=1.0, precision=2.0)), False),
    ({"type": "file", "id": id_of("file", 1), "name": "x"}, True), ({"type": "file", "id": id_of("file", 1)}, False),
    ({"type": "indicator", "id": id_of("indicator", 1), "created": "", "modified": "", "pattern": "", "labels": [],
      "valid_from": ""}, True),
    ({"type": "indicator", "id": id_of("indicator", 1), "created": "", "modified": "", "pattern": "", "valid_from": ""},
     False),
])
def test_what_each_type_has_to_have(each, whole):
    assert is_whole(each) is whole


# -- whatever is marked how -----------------------------------------------------------------------------------

TOKENS = [f"tok{n:03}x" for n in range(40)]


def _objects():
    """Valid ones with a word of their own in each text."""
    words = iter(TOKENS)
    references = [{"source_name": next(words), "description": next(words)},
        {"source_name": next(words), "external_id": next(words)}]
    return [
        indicator(1, "[ipv4-addr:value = '198.51.100.7']", name=next(words), description=next(words),
            labels=[next(words), next(words)],
                  created_by_ref=id_of("identity", 2), external_references=references,
                  kill_chain_phases=[{"kill_chain_name": "ours", "phase_name": next(words)}]),
        sdo("identity", 2, name=next(words), roles=[next(words)], sectors=["energy"]),
        sdo("relationship", 3, relationship_type="indicates", source_ref=id_of("indicator", 1),
            target_ref=id_of("malware", 4),
            description=next(words)),
        sdo("malware", 4, is_family=True, name=next(words), aliases=[next(words)]),
        sdo("report", 5, name=next(words), published="2026-01-01T00:00:00Z", description=next(words),
            object_refs=[id_of("indicator", 1), id_of("identity", 2), id_of("relationship", 3)]),
        {"type": "file", "spec_version": "2.1", "id": id_of("file", 6), "name": next(words),
            "hashes": {"MD5": "a" * 32},
         "extensions": {"archive-ext": {"contains_refs": [id_of("file", 7)], "comment": next(words)}}},
        sdo("note", 7, abstract=next(words), content=next(words), authors=[next(words)],
            object_refs=[id_of("report", 5)]),
        sdo("location", 8, latitude=1.0, longitude=2.0, precision=3.0, name=next(words)),
        sdo("sighting", 9, sighting_of_ref=id_of("indicator", 1), description=next(words), count=3),
        {"type": "indicator", "id": id_of("indicator", 10), "created": "2017-01-01T00:00:00.000Z",
         "modified": "2017-01-01T00:00:00.000Z", "labels": ["malicious-activity"],
         "pattern": "[domain-name:value = 'x.example']",
         "valid_from": "2017-01-01T00:00:00Z", "name": next(words)},
        dict(STATEMENT),
    ]


def _paths(value, selector=""):
    """(selector, leaf) of all that is in it."""
    if selector:
        yield selector, value
    inner = value.items() if isinstance(value, dict) else (
        ((f"[{n}]", item) for n, item in enumerate(value)) if isinstance(value, list) else ())
    for key, item in inner:
        yield from _paths(item, f"{selector}.{key}" if selector else key)


SELECTORS = {each["id"]: [selector for selector, _ in _paths(each)] for each in _objects()}
REFS = st.sampled_from([*LABEL_OF, OWN])


@st.composite
def marked(draw):
    objects = _objects()
    for each in objects:
        refs = draw(st.lists(REFS, max_size=2, unique=True))
        marks = draw(st.lists(st.fixed_dictionaries({
            "marking_ref": REFS, "selectors": st.lists(st.sampled_from(SELECTORS[each["id"]]), min_size=1, max_size=3),
        }), max_size=2))
        each.update({**({"object_marking_refs": refs} if refs else {}),
            **({"granular_markings": marks} if marks else {})})
    return objects


def _label(each, selector, default):
    """Of what a selector is for, as the standard says it, and the most restrictive."""
    of_all = [LABEL_OF[ref] for ref in each.get("object_marking_refs", []) if ref in LABEL_OF]
    found = [max(of_all, default=default)]
    for mark in each.get("granular_markings", []):
        if mark["marking_ref"] in LABEL_OF and any(f"{selector}.".startswith(f"{one}.") for one in mark["selectors"]):
            found.append(LABEL_OF[mark["marking_ref"]])
    return max(found)


@settings(max_examples=8)  # the library that checks the bundle takes a tenth of a second for it
@given(marked(), st.sampled_from(list(Label)))
def test_nothing_above_a_clearance_comes_out_all_is_marked_as_it_came_and_the_bundle_is_valid(objects, clearance):
    labels = {value: _label(each, selector, Label.GREEN) for each in objects for selector, value in _paths(each)
              if isinstance(value, str) and value in TOKENS}
    found, whole = out(objects, clearance)
    text = json.dumps(found)
    assert not [word for word, label in labels.items() if label > clearance and word in text]
    for each in found:
        assert Markings({OWN: None}).of(each).label is not None
        for selector, value in _paths(each):
            if isinstance(value, str) and value in labels:
                assert _label(each, selector, Label.CLEAR) >= labels[value]
        for mark in each.get("granular_markings", []):
            assert all(selects(each, selector) for selector in mark["selectors"])
    ids = {each["id"] for each in found}
    left_out = {id_ for id_ in SELECTORS if id_ not in ids}
    known = {each.content["id"] for mapped in published(objects) if (each := seen(mapped,
        clearance)) and "id" in each.content}
    assert not [id_ for id_ in left_out & known if id_ in text], "nothing points at what was left out"
    if whole.objects:
        # Of the markings that are kept as they came the library reads no selector into elements.
        plain = [{**each, "granular_markings": [
            mark for mark in each.get("granular_markings", []) if not any("." in one for one in mark["selectors"])
        ]} for each in whole.objects]
        for each in plain:
            if not each["granular_markings"]:
                del each["granular_markings"]
        stix2.parse({"type": "bundle", "id": id_of("bundle", 1), "objects": plain})
    if clearance is Label.RED:
        assert len(found) == len(objects)
