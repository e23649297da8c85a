"""What a relay signs itself."""

from fabric.protocol.envelope.reports import build_gap
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.trust.credentials import NodeKind
from tests.support import T0, Authority, entropy, opened

AUTHORITY = Authority("report signer")
ME = AUTHORITY.issue("mid", NodeKind.RELAY)
AHEAD_MS = 70  # of the root's time, before this node's own


def signer(time_unknown=False):
    return ReportSigner(
        ME.credential, ME.signer, entropy("report signer"), RootCache(), lambda now_ms: now_ms + AHEAD_MS,
        lambda: time_unknown,
    )


def report(by):
    return build_gap("reader", 3, by.me)


def test_each_has_the_root_s_time_and_a_number_of_its_own():
    signs = signer()
    first, second = (signs.sign(report(signs), T0 + n) for n in range(2))
    assert [m.header.issued_at_ms for m in (first, second)] == [T0 + AHEAD_MS, T0 + 1 + AHEAD_MS]
    assert [m.header.sequence for m in (first, second)] == [1, 2] and first.id != second.id
    assert opened(first.raw, ME).header == first.header, "others open it, too"


def test_without_the_time_it_is_as_old_as_what_it_is_about():
    signs = signer(time_unknown=True)
    assert signs.sign(report(signs), T0).header.issued_at_ms == report(signs).header.issued_at_ms


def test_after_a_renewal_it_is_signed_under_the_newer_credential():
    signs = signer()
    newer = AUTHORITY.issue("mid", NodeKind.RELAY, serial=2)
    signs.renewed(newer.credential)
    assert signs.me is newer.credential
    assert opened(signs.sign(report(signs), T0).raw, newer).credential.serial == 2
