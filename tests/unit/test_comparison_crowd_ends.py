"""Who comes in a crowd: members of the fabric like any other."""

from fabric.protocol.trust.chain import verify_credential
from scripts.comparison.crowd_ends import members
from tests.identities import identity, made

TOPOLOGY = """
fabric = "small"
[relays]
hq = { segment = "hq", clearance = "red", listen = "127.0.0.1:7700" }
[roles]
analyst = { subscribe = ["detections.>"] }
[points]
analyst-1 = { relay = "hq", role = "analyst", clearance = "amber" }
"""


def test_each_has_keys_and_a_credential_of_its_own_that_grant_the_same(tmp_path):
    made(tmp_path, TOPOLOGY)
    like = identity(tmp_path, "analyst-1")
    found = members(tmp_path, like, 3)
    assert [each.credential.id for each in found] == ["analyst-1-0", "analyst-1-1", "analyst-1-2"]
    assert len({each.keys.public for each in found}) == len({each.signer.public for each in found}) == 3
    for each in found:
        assert verify_credential(each.credential.raw, like.authority_key, "small") == each.credential
        assert each.credential.grants == like.credential.grants
        assert (each.credential.curve_key, each.credential.sign_key) == (each.keys.public, each.signer.public)
