"""The first Ctrl-C or SIGTERM is told, the second is what it was; and what was there before is put back."""

import signal
import threading
from types import SimpleNamespace

import pytest

from fabric.edge.until import ending_signals, raise_unless_closed
from fabric.protocol.base.errors import Code, FabricError

BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def before():
    """What the process itself would do: it notes which came."""
    came = []
    had = {number: signal.signal(number, lambda number, _: came.append(number)) for number in BOTH}
    yield came
    for number, handler in had.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_is_told_and_the_second_is_what_it_was(before, number):
    told = []
    with ending_signals(lambda: told.append("end")):
        signal.raise_signal(number)
        assert told == ["end"] and before == []
        for each in BOTH:
            signal.raise_signal(each)
    assert told == ["end"] and before == [*BOTH]


@pytest.mark.parametrize("error", [None, ValueError])
def test_afterwards_it_is_what_it_was_whatever_happened(before, error):
    had = [signal.getsignal(number) for number in BOTH]
    try:
        with ending_signals(lambda: None):
            assert [signal.getsignal(number) for number in BOTH] != had
            if error is not None:
                raise error
    except ValueError:
        pass
    assert [signal.getsignal(number) for number in BOTH] == had


def test_in_another_thread_nothing_changes(before):
    had, seen = [signal.getsignal(number) for number in BOTH], []

    def run():
        with ending_signals(lambda: None):
            seen.extend(signal.getsignal(number) for number in BOTH)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == had


def test_what_ended_the_connection_is_raised_unless_its_program_did():
    raise_unless_closed(SimpleNamespace(ended=None))
    raise_unless_closed(SimpleNamespace(ended=FabricError(Code.CLOSED)))
    revoked = FabricError(Code.REVOKED)
    with pytest.raises(FabricError) as raised:
        raise_unless_closed(SimpleNamespace(ended=revoked))
    assert raised.value is revoked
