"""A job that the machine refuses is put off, counted, and said once."""

import errno
from collections import Counter

import pytest
import structlog
from structlog.testing import capture_logs

from relays.process.upkeep import Upkeep


def test_what_the_machine_refuses_is_counted_and_said_once_until_it_works():
    counts = Counter()
    upkeep = Upkeep(structlog.get_logger(), lambda what, reason: counts.update([f"{what}:{reason}"]))

    def fail(number):
        raise OSError(number, "secret-path")

    with capture_logs() as logs:
        assert upkeep.do("pins", lambda: None)
        for number in (errno.EMFILE, errno.EMFILE, errno.ENOSPC, errno.ENOSPC):
            assert not upkeep.do("pins", fail, number)
        assert upkeep.do("pins", lambda: None) and upkeep.do("pins", lambda: None)
    assert counts == {"io_failed:pins": 4}
    assert [(entry["event"], entry.get("why")) for entry in logs] == [
        ("pins failed", "EMFILE"), ("pins failed", "ENOSPC"), ("pins works again", None)
    ]
    assert "secret-path" not in str(logs)


def test_what_is_no_fault_of_the_machine_is_not_hidden():
    upkeep = Upkeep(structlog.get_logger(), lambda what, reason: None)
    with pytest.raises(KeyError):
        upkeep.do("pins", {}.__getitem__, "x")
