"""What a program says of a record, read: whom it is for."""

import pytest

from fabric.edge.identity.identity import Defaults
from fabric.edge.publishing.options import ADDRESSED_MAX, publish_stamp, to_audience
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import AUDIENCE_NAMES_MAX
from fabric.protocol.vocabulary.tlp import Audience, Label

DEFAULTS = Defaults(Label.AMBER, {})


@pytest.mark.parametrize(("said", "read"), [
    (None, None), ({}, None), (Audience(()), None), ({"organisations": []}, None),
    ({"organisations": ["msp"]}, Audience(("msp",))),
    ({"communities": ("isac", "isac"), "recipients": ["lead-1"]}, Audience((), ("isac",), ("lead-1",))),
    (Audience(["msp"], ("isac",)), Audience(("msp",), ("isac",))),  # type: ignore[arg-type]
    ({"organisations": ["msp"] * ADDRESSED_MAX}, Audience(("msp",))),
])
def test_whom_it_is_for_is_read(said, read):
    assert to_audience(said) == read


@pytest.mark.parametrize("said", [
    "msp", ["msp"], 7, {"organisation": ["msp"]}, {"organisations": "msp"}, {"organisations": None}, {7: ["msp"]},
    {"organisations": ["Msp"]}, {"organisations": [""]}, {"organisations": [7]}, {"recipients": ["a/b"]},
    {"communities": ["x" * 64]}, {"recipients": [f"o{n}" for n in range(ADDRESSED_MAX + 1)]}, Audience("msp"),  # type: ignore[arg-type]
])
def test_what_is_no_audience_is_refused_by_its_number(said):
    with pytest.raises(FabricError) as raised:
        to_audience(said)
    assert raised.value.code is Code.BAD_AUDIENCE and raised.value.next_step


def test_the_own_organisation_and_the_origin_have_room_beside_all_that_can_be_named():
    full = to_audience({part: [f"o{n}" for n in range(ADDRESSED_MAX)] for part in ("organisations", "recipients")})
    assert full is not None
    signed = full.signed_by("acme", "feed-1")
    assert len(signed.organisations) == len(signed.recipients) == AUDIENCE_NAMES_MAX


@pytest.mark.parametrize(("options", "fits"), [
    ({"label": "red"}, True), ({"labels": {"src": "red"}}, True), ({"labels": {"*": "red"}}, True),
    ({"label": "amber+strict"}, False), ({}, False),
])
def test_recipients_are_for_what_is_red(options, fits):
    """Whoever names one for something else would believe that nobody else gets it."""
    said = {"audience": {"recipients": ["lead-1"]}, **options}
    if fits:
        assert publish_stamp("intel.x", DEFAULTS, **said).audience == Audience((), (), ("lead-1",))
        return
    with pytest.raises(FabricError) as raised:
        publish_stamp("intel.x", DEFAULTS, **said)
    assert raised.value.code is Code.BAD_AUDIENCE


def test_without_a_word_of_it_a_stamp_has_none():
    assert publish_stamp("intel.x", DEFAULTS).audience is None
