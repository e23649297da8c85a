"""Nothing is signed for a topology that relies on what no relay enforces."""

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.protocol.base.errors import Code, FabricError
from relays.authority import Delegation, delegate, init_authority, make_identities, make_only
from tests.unit.test_strays import TOPOLOGY, written


def test_a_file_that_asks_for_approvals_makes_no_identity_and_no_issuer(tmp_path):
    asks = TOPOLOGY.replace("require = 0", 'require = 1\nfrom = ["soar"]')
    topology, authority = written(tmp_path, asks), init_authority("small", tmp_path)
    for sign in (
        lambda: make_identities(topology, authority, tmp_path),
        lambda: make_only(topology, authority, ["plant"], tmp_path),
        lambda: delegate(topology, Delegation("issuer-1", "plant", ("sensor",)), authority, tmp_path),
    ):
        with pytest.raises(FabricError) as raised:
            sign()
        assert raised.value.code is Code.TOPOLOGY_INVALID and "require = 0" in raised.value.next_step
    assert not ids_folder("small", tmp_path).exists()
