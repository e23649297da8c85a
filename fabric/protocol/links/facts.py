"""What components of a node tell: small facts about its links, its credential and its turn.

Guarantees: a fact is told where it happens, before anything else is done, so what follows from it is sent in that
order; it holds no decision. Who hears what is one table of each kind of node, in its `hear`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from fabric.protocol.base.errors import Reject
from fabric.protocol.core.ready import Ready
from fabric.protocol.custody.outbox import Row
from fabric.protocol.links.link import Link


class LinkOpened(NamedTuple):
    """Its handshake is done."""

    link: Link


class LinkLost(NamedTuple):
    """An open link is gone, and it was not left for another before."""

    link: Link


class LinkRefused(NamedTuple):
    """The peer refused us, or we refused the peer that we dialled. The link is gone."""

    link: Link
    reason: Reject


class PeerLeft(NamedTuple):
    """The peer of an open link said BYE. The link is gone."""

    link: Link


class CredentialRenewed(NamedTuple):
    """This node has a newer credential: what it says of itself is to be signed under that."""


class ListTaken(NamedTuple):
    """A newer revocation list is in force."""


class RowsEnded(NamedTuple):
    """These have ended, a part of many: whoever held them may be empty by now."""

    rows: Sequence[Row]


class TurnEnded(NamedTuple):
    """Everything that a turn brought is decided: what has to be committed together with it is due."""


Fact = LinkOpened | LinkLost | LinkRefused | PeerLeft | CredentialRenewed | ListTaken | RowsEnded | TurnEnded
Hear = Callable[[Fact, int, Ready], None]
