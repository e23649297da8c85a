"""By which ways a message leaves a relay (SPEC 7.6, 7.8): down to who is below, or up. It owns nothing: routes know."""

from __future__ import annotations

from collections.abc import Iterable

from fabric.protocol.custody.sessions import NOWHERE
from fabric.protocol.envelope.layout import Kind
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.links.links import UPLINK
from fabric.protocol.routes.attachments import Attachment
from fabric.protocol.routes.routing import RouteTable

Way = tuple[str, tuple[str, ...]]  # a destination, and the targets for it; without targets it is for everybody there


class Router:
    """`is_root`: whether the relay has nobody above it."""

    def __init__(self, routes: RouteTable, *, is_root: bool) -> None:
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

    def to(self, message: Verified, nodes: Iterable[str]) -> list[Way]:
        """To these nodes, down or up, each way with those of them for whom it is; an action to where one executes."""
        by_way: dict[str, list[str]] = {}
        for node in dict.fromkeys(nodes):
            if message.header.kind is Kind.ACTION:
                executor = self._routes.executor(node)
                known = [executor] if executor is not None else []
            else:
                known = self._routes.of_node(node)
            for way in [way for way, _ in self.down(known)] or [self.upwards]:
                by_way.setdefault(way, []).append(node)
        return [(way, tuple(below)) for way, below in by_way.items()]

    def down_to(self, node: str) -> list[Way]:
        """To wherever this node is below; empty where it is not."""
        return self.down(self._routes.of_node(node))
