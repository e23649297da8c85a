"""A control point for commands that read: whoever starts before its relay does waits for it, and says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fabric.edge.acting.executing import AT_ONCE
from fabric.edge.blocking import ControlPoint
from fabric.edge.face import CONNECT_TIMEOUT_S
from fabric.edge.identity.identity import Identity
from fabric.protocol.base.errors import FabricError
from fabric.protocol.base.limits import ARTIFACTS_BYTES_MAX
from relays.cli.shared.holdups import Holdups
from relays.terminal import Screen


@contextmanager
def reached(
    identity: Identity | str,
    as_json: bool,
    *,
    wait: bool,
    timeout_s: float | None = None,
    outbox: Path | None = None,
    actions_at_once: int = AT_ONCE,
    artifacts: int = ARTIFACTS_BYTES_MAX,
    prepare: Callable[[ControlPoint], None] = lambda _point: None,
) -> Iterator[ControlPoint]:
    """Connected, as long as the block runs. While it is not, the reason is said on standard error.

    `wait`: for a relay that does not answer, for `timeout_s` at most, or without end. `prepare` is called before it
    connects. Raises FabricError.
    """
    patience_s = timeout_s if wait else CONNECT_TIMEOUT_S
    point = ControlPoint(
        identity, outbox=outbox, connect_timeout_s=patience_s, wait_for_relay=wait, actions_at_once=actions_at_once,
        artifacts=artifacts,
    )
    try:
        prepare(point)
    except FabricError:
        # What is denied here is for its relay to count, where there is one.
        with suppress(FabricError), ControlPoint(identity, connect_timeout_s=CONNECT_TIMEOUT_S, wait_for_relay=False) as told:
            prepare(told)
        raise
    with Holdups(lambda: point.held_up, lambda: None, lambda: ("", 0), Screen(error=True), as_json), point:
        yield point
