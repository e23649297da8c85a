"""What an `[[assert]]` claims, and what is said of one that cannot be read."""

from __future__ import annotations

import pytest

from fabric.protocol.vocabulary.tlp import Label
from relays.topology.claims import BadClaim, Claim, parse_claim


@pytest.mark.parametrize("text", ["amber from ot-1 reaches dmz", "  TLP:AMBER  from\tot-1 reaches   dmz "])
def test_a_claim(text):
    assert parse_claim(text, "never") == Claim(Label.AMBER, "ot-1", "dmz")


@pytest.mark.parametrize(
    ("text", "cause", "write"),
    [
        ("", "'' is not LABEL from NAME reaches NAME", 'must = "amber from ot-1 reaches dmz"'),
        ("amber from ot-1", "is not LABEL from NAME reaches NAME", "write e.g. must ="),
        ("from ot-1 reaches dmz", "is not LABEL from NAME reaches NAME", "write e.g. must ="),
        ("amber ot-1 -> dmz", "is not LABEL from NAME reaches NAME", "write e.g. must ="),
        ("x " * 10_000, "is not LABEL from NAME reaches NAME", "write e.g. must ="),
        ("amber\x1b[2J from a reaches b c", "'amber\\x1b[2J from a", "write e.g. must ="),
        ("ambre from ot-1 reaches dmz", "'ambre' is no label", "(did you mean 'amber'?)"),
        ("secret from ot-1 reaches dmz", "'secret' is no label", "clear, green, amber, amber+strict, red"),
    ],
)
def test_what_to_write_instead(text, cause, write):
    bad = parse_claim(text, "must")
    assert isinstance(bad, BadClaim) and cause in bad.cause and write in bad.write
    assert len(bad.cause) < 120
