"""`fabric notices`: what became of messages that relays held and could not deliver."""

from __future__ import annotations

import queue
import sys
import time
from typing import Annotated

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.receiving.notices import Ended, Notice
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.shared.exits import SHORT, command
from relays.cli.shared.options import As, AsJson, NoWait, needed
from relays.cli.shared.reaching import reached
from relays.terminal import Screen, say, say_json

_WHERE = {"up": "on the way up from", "down": "on the way down from", "reader": "for readers at"}


def tell_notice(notice: Notice, screen: Screen, as_json: bool) -> None:
    """To a person, or as one object on standard error: what it interrupts has its own standard output."""
    if as_json:
        say_json({"notice": notice.to_json()}, error=True)
        return
    for line in lines_of(notice):
        screen.say(line)


def lines_of(notice: Notice) -> list[str]:
    """For people: a line for each way in which messages ended, with the label that these messages bear."""
    return [_line_of(ended, notice.relay, notice.label) for ended in notice.ended]


def _line_of(ended: Ended, relay: str, label: Label) -> str:
    what = f"{ended.records:,} record(s) {_in_messages(ended)}of {ended.topic or 'several topics'} ({label.spelling})"
    if ended.code == Code.RECIPIENT_UNKNOWN.label:  # it went on to the others
        return f"{what} name a recipient who is not known at {relay}: {ended.reason} ({ended.code})"
    return f"{what} ended {_WHERE.get(ended.towards, 'at')} {relay}: {ended.reason} ({ended.code})"


def _in_messages(ended: Ended) -> str:
    """Relays count messages in `fabric status`; what is sent as a stream travels many records to a message."""
    return f"in {ended.messages:,} message(s) " if ended.messages != ended.records else ""


@command
def notices(
    identity: As = "",
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many notices.")] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="60s", help="Stop after this time in all.")] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Print what relays held of this identity's messages and could not deliver, and why, as they say it.

    Relays count what ended and tell it 1 s later, then every 30 s; what they have to tell waits for the identity.

    A relay that does not answer yet, or no longer, is waited for, and that is said on standard error.

    Exit codes: 0 --count or the time of --timeout reached, 5 denied, 6 fewer than --count in the time of --timeout, 69 unreachable for all of that time,
    or at once with --no-wait, 130 and 143 stopped by Ctrl-C and SIGTERM.

    Example: fabric notices --as zeek-p1 --timeout 60s
    """
    deadline_s = time.monotonic() + parse_duration(timeout) / 1000 if timeout else None
    came: queue.SimpleQueue[Notice | FabricError] = queue.SimpleQueue()
    seen = 0

    def listen(point: ControlPoint) -> None:  # before it connects: what waits comes at once
        point.on_notice(came.put)
        point.on_end(came.put)

    timeout_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
    with reached(needed(identity), as_json, wait=not no_wait, timeout_s=timeout_s, prepare=listen):
        if not as_json and sys.stdout.isatty():
            say("waiting for notices until Ctrl-C", error=True)
        while seen != count:
            try:
                notice = came.get(timeout=None if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
            except queue.Empty:
                break
            if isinstance(notice, FabricError):
                raise notice
            seen += 1
            if as_json:
                say_json(notice.to_json())
            else:
                say(*lines_of(notice))
    if count is not None and seen < count:
        if not as_json:
            say(f"{seen} of {count} notices", error=True)
        raise typer.Exit(SHORT)
