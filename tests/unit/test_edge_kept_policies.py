import structlog
from structlog.testing import capture_logs

from fabric.edge.identity.identity import POLICIES, Identity, own_policies
from fabric.edge.identity.kept_policies import KeptPolicies
from fabric.protocol.base.limits import POLICIES_BYTES_MAX, SKEW_MS
from fabric.protocol.trust.policies import issue_policies
from fabric.protocol.trust.store import TrustStore
from tests.support import FABRIC, T0, Authority

AUTHORITY = Authority("kept policies")
MEMBER = AUTHORITY.issue("fw-7")


def issued(version, authority=AUTHORITY):
    return issue_policies(FABRIC, version, T0, (), {}, authority.signer)


def kept_in(folder):
    trust = TrustStore(MEMBER.credential, AUTHORITY.key, SKEW_MS)
    identity = Identity(FABRIC, "fw-7", AUTHORITY.key, MEMBER.credential, folder)
    return trust, KeptPolicies(identity, trust, structlog.get_logger())


def test_it_begins_with_those_in_its_folder_and_keeps_newer_ones_there(tmp_path):
    (tmp_path / POLICIES).write_bytes(issued(3))
    trust, kept = kept_in(tmp_path)
    assert trust.policies.version == 3
    kept.look()
    trust.take_policies(trust.read_policies(issued(5)))
    kept.look()
    assert own_policies(tmp_path) == issued(5) and kept_in(tmp_path)[0].policies.version == 5


def test_another_process_s_newer_ones_stay(tmp_path):
    trust, kept = kept_in(tmp_path)
    (tmp_path / POLICIES).write_bytes(issued(9))
    trust.take_policies(trust.read_policies(issued(5)))
    kept.look()
    assert own_policies(tmp_path) == issued(9)


def test_what_is_not_the_authority_s_is_as_none(tmp_path):
    for raw in (issued(3, Authority("another")), b"", bytes(POLICIES_BYTES_MAX + 1)):
        (tmp_path / POLICIES).write_bytes(raw)
        trust, kept = kept_in(tmp_path)
        assert trust.policies.version == 0
    trust.take_policies(trust.read_policies(issued(1)))
    kept.look()
    assert own_policies(tmp_path) == issued(1)


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path):
    trust, kept = kept_in(tmp_path / "nowhere" / "at all")
    (tmp_path / "nowhere").write_text("a file")
    trust.take_policies(trust.read_policies(issued(1)))
    with capture_logs() as logs:
        kept.look()
        kept.look()
    assert [entry["event"] for entry in logs] == ["approval policies not kept"]
