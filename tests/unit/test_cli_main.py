"""The way in and out of the command: a Ctrl-C at any moment of it is an exit code, and no traceback."""

import signal

import pytest

from relays.cli import exits, main


@pytest.fixture(autouse=True)
def same_signals():
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("raises", "code"), [(KeyboardInterrupt(), 130), (SystemExit(3), 3)])
def test_it_ends_with_an_exit_code_and_python_s_own_way_out_is_quiet(monkeypatch, raises, code):
    def run(_app):
        raise raises

    monkeypatch.setattr(exits, "run", run)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
    assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "a second Ctrl-C ends it, and prints nothing"
