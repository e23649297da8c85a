"""A program of a later version, in a process of its own: `program=later.PROGRAM`, with the lowest and the highest
version that it speaks, and then `relay` and a relay's folder, or the arguments of a command.

It says in a HELLO and in each frame more than this version knows, and so do the headers of what it signs. What it does
otherwise is what this version does.
"""

from __future__ import annotations

import sys
from typing import Any

from fabric.protocol.base.codec import pack
from fabric.protocol.envelope import layout
from fabric.protocol.envelope.header import Header
from fabric.protocol.links import handshake, links, opening
from fabric.protocol.wire.frames import Data, Frame, Nack, Pong, Routed, Welcome
from relays import cli, run
from relays.authority import lists
from relays.process import status
from tests.future import fields_of

PROGRAM = "from tests.integration.later import main; main()"
# Of a frame that has a list of entries: where that is, and how many elements of an entry this version knows.
_ENTRIES = {Data: (3, 6), Nack: (1, 3), Routed: (2, 3)}


def change(low: int, high: int) -> None:
    """Of the program that this process is about to run."""
    for module in (handshake, opening, status, lists):
        vars(module)["PROTOCOL_VERSIONS"] = (low, high)
    encode_frame, encode_header = links.encode_frame, layout.encode_header

    def longer(frame: Frame) -> bytes:
        fields = fields_of(encode_frame(frame))
        if isinstance(frame, Pong):
            fields += [[], None][len(fields) - 3 :]
        if isinstance(frame, Welcome) and not frame.path:
            fields.append([])
        if type(frame) in _ENTRIES:
            at, known = _ENTRIES[type(frame)]
            fields[at] = [[*entry, *[0] * (known - len(entry)), {"later": 1}] for entry in fields[at]]
        return pack([*fields, "later", {"of": [high, {}]}])

    def more(header: Header) -> bytes:
        fields: list[Any] = fields_of(encode_header(header))
        return pack([*fields, *[0, 0, None][len(fields) - 17 :], {"later": ["field", 7]}])

    vars(links)["encode_frame"] = longer
    vars(layout)["encode_header"] = more


def main() -> None:
    low, high, what, *arguments = sys.argv[1:]
    change(int(low), int(high))
    if what == "relay":
        sys.exit(run.main(arguments))
    sys.argv[1:] = [what, *arguments]
    cli.main()
