"""Options that several commands share: who somebody is, and how a message is stamped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fabric.protocol.errors import Code, FabricError

As = Annotated[str, typer.Option("--as", envvar="FABRIC_AS", metavar="ID", help="Who you are: an id, fabric/id, or an identity's folder.")]
Severity_ = Annotated[str, typer.Option("--severity", help="informational, low, medium, high, critical or fatal.")]
Ttl = Annotated[str | None, typer.Option("--ttl", metavar="30s", help="Life span; default: the topology's.")]
Label_ = Annotated[str | None, typer.Option("--label", help="TLP of what no --field-label names; default: the topology's.")]
FieldLabels_ = Annotated[list[str] | None, typer.Option("--field-label", metavar="FIELD=LABEL", help="A field's own TLP; again for more.")]
Outbox_ = Annotated[Path | None, typer.Option("--outbox", metavar="FILE", help="Keep on this disk what the relay does not hold yet; the next start goes on.")]
AsJson = Annotated[bool, typer.Option("--json", help="One object a line.")]


def needed(identity: str) -> str:
    if not identity:
        raise FabricError(Code.USAGE, "who are you?", "add --as ID, or set FABRIC_AS")
    return identity
