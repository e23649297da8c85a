"""The way in and out of the command: a Ctrl-C at any moment of it is an exit code, and no traceback."""

import signal
import subprocess
import sys

import pytest

from relays.cli import main
from relays.cli.shared import exits


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


@pytest.mark.parametrize("asked", ["--help", "--version"])
def test_what_is_only_shown_imports_no_command_and_nothing_that_runs_one(asked):
    program = f"""
import sys
sys.argv = ["fabric", {asked!r}]
from relays.cli import main
try:
    main()
finally:
    heavy = (
        "structlog", "pydantic", "zmq", "relays.cli.messages", "relays.topology.loader", "fabric.protocol.relay"
    )
    sys.stderr.write(" ".join(name for name in heavy if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout
    assert done.stderr == ""
