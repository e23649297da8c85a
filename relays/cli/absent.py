"""Whom an action was meant for and did not reach, because they are away.

A relay selects among those who are connected; who else should have been there only a topology file or the identities on
this machine can say. Guarantees: named is everybody whom `fabric explain act` lists as a target, is not revoked, and
was not selected. Where nothing is known of anybody, nobody is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from fabric.edge.messages import Outcome
from fabric.edge.point import request_arguments
from fabric.edge.stamps import action_stamp
from fabric.protocol.actions import End
from fabric.protocol.errors import Code, FabricError
from relays.cli.explain import Scene, scene_of
from relays.explaining import explain_action

AWAY = Code.AWAY


class Expected:
    """Made before the action leaves: a file that cannot be read is told then. Raises FabricError where one is named;
    without one, what is wrong with the identity or the action is for the request to say."""

    def __init__(self, identity: str, file: Path | None, action: str, target: str, to: str, **options: Any) -> None:
        self.ids: list[str] = []
        with nullcontext() if file is not None else suppress(FabricError):
            self.ids = _expected(scene_of(identity, file), action, target, to, **options)

    def away(self, selected: Sequence[str] | None) -> list[str]:
        """Of those who were expected; nobody while it is not known who was selected."""
        return [id_ for id_ in self.ids if id_ not in selected] if selected is not None else []


def _expected(scene: Scene, action: str, target: str, to: str, **options: Any) -> list[str]:
    spec, _ = request_arguments(action, target, to, None)
    said = explain_action(scene.asker, action_stamp(spec, to, scene.defaults, **options), scene.tree)
    ids = [each.id for each in said.targets]
    if scene.revocations is None:
        return ids
    return [id_ for id_ in ids if scene.revocations.check(scene.tree.points[id_].credential) is None]


def away_json(target: str) -> dict[str, Any]:
    """Like an outcome, with an end that is none: nothing was sent there."""
    return {**Outcome(target, End.UNKNOWN, "", 0, AWAY.label, AWAY.cause).to_json(), "end": AWAY.reason}


def away_line(targets: Sequence[str]) -> str:
    return f"away, connected nowhere ({AWAY.label}): {', '.join(targets)}"
