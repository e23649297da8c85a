"""Markings of STIX: which labels an object and its fields bear."""

import pytest

from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.stix.markings import DEFINITION, DEFINITIONS_MAX, TLP_EXTENSION, Markings, field_of

CLEAR, GREEN, AMBER, STRICT, RED = (
    f"{DEFINITION}--{each}" for each in (
        "94868c89-83c2-464b-929b-a1a8aa3c8487", "bab4a63c-aed9-4cf5-a766-dfca5abac2bb",
        "55d920b0-5e8b-4f79-9ee9-91f868d9b421", "939a9414-2ddd-4d32-a0cd-375ea402b003",
        "e828b379-4e03-4974-9ac4-e53a884c97c1",
    )
)
WHITE_1 = f"{DEFINITION}--613f2e26-407d-48c7-9eca-b8e91df99dc9"
AMBER_1 = f"{DEFINITION}--f88d31f6-486f-44da-b317-01333bde0b82"
OWN, OTHER = (f"{DEFINITION}--0000000{n}-0000-4000-8000-000000000000" for n in (1, 2))


def definition(id_=OWN, **fields):
    return {"type": DEFINITION, "id": id_, **fields}


def of(each, *definitions, declared=None):
    markings = Markings(declared or {})
    markings.learn(definitions)
    return markings.of(each)


def granular(**marked):
    """{field: marking} with `__` for dots."""
    return [{"marking_ref": ref, "selectors": [name.replace("__", ".")]} for name, ref in marked.items()]


@pytest.mark.parametrize(("refs", "label"), [
    (None, None), ([], None), ([CLEAR], Label.CLEAR), ([GREEN], Label.GREEN), ([AMBER], Label.AMBER),
    ([RED], Label.RED),
    ([STRICT], Label.AMBER_STRICT), ([WHITE_1], Label.CLEAR), ([AMBER_1], Label.AMBER),
    ([GREEN, AMBER_1, CLEAR], Label.AMBER),
    (GREEN, Label.GREEN), ([OWN], Label.RED), (["TLP:GREEN"], Label.RED), ([5], Label.RED), ({}, Label.RED),
    ([GREEN.upper()], Label.RED),
])
def test_the_most_restrictive_of_an_object_s_markings_wins_and_what_nobody_knows_is_red(refs, label):
    marked = of({"object_marking_refs": refs})
    assert marked.label is label
    assert marked.unknown is (label is Label.RED and refs != [RED])


@pytest.mark.parametrize(("fields", "label", "unknown"), [
    ({"definition_type": "tlp", "definition": {"tlp": "green"}}, Label.GREEN, False),
    ({"definition_type": "TLP", "definition": {"tlp": "WHITE"}}, Label.CLEAR, False),
    ({"extensions": {TLP_EXTENSION: {"extension_type": "property-extension", "tlp_2_0": "amber+strict"}}},
     Label.AMBER_STRICT, False),
    ({"definition_type": "statement", "definition": {"statement": "Copyright"}}, None, False),
    ({"definition_type": "statement", "definition": {"statement": "TLP:AMBER"}}, Label.AMBER, False),
    ({"definition_type": "statement", "definition": {"statement": "custom"}, "x_opencti_definition_type": "TLP",
      "x_opencti_definition": "TLP:AMBER+STRICT"}, Label.AMBER_STRICT, False),
    ({"definition_type": "tlp", "definition": {"tlp": "ultra"}}, Label.RED, False),
    ({"definition_type": "tlp"}, Label.RED, False), ({"extensions": {TLP_EXTENSION: 5}}, Label.RED, False),
    ({"definition_type": "iep", "definition": {"tlp": "green"}}, Label.RED, True), ({}, Label.RED, True),
    ({"definition_type": ["tlp"], "definition": "tlp", "extensions": []}, Label.RED, True),
])
def test_definitions_in_the_bundle(fields, label, unknown):
    assert of({"object_marking_refs": [OWN]}, definition(**fields))[:3] == (label, {}, unknown)


def test_a_definition_cannot_change_what_tlp_s_own_ids_mean_and_of_two_the_higher_wins():
    white = {"definition_type": "tlp", "definition": {"tlp": "white"}}
    assert of({"object_marking_refs": [RED]}, definition(RED, **white)).label is Label.RED
    amber = definition(definition_type="tlp", definition={"tlp": "amber"})
    assert of({"object_marking_refs": [OWN]}, amber, definition(**white)).label is Label.AMBER
    assert of({"object_marking_refs": [OWN]}, definition(**white), amber).label is Label.AMBER


def test_definitions_that_mark_themselves_and_each_other_end():
    circle = [definition(OWN, object_marking_refs=[OTHER, OWN]), definition(OTHER, object_marking_refs=[OWN])]
    assert of(circle[0], *circle).label is Label.RED


def test_what_a_declaration_says_of_a_marking():
    marked = of({"object_marking_refs": [OWN, OTHER]}, declared={OWN: Label.GREEN, OTHER: None})
    assert marked[:3] == (Label.GREEN, {}, False)
    assert of({"object_marking_refs": [OTHER]}, declared={OTHER: None}).label is None


def test_no_more_definitions_are_learned_than_that():
    markings = Markings({})
    markings.learn(definition(f"{DEFINITION}--{n}", definition_type="statement") for n in range(DEFINITIONS_MAX + 1))
    assert markings.of({"object_marking_refs": [f"{DEFINITION}--{DEFINITIONS_MAX}"]}).label is Label.RED
    assert markings.of({"object_marking_refs": [f"{DEFINITION}--0"]}).label is None


def test_granular_markings_raise_fields_and_never_lower_them():
    marked = of({"object_marking_refs": [GREEN], "granular_markings": granular(
        description=RED, name=CLEAR, external_references=AMBER, external_references__url=GREEN)})
    assert marked.label is Label.GREEN
    assert marked.labels == {
        "description": Label.RED, "external_references": Label.AMBER, "external_references.url": Label.AMBER,
        "granular_markings": Label.RED,
    }


@pytest.mark.parametrize(("selector", "field"), [
    ("description", "description"), ("labels.[0]", "labels"), ("labels.[12].[3]", "labels"),
    ("external_references.[1].hashes.SHA-256", "external_references.hashes.SHA-256"),
    ("extensions.x-y.z", "extensions.x-y.z"),
    ("*", None), ("", None), (".", None), ("a..b", None), ("[0]", None), ("[0].a", None), ("a" * 300, None),
    (".".join("a" * 20), None), ("a.[x]", "a.[x]"),
])
def test_selectors(selector, field):
    assert field_of(selector) == field


@pytest.mark.parametrize("granular_markings", [
    [{"marking_ref": AMBER, "selectors": ["*"]}], [{"marking_ref": AMBER, "selectors": []}], [{"marking_ref": AMBER}],
    [{"marking_ref": AMBER, "selectors": "description"}], [{"marking_ref": AMBER, "selectors": [None]}],
    [{"marking_ref": AMBER, "selectors": ["type"]}], {"marking_ref": AMBER, "selectors": ["a..b"]}, [AMBER], AMBER,
    [{"marking_ref": AMBER, "selectors": ["x", f"x.{n}"]} for n in range(300)],
])
def test_what_selects_nothing_that_can_be_read_is_of_the_whole_object(granular_markings):
    marked = of({"object_marking_refs": [GREEN], "granular_markings": granular_markings})
    assert (marked.label, marked.least) == (Label.GREEN, Label.AMBER)
    assert not [name for name, label in marked.labels.items() if label > Label.AMBER]


def test_languages_and_statements_are_no_labels_but_fields_without_a_marking_are_red():
    statement = definition(definition_type="statement", definition={"statement": "x"})
    languages = [{"lang": "fr", "selectors": ["name"]}, {"marking_ref": OWN, "selectors": ["name"]}]
    assert of({"granular_markings": languages}, statement)[:3] == (None, {}, False)
    assert of({"granular_markings": [{"selectors": ["name"]}]}).labels["name"] is Label.RED
    seen = of({"granular_markings": [*languages, *granular(description=RED)]}, statement).labels
    assert seen == {"description": Label.RED, "granular_markings": Label.RED}, "it names the field that is withheld"
