"""A large topology: what is in it, and that it can be proved."""

import pytest

from relays.topology.loader import load
from scripts.comparison.processes import Failed
from scripts.comparison.proving import Proving, generated, proving


@pytest.mark.parametrize("relays", [101, 192])
def test_it_has_as_many_relays_as_were_asked_for(tmp_path, relays):
    file = tmp_path / "large.toml"
    file.write_text(generated(relays))
    found = load(file)
    assert len(found.relays) == relays and len(found.points) == 5 * relays + 1 and len(found.asserts) == 30


def test_it_is_proved(tmp_path):
    with proving(tmp_path / "ours", relays=101) as side:
        found = side.window(1.0)
    assert found.values["lint"] > 0 and found.values["flows"] > 0
    assert "101 relays in four levels" in side.does


def test_one_that_is_wrong_is_no_measurement(tmp_path):
    file = tmp_path / "large.toml"
    file.write_text(generated(101) + '[[assert]]\nnever = "green from r0 reaches hq"\n')
    with pytest.raises(Failed, match="1 errors"):
        Proving(file).window(1.0)
