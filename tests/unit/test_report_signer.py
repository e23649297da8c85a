"""What a relay signs itself."""

import pytest

from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.reports import build_gap, build_notice
from fabric.protocol.envelope.sealed_parts import Opener
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.relay.report_signer import ReportSigner
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.support import T0, Authority, entropy, opened

AUTHORITY = Authority("report signer")
ME = AUTHORITY.issue("mid", NodeKind.RELAY)
AHEAD_MS = 70  # of the root's time, before this node's own


def signer(time_unknown=False, known=lambda _: None):
    return ReportSigner(
        ME.credential, ME.signer, entropy("report signer"), RootCache(), lambda now_ms: now_ms + AHEAD_MS,
        lambda: time_unknown, known,
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


ZEEK = AUTHORITY.issue("zeek-1")


def notice(label, *recipients):
    return build_notice("zeek-1", label, Audience(("acme",), (), recipients), T0, [{"code": "E501"}], ME.credential)


def test_what_is_about_something_for_recipients_is_sealed_to_whom_it_tells():
    signs = signer(known={"zeek-1": ZEEK.credential}.get)
    told = signs.sign(notice(Label.RED, "zeek-1", "lead-1"), T0)
    assert told.header.is_sealed
    (reading,) = read_records(told.header, told.envelope.parts, Opener("zeek-1", ZEEK.signer).open)
    assert reading.content["ended"] == [{"code": "E501"}]
    assert read_records(told.header, told.envelope.parts)[0].content == {}


@pytest.mark.parametrize("report", [notice(Label.RED), notice(Label.AMBER, "zeek-1")])
def test_anything_else_lies_open(report):
    told = signer(known={"zeek-1": ZEEK.credential}.get).sign(report, T0)
    assert read_records(told.header, told.envelope.parts)[0].content["by"] == "mid"


def test_whom_it_does_not_know_it_cannot_seal_to():
    told = signer().sign(notice(Label.RED, "zeek-1"), T0)
    assert not told.header.is_sealed
