"""What components of a relay tell of who is below it: small facts, heard where they happen.

Guarantees: a fact holds no decision. Who hears what is one table, in `Relay.hear`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Ready
from fabric.protocol.links import facts
from fabric.protocol.links.link import Link
from fabric.protocol.routes.attachments import Attachment


class Attached(NamedTuple):
    """The peer of this link says that it is here."""

    attachment: Attachment
    link: Link


class Moved(NamedTuple):
    """Not to be reached by this destination any more: a control point, or a relay and all that are below it."""

    destination: str
    attachment: Attachment
    with_it: list[Attachment]


class Found(NamedTuple):
    """The way is known to a node that was not below before, and to all that are below that node."""

    attachment: Attachment


class Executes(NamedTuple):
    """A control point is below, and says that it executes: it came, or said so, or its relay did."""

    attachment: Attachment


class ExecutesNoMore(NamedTuple):
    """By this destination this node does not execute any more: it does elsewhere, in another session, or nowhere."""

    node: str
    destination: str


class Gone(NamedTuple):
    """Nobody is to be reached by this destination any more."""

    destination: str


class Surplus(NamedTuple):
    """One session too many of its node: it is not believed any more."""

    attachment: Attachment


class SessionEnded(NamedTuple):
    """A control point took leave (NO_INTEREST), or did not come back in time."""

    destination: str
    code: Code


class ChildRevoked(NamedTuple):
    """A relay is on the revocation list; these control points were below it."""

    destination: str
    below: list[Attachment]


Fact = facts.Fact | Attached | Moved | Found | Executes | ExecutesNoMore | Gone | Surplus | SessionEnded | ChildRevoked
Hear = Callable[[Fact, int, Ready], None]
