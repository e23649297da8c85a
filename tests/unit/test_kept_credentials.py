from fabric.protocol.base.limits import CREDENTIALS_CACHED_MAX
from fabric.protocol.core.kept_credentials import KeptCredentials
from fabric.protocol.core.ready import KeepCredential, Ready
from tests.support import Authority

ZEEK = Authority("kept").issue("zeek-1").credential
WRITTEN = KeepCredential(ZEEK.digest, ZEEK.raw)


def test_a_credential_is_written_once_and_not_again_after_a_restart():
    kept, ready = KeptCredentials(), Ready()
    kept.keep(ZEEK, ready)
    kept.keep(ZEEK, ready)
    assert ready.persist == [WRITTEN] and ZEEK.digest in kept
    restarted, ready = KeptCredentials(), Ready()
    restarted.remember(ZEEK.digest)
    restarted.keep(ZEEK, ready)
    assert ready.persist == []


def test_one_that_a_disk_may_have_let_go_is_written_again():
    kept, ready = KeptCredentials(), Ready()
    kept.keep(ZEEK, ready)
    for number in range(CREDENTIALS_CACHED_MAX):
        kept.remember(number.to_bytes(32, "big"))
    assert len(kept) == CREDENTIALS_CACHED_MAX and ZEEK.digest not in kept
    kept.keep(ZEEK, ready)
    assert ready.persist == [WRITTEN, WRITTEN]
