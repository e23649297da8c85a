"""An action to many: the tree that it is for, and who is in it."""

import pytest

from relays.topology.loader import load
from scripts.comparison.fanout import names, topology
from tests.integration.harness import with_free_ports


@pytest.mark.parametrize("approved", [True, False])
def test_the_relays_share_the_targets(tmp_path, approved):
    file = tmp_path / "bench.toml"
    file.write_text(with_free_ports(topology(3, 7, approved)))
    found = load(file)
    assert list(found.relays) == ["hq", "r0", "r1", "r2"]
    at = [found.points[name].relay for name in names(7)]
    assert at == ["r0", "r1", "r2", "r0", "r1", "r2", "r0"]
    assert [rule.require for rule in found.approvals] == ([2] if approved else []), "0 asks for none"
