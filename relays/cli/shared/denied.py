"""What was denied, with the command that says what is granted."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fabric.protocol.base.errors import Code, FabricError

_GRANTS = (Code.PUBLISH_DENIED, Code.SUBSCRIBE_DENIED, Code.REQUEST_DENIED, Code.SEVERITY_DENIED, Code.AUDIENCE_DENIED, Code.DECLASSIFY_DENIED)


def with_grants(error: FabricError, *asked: str, identity: str, severity: str = "") -> FabricError:
    """The same error. `asked`: what comes after `fabric explain`."""
    if error.code not in _GRANTS:
        return error
    wanted: Sequence[str] = ("--severity", severity) if error.code is Code.SEVERITY_DENIED else ()
    command = shlex.join(["fabric", "explain", *asked, "--as", identity, *wanted])
    return FabricError(error.code, error.detail, f"see what is granted: {command}")


@contextmanager
def grants_named(*asked: str, identity: str, severity: str = "") -> Iterator[None]:
    """Whatever is denied in the block is raised as `with_grants` has it."""
    try:
        yield
    except FabricError as error:
        raise with_grants(error, *asked, identity=identity, severity=severity) from None
