"""What is sealed to this node is opened, and what does not open is counted."""

from structlog.testing import CapturingLogger

from fabric.edge.receiving import unsealing
from fabric.edge.receiving.unsealing import Unsealing
from fabric.protocol.base.errors import Code
from fabric.protocol.envelope.sealed_parts import Opener
from fabric.protocol.vocabulary.tlp import Label
from tests.support import Authority, verified

AUTHORITY = Authority("unsealing")
ZEEK, LEAD, OTHER = (AUTHORITY.issue(name) for name in ("zeek-1", "lead-1", "lead-2"))


def parts(n=0, origin=ZEEK):
    message = verified(origin, label=Label.RED, sealed_to=(origin, LEAD), sequence=n)
    return message.header, message.header.manifest[0], message.envelope.parts[0]


def test_it_opens_and_says_nothing():
    log = CapturingLogger()
    made = Unsealing(Opener("lead-1", LEAD.signer), log)
    assert isinstance(made.open(*parts()), bytes) and made.failed == 0 and log.calls == []


def test_what_is_for_others_is_no_failure():
    made = Unsealing(Opener("lead-2", OTHER.signer), CapturingLogger())
    assert made.open(*parts()) is None and made.failed == 0


def test_what_does_not_open_is_counted_and_said_seldom():
    log = CapturingLogger()
    made = Unsealing(Opener("lead-1", OTHER.signer), log)
    for n in range(100):
        assert made.open(*parts(n)).code is Code.NOT_OPENED
    assert made.failed == 100
    said = [call.kwargs for call in log.calls]
    assert [each["count"] for each in said] == [1, 2, 4, 8, 16, 32, 64]
    assert said[0]["origin"] == "zeek-1" and said[0]["code"] == "E305"


def test_origins_are_remembered_up_to_a_number(monkeypatch):
    monkeypatch.setattr(unsealing, "_ORIGINS_MAX", 3)
    made = Unsealing(Opener("lead-1", OTHER.signer), CapturingLogger())
    for n in range(9):
        made.open(*parts(origin=AUTHORITY.issue(f"zeek-{n}")))
    assert len(made._failed) == 3
