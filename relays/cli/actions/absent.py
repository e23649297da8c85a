"""Whom an action was meant for and did not reach, because they are away.

A relay selects among those who are connected; who else should have been there only a topology file or the identities on
this machine can say. Guarantees: named is everybody whom `fabric explain act` lists as a target, is not revoked, and
was not selected. Where nothing is known of anybody, nobody is named.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from fabric.edge.messages import Outcome
from fabric.edge.publishing.options import action_stamp
from fabric.edge.requesting.request import request_arguments
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.vocabulary.openc2 import End
from relays.cli.shared.denied import with_grants
from relays.cli.shared.scene import Scene, scene_of
from relays.explaining import Explanation, Tree, explain_action, unknown_names
from relays.terminal import say

AWAY = Code.AWAY


class Expected:
    """Made before the action leaves: a file that cannot be read is told then. Raises FabricError where one is named;
    without one, what is wrong with the identity or the action is for the request to say."""

    def __init__(self, identity: str, file: Path | None, action: str, target: str, to: str, **options: Any) -> None:
        self.ids: list[str] = []
        self._to, self._by_default = to, options.get("label") is None
        self._identity, self._severity = identity, str(options.get("severity", ""))
        # How far it would get depends on the label.
        label = options.get("label")
        self._asked = ("act", action, target, "--to", to, *(("--label", str(label)) if label is not None else ()))
        self._tree = Tree()
        self._said: Explanation | None = None
        with nullcontext() if file is not None else suppress(FabricError):
            scene = scene_of(identity, file)
            self._tree = scene.tree
            self._said = _explained(scene, action, target, to, **options)
            self.ids = [each.id for each in self._said.targets]

    def tell_course(self, *, as_json: bool) -> None:
        """On standard error: the label that nobody chose, where it keeps the action from somebody who is meant."""
        said = self._said
        if said is None or said.label is None or not self._by_default or as_json:
            return
        stopped = [each for each in said.targets if each.code is Code.WITHHELD]
        at_hop = [hop.relay for hop in said.hops if hop.ends]
        if stopped or at_hop:
            where = ", ".join(dict.fromkeys(at_hop or [each.by for each in stopped]))
            who = f" on its way to {', '.join(each.id for each in stopped)}" if stopped else ""
            say(f"label {said.label.short} (the topology's default): ends at {where}{who} ({Code.WITHHELD.label}); "
                "what may go further needs --label", error=True)

    def why(self, error: FabricError) -> FabricError:
        """What is denied with the command that says what is granted; NOBODY with the one that says why, and with names
        in the selector that nobody here has."""
        if error.code is not Code.NOBODY:
            return with_grants(error, *self._asked, identity=self._identity, severity=self._severity)
        unknown = unknown_names(self._to, self._tree)
        detail = f"{error.detail}: {unknown}" if unknown else error.detail
        command = shlex.join(["fabric", "explain", *self._asked, "--as", self._identity])
        return FabricError(error.code, detail, f"see whom it selects, and why not: {command}")

    def away(self, selected: Sequence[str] | None) -> list[str]:
        """Of those who were expected; nobody while it is not known who was selected."""
        if selected is None:
            return []
        known = set(selected)
        return [id_ for id_ in self.ids if id_ not in known]


def _explained(scene: Scene, action: str, target: str, to: str, **options: Any) -> Explanation:
    spec, _ = request_arguments(action, target, to, None)
    stamp = action_stamp(spec, to, scene.defaults, **options)
    return explain_action(scene.asker, stamp, scene.tree, revocations=scene.revocations or Revocations())


def away_json(target: str) -> dict[str, Any]:
    """Like an outcome, with an end that is none: nothing was sent there."""
    return {**Outcome(target, End.UNKNOWN, "", 0, AWAY.label, AWAY.cause).to_json(), "end": AWAY.reason}


def away_line(targets: Sequence[str]) -> str:
    """For people: who is away."""
    return f"away, connected nowhere ({AWAY.label}): {', '.join(targets)}"
