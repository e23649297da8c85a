"""Which kinds of sources and sinks there are.

Those that come with the command are named here. Others are entry points of the groups `message_fabric.sources` and
`message_fabric.sinks` in packages of the same Python: `name = "package.module:KIND"`, a `relays.gateways.kinds.
SourceKind` or `SinkKind`. Nothing of a kind is imported before its name is asked for, and no package takes the name of
one of ours. What a kind needs beyond Message Fabric itself is imported when it is opened.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from fabric.edge.arguments.suggestions import near
from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import SinkKind, SourceKind

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_K = TypeVar("_K", SourceKind, SinkKind)

_SOURCES: Final[dict[str, str]] = {
    "file": "relays.gateways.files",
    "syslog": "relays.gateways.syslog.source",
    "http": "relays.gateways.http.source",
    "stix": "relays.gateways.stix.source",
    "poll": "relays.gateways.poll.source",
    "taxii": "relays.gateways.taxii.source",
    "misp": "relays.gateways.misp.source",
}
_SINKS: Final[dict[str, str]] = {
    "jsonlines": "relays.gateways.jsonlines",
    "syslog": "relays.gateways.syslog.sending.sink",
    "webhook": "relays.gateways.webhook.sink",
    "nats": "relays.gateways.nats.sink",
    "kafka": "relays.gateways.kafka.sink",
    "stix": "relays.gateways.stix.sink",
    "blocklist": "relays.gateways.blocklist",
}


@dataclass(frozen=True)
class Registry(Generic[_K]):
    """The kinds of sources, or those of sinks. `what`: the word for one; `attribute`: a module's name for its kind."""

    what: str
    group: str
    ours: dict[str, str]
    type: type[_K]
    attribute: str

    def names(self) -> list[str]:
        """Of all kinds, ours first. Nothing is imported for it."""
        return [*self.ours, *sorted(self._others())]

    def kind(self, name: str) -> _K:
        """Raises USAGE for a name that is none, SOURCE_UNFIT for a package that cannot be used."""
        if name in self.ours:
            kind: _K = getattr(importlib.import_module(self.ours[name]), self.attribute)
            return kind
        point = self._others().get(name)
        if point is None:
            like = near(name, self.names()) or self.names()
            raise FabricError(
                Code.USAGE, f"there is no kind of {self.what} {name!r}", f"write {' or '.join(like)}"
            )
        return self._loaded(point)

    def _others(self) -> dict[str, EntryPoint]:
        from importlib.metadata import entry_points  # noqa: PLC0415 - it takes a while, and few need it

        return {point.name: point for point in entry_points(group=self.group) if point.name not in self.ours}

    def _loaded(self, point: EntryPoint) -> _K:
        repair = "repair or remove the package that brings it"
        try:
            kind: Any = point.load()
        except Exception as error:  # noqa: BLE001 - whatever somebody else's package does when it is imported
            raise FabricError(
                Code.SOURCE_UNFIT, f"{point.name} ({point.value}): {type(error).__name__} while it was loaded", repair
            ) from error
        if not isinstance(kind, self.type) or kind.name != point.name:
            raise FabricError(
                Code.SOURCE_UNFIT, f"{point.name} ({point.value}) is no kind of {self.what} of this name", repair
            )
        return kind


SOURCES: Final = Registry("source", "message_fabric.sources", _SOURCES, SourceKind, "SOURCE")
SINKS: Final = Registry("sink", "message_fabric.sinks", _SINKS, SinkKind, "SINK")
