"""Options that several commands share: who somebody is, and how a message is stamped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fabric.edge.publishing.options import to_audience
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.credentials import NodeKind, name_ok
from fabric.protocol.vocabulary.tlp import Audience
from relays.wall import wall_ms as wall_ms

As = Annotated[str, typer.Option("--as", envvar="FABRIC_AS", metavar="ID", help="Who you are: an id, fabric/id, or an identity's folder.")]
Severity_ = Annotated[str, typer.Option("--severity", help="informational, low, medium, high, critical or fatal; or OCSF's number, 1 to 6.")]
Ttl = Annotated[str | None, typer.Option("--ttl", metavar="30s", help="Life span; default: the topology's.")]
Label_ = Annotated[str | None, typer.Option("--label", help="TLP of what no --field-label names; default: the topology's.")]
ActionLabel = Annotated[str | None, typer.Option("--label", help="The action's TLP; default: the topology's.")]
FieldLabels_ = Annotated[list[str] | None, typer.Option("--field-label", metavar="FIELD=LABEL", help="A field's own TLP; again for more.")]
ToOrg = Annotated[list[str] | None, typer.Option("--to-org", metavar="NAME", help="An organisation that it is for besides one's own, and for green and amber its clients; again for more.")]
ToCommunity = Annotated[list[str] | None, typer.Option("--community", metavar="NAME", help="A community that may have what is green; again for more.")]
ToRecipient = Annotated[list[str] | None, typer.Option("--recipient", metavar="ID", help="Who alone can read what is red: an id, or role=NAME for all who have the role; again for more.")]
AllowUnmatched = Annotated[bool, typer.Option("--allow-unmatched", help="A --field-label may name a field that is not there.")]
Outbox_ = Annotated[Path | None, typer.Option("--outbox", metavar="FILE", help="Keep on this disk what the relay does not hold yet; the next start goes on.")]
NoWait = Annotated[bool, typer.Option("--no-wait", help="End at once where the relay does not answer.")]
AlsoFabric = Annotated[str | None, typer.Option("--fabric", metavar="NAME", help="The same as FABRIC.")]
AsJson = Annotated[bool, typer.Option("--json", help="One object a line.")]


KINDS = {"point": NodeKind.POINT, "operator": NodeKind.OPERATOR, "relay": NodeKind.RELAY, "issuer": NodeKind.ISSUER}


def to_kinds(names: Sequence[str], allowed: Sequence[str] = tuple(KINDS)) -> tuple[NodeKind, ...]:
    """Kinds of nodes from their names. Raises USAGE for a name that is not among `allowed`."""
    unknown = [name for name in names if name not in allowed]
    if unknown:
        raise FabricError(Code.USAGE, f"no kind {unknown[0]}", f"write one of: {', '.join(allowed)}")
    return tuple(KINDS[name] for name in names)


def to_tags(tags: Sequence[str] | None) -> tuple[tuple[str, str], ...]:
    """NAME=VALUE, each."""
    pairs = [tag.partition("=") for tag in tags or ()]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise FabricError(Code.USAGE, f"{name!r} is no tag", "write --tag NAME=VALUE, e.g. --tag vendor=zeek")
    return tuple((name, value) for name, _, value in pairs)


def to_names(names: Sequence[str] | None, option: str, *, patterns: bool = False) -> tuple[str, ...]:
    """Names of communities or organisations; with `patterns` one may end in `*`. Raises USAGE for what nobody has."""
    for name in names or ():
        if not (name_ok(name) or patterns and (name == "*" or name_ok(name.removesuffix("*")))):
            raise FabricError(Code.USAGE, f"{name!r} is no name", f"write {option} with lower case letters, digits and -")
    return tuple(names or ())


def needed(identity: str) -> str:
    """The identity that was named. Raises USAGE where none was."""
    if not identity:
        raise FabricError(Code.USAGE, "who are you?", "add --as ID, or set FABRIC_AS; `fabric credential list` shows who is on this machine")
    return identity


def to_audience_option(
    organisations: list[str] | None, communities: list[str] | None, recipients: list[str] | None
) -> Audience | None:
    """What `--to-org`, `--community` and `--recipient` say; None where they say nothing. Raises BAD_AUDIENCE."""
    return to_audience({
        "organisations": organisations or (), "communities": communities or (), "recipients": recipients or (),
    })


def audience_words(audience: Audience | None) -> list[str]:
    """The options that say it, for a command that is to be run next."""
    if audience is None:
        return []
    named = (
        ("--to-org", audience.organisations), ("--community", audience.communities), ("--recipient", audience.recipients),
    )
    return [word for option, names in named for name in names for word in (option, name)]
