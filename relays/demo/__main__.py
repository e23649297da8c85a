"""`python -m relays.demo`: what `./scripts/demo` runs. Cleans up after itself, also on Ctrl-C and on failure.

Exit codes: 0 all was seen, or whoever read the output left, 1 something was not, 2 usage, 130 interrupted; errors as
the command line has them.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from fabric.protocol.base.errors import FabricError
from relays.cli.shared.exits import DONE, FAILED, exit_code_of
from relays.demo.book import Book
from relays.demo.cast import Cast
from relays.demo.events import Zeek
from relays.demo.show import Show
from relays.demo.stage import Stage
from relays.demo.steps import CHECKS, run_steps
from relays.demo.throwaway import Throwaway
from relays.logs import set_up_logs
from relays.streams import ReaderGoneError
from relays.terminal import Screen, say, set_up
from relays.topology.problems import TopologyErrors

_TOPOLOGY = Path(__file__).parents[2] / "topologies" / "enterprise.toml"
_PAUSE_S = 1.5
_SEED = 7
_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Runs the demo; the exit code is as the module says."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="Seven things that Message Fabric promises.",
        epilog="example: scripts/demo --once",
    )
    parser.add_argument("--once", action="store_true",
                        help="no terminal, no pauses: check each promise and print what was seen")
    parser.add_argument("--topology", type=Path, default=_TOPOLOGY, metavar="FILE",
                        help="a copy of topologies/enterprise.toml with other ports")
    parsed = parser.parse_args(arguments)
    set_up()
    set_up_logs("critical")
    # A handler that raises KeyboardInterrupt unwinds everything, so whatever ends the demo cleans up too.
    for signal_ in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signal_, _interrupt)
    try:
        return _run(parsed.topology, once=parsed.once)
    except FabricError as error:
        return _tell(error)
    except (ReaderGoneError, BrokenPipeError):  # `| head` has had enough: nobody is to be told anything
        return DONE
    except KeyboardInterrupt:
        say("stopped", error=True)
        return _INTERRUPTED


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _run(file: Path, *, once: bool) -> int:
    began = time.monotonic()
    live = not once and sys.stdout.isatty()
    show = Show(Screen(quiet=once), _PAUSE_S if live else 0.0)
    book = Book(CHECKS)
    with Throwaway(file) as fabric:
        cast = Cast(fabric)
        show.say(f"Starting {len(fabric.topology.relays)} relays of {file.name}, with an authority and a home that are "
                 "thrown away at the end.")
        with show.waiting("starting"):
            fabric.start()
        with cast:
            run_steps(Stage(fabric, cast, book, show, Zeek(_SEED, time.time())))
    took_s = time.monotonic() - began
    show.title("What was promised, and what was seen")
    Screen().table(book.table())
    say("", f"{book.good} of {len(book)} seen as expected, {took_s:.1f} s")
    return 0 if book.all_seen else FAILED


def _tell(error: FabricError) -> int:
    if isinstance(error, TopologyErrors):
        say(*map(str, error.problems), error=True)
        return FAILED
    say(f"error {error}", f"  next: {error.next_step}", error=True)
    return exit_code_of(error.code)


if __name__ == "__main__":
    sys.exit(main())
