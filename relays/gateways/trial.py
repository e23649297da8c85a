"""One marked message for a sink, to see whether its receiver takes it before there is one that matters.

Guarantees: nothing is waited for: what a sink would wait for is why it does not work. Nothing is acknowledged and
nothing is in the dead letters, since no relay takes part.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import structlog

from fabric.edge.identity.identity import Identity
from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.declared import DeclaredSink
from relays.gateways.kinds import Place
from relays.wall import wall_ms

_WORD: Final = "test"
_TTL_MS: Final = 60_000


def marked_message(sink: DeclaredSink, identity: Identity, at_ms: int) -> Message:
    """On a topic that the sink may get, informational and CLEAR; its content says what it is."""
    words = [_WORD if word in ("*", ">") else word for word in sink.topics[0].split(".")]
    content = {"test": True, "note": f"fabric sink test {sink.name}: this is no event", "from": identity.id}
    return Message(
        f"{secrets.token_hex(16)}.0", ".".join(words), "event", identity.id, Severity.INFORMATIONAL, Phase.NONE,
        Label.CLEAR, at_ms, _TTL_MS, 0, (), content, dict.fromkeys(content, Label.CLEAR), {},
    )


def hand_over(sink: DeclaredSink, identity: Identity) -> Message:
    """The message that its receiver took. Raises FabricError for why it did not; USAGE where the sink hands over to
    nobody."""
    if not sink.kind.hands_over:
        raise FabricError(Code.USAGE, f"{sink.name} is of the kind {sink.kind.name}, which writes here",
                          "look at what it needs: fabric edge kinds --check")
    for need in sink.missing():
        raise FabricError(Code.SOURCE_UNFIT, f"{sink.kind.name}: {need.what}: {need.problem}", need.next_step)
    outtake = _OneMessage(identity, marked_message(sink, identity, wall_ms()))
    with TemporaryDirectory(prefix="fabric-") as folder:
        place = Place(identity.id, sink.name, Path(folder), structlog.get_logger().bind(gateway=sink.name))
        try:
            sink.kind.open(sink.settings, place).run(outtake, threading.Event())
        except OSError as error:
            raise FabricError(Code.SINK_AWAY, (error.strerror or type(error).__name__).lower()) from None
    return outtake.message


class _OneMessage:
    """As `kinds.Outtake`."""

    def __init__(self, identity: Identity, message: Message) -> None:
        self.identity = identity
        self.message = message

    def groups(self, records_max: int) -> Iterator[list[Message]]:
        """It, and no more."""
        yield [self.message]

    def waits(self, why: FabricError | None) -> None:
        """Nobody waits here."""
        if why is not None:
            raise why

    def count(self, reason: str, count: int) -> None:
        """Nobody reads it."""

    def reject(self, message: Message, error: FabricError) -> None:
        """It will never be taken."""
        raise error

    def note(self, words: str) -> None:
        """Nobody reads it."""
