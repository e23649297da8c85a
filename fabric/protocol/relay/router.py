"""By which ways a message leaves a relay (SPEC 1, 7.6, 7.8): down to who is below, or up.

It owns nothing, and changes nothing: the routes know who is where.
"""

from __future__ import annotations

from collections.abc import Iterable

from fabric.protocol.access.permissions import may_know
from fabric.protocol.custody.sessions import NOWHERE
from fabric.protocol.envelope.header import Header, Kind
from fabric.protocol.links.links import UPLINK
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.routes.routing import RouteTable
from fabric.protocol.vocabulary.fetching import SESSION_MARK
from fabric.protocol.vocabulary.topics import matches
from fabric.protocol.wire.frames import Direction

Way = tuple[str, tuple[str, ...]]  # a destination, and the targets for it; without targets it is for everybody there


def wants(attachment: Attachment, header: Header) -> bool:
    """Whether it subscribes to an event or intel, and may know of it."""
    return _may_know(attachment, header) and any(matches(pattern, header.topic) for pattern in attachment.subscriptions)


def _may_know(attachment: Attachment, header: Header) -> bool:
    """Nothing waits for a reader that may not know of it: that would take the room of what may go there, and be counted
    there as lost."""
    return may_know(attachment.credential, header)


class Router:
    """`me`: the id of this relay. `is_root`: whether it has nobody above it."""

    def __init__(self, me: str, routes: RouteTable, *, is_root: bool) -> None:
        self._me = me
        self._routes = routes
        self.is_root = is_root

    @property
    def upwards(self) -> str:
        """Where to send what is for a node that is not below. At the root it waits for that node for a while."""
        return NOWHERE if self.is_root else UPLINK

    def up(self) -> list[Way]:
        """To the parent, where there is one."""
        return [] if self.is_root else [(UPLINK, ())]

    def down(self, attachments: Iterable[Attachment]) -> list[Way]:
        """To these, as far as they are below; each way once."""
        ways = dict.fromkeys(self._routes.via(attachment) for attachment in attachments)
        return [(way, ()) for way in ways if way]

    def readers(self, header: Header, direction: Direction) -> list[Way]:
        """Where an event or intel goes from here: up, and to those who want it."""
        if header.kind is Kind.INTEL and direction is Direction.UP and not self.is_root:
            return self.up()
        if header.kind is Kind.INTEL:
            return self.down_to_readers(header)
        return self.up() + self.down(each for each in self._wanted(header) if each.relay == self._me)

    def down_to_readers(self, header: Header) -> list[Way]:
        """To everybody below who wants this."""
        return self.down(self._wanted(header))

    def _wanted(self, header: Header) -> list[Attachment]:
        return [each for each in self._routes.interested(header.topic) if _may_know(each, header)]

    def to(self, nodes: Iterable[str]) -> list[Way]:
        """To these nodes, down or up, each way with those of them for whom it is."""
        by_way: dict[str, list[str]] = {}
        for node in dict.fromkeys(nodes):
            for way in [way for way, _ in self.down_to(node)] or [self.upwards]:
                by_way.setdefault(way, []).append(node)
        return [(way, tuple(below)) for way, below in by_way.items()]

    def down_to(self, node: str) -> list[Way]:
        """To wherever this node, or this session of it, is below; empty where it is not."""
        name, _, session = node.partition(SESSION_MARK)
        found = self._routes.of_node(name)
        return self.down(each for each in found if not session or each.session.hex().startswith(session))
