"""How the demo ends when somebody else ends it."""

import signal

import pytest

from relays.demo import __main__ as program
from relays.streams import ReaderGoneError


@pytest.mark.parametrize(("why", "code"), [(ReaderGoneError(), 0), (BrokenPipeError(), 0), (KeyboardInterrupt(), 130)])
def test_whoever_ends_it_sees_no_traceback(monkeypatch, why, code):
    def run(*_args, **_options):
        raise why

    monkeypatch.setattr(program, "_run", run)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert program.main([]) == code
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
