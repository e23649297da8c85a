"""What `fabric act` is to ask for: words of a command line, or an OpenC2 command in a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from fabric.documents import TooDeepError, parse_json
from fabric.edge.arguments.suggestions import near
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.vocabulary.commands import COMMAND_BYTES_MAX, both, read_command
from fabric.protocol.vocabulary.plain_json import parse_ijson

# JSON may escape each character of a command.
_FILE_BYTES_MAX = 6 * COMMAND_BYTES_MAX
_EXAMPLE = "fabric act deny ipv4_net=203.0.113.9 --to 'role=firewall'"


@dataclass(frozen=True, slots=True)
class Asked:
    """`target` as it is typed. `request_id`: what a message calls it, and its responses are to."""

    action: str
    target: str
    to: str
    args: Mapping[str, Any]
    command_id: str = ""
    request_id: str = ""

    @property
    def wants_response(self) -> bool:
        """Whether OpenC2 has anything to say of it (3.3.1.4). Of `ack` and `status` nobody knows before it ends."""
        return self.args.get("response_requested") != "none"


def asked_for(action: str, target: str, to: str | None, arg: Sequence[str] | None, file: str | None) -> Asked:
    """Raises USAGE for what is missing or comes twice, BAD_INPUT for what is no JSON, BAD_ACTION with every fault."""
    if file is None:
        if not action or not target:
            raise FabricError(Code.USAGE, "no action and target", f"write e.g. {_EXAMPLE}, or --openc2 FILE")
        if to is None:
            raise FabricError(Code.USAGE, "who is to execute it?", f"add --to, e.g. {_EXAMPLE}")
        return Asked(action, target, to, parse_args(arg))
    if action or target or arg:
        raise FabricError(Code.USAGE, "--openc2 and an action, a target or --arg", "write all of it into the file")
    command = read_command(_document(file))
    if isinstance(command, Reject):
        raise FabricError(command.code, command.detail, f"correct what is named in {_named(file)}")
    if to is None and not command.selector:
        raise FabricError(
            Code.USAGE, "the command says nothing of who is to execute it",
            "add --to 'role=firewall', or write \"actuator\": {\"x-acme\": {\"role\": \"firewall\"}} into it",
        )
    return Asked(
        command.action, command.target.text, command.selector if to is None else both(to, command.selector),
        command.args, command.id, command.request_id,
    )


def _named(file: str) -> str:
    return "standard input" if file == "-" else file


def _document(file: str) -> Any:
    if file == "-":
        raw = sys.stdin.buffer.read(_FILE_BYTES_MAX + 1)
    else:
        with Path(file).open("rb") as opened:
            raw = opened.read(_FILE_BYTES_MAX + 1)
    if len(raw) > _FILE_BYTES_MAX:
        raise FabricError(Code.TOO_LARGE, f"{_named(file)}: more than {_FILE_BYTES_MAX:,} bytes", "send one command")
    try:
        return parse_ijson(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise FabricError(Code.BAD_INPUT, f"{_named(file)}: no UTF-8", "write one OpenC2 command as JSON") from None
    except ValueError as error:
        raise FabricError(Code.BAD_INPUT, f"{_named(file)}: {error}", "write one OpenC2 command as JSON") from None


def parse_args(given: Sequence[str] | None) -> dict[str, Any]:
    """`--arg NAME=VALUE`, as a map: a value that is JSON is read as that, any other is text. Of OpenC2's own, a duration
    may be "1h", and a time as ISO 8601 has it. Raises USAGE, TOO_DEEP."""
    args: dict[str, Any] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise FabricError(Code.USAGE, f"{text!r} is no argument", "write e.g. --arg duration=1h")
        if name not in _OWN and (meant := near(name, _OWN, at_least=_SLIP)):
            # A handler that knows no such argument ignores it, and what was to end after an hour would stay.
            raise FabricError(Code.USAGE, f"{name!r} is no argument of OpenC2", f"write --arg {meant[0]}={value}")
        try:
            args[name] = parse_json(value)
        except TooDeepError:
            raise FabricError(Code.TOO_DEEP, f"--arg {name}") from None
        except ValueError:
            args[name] = _MEANT.get(name, str)(value)
    return args


def _time_ms(text: str) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    # Without an offset it would be another time on each machine.
    if time is None or time.tzinfo is None:
        raise FabricError(
            Code.USAGE, f"{text!r} is no time", "write milliseconds since 1970, or e.g. 2026-11-29T01:00:00Z"
        )
    return round(time.timestamp() * 1000)


_OWN = ("duration", "start_time", "stop_time", "response_requested")
_SLIP = 0.8
_MEANT = {"duration": parse_duration, "start_time": _time_ms, "stop_time": _time_ms}
