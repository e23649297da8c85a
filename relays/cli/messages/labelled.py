"""Which label a message will bear, and where it ends because of it: said when it is sent, not when somebody misses it.

How far a label goes is known to whoever has the identities of the relays above (`relays.explaining`). Elsewhere only
the relay at which it ends can say so, a second later: there a command without a chosen label waits for that, though not
for long. Guarantees: nothing here stops a message; where the answer cannot be known, nothing is said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from fabric.edge.publishing.options import publish_stamp
from fabric.edge.receiving.notices import Notice
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.cli.shared.scene import scene_of
from relays.explaining import Hop, explain_publish
from relays.terminal import say

# A relay says what ended there one second after the first did.
NOTICE_S = 2.0
# A command that runs for weeks tells each when it comes; its last object has the last of them.
_NOTICES_MAX = 16


class Course(NamedTuple):
    """`by_default`: nobody chose the label. `ends`: the relay at which a message with it ends, as far as it is known;
    `unknown_above`: the first relay of which nothing is known here; `nobody`: whom the audience names and nobody is."""

    label: Label
    by_default: bool
    ends: Hop | None = None
    unknown_above: str = ""
    nobody: tuple[Reject, ...] = ()

    @property
    def words(self) -> str:
        """Empty where there is nothing that somebody has to know."""
        return "; ".join(filter(None, (self._way, *(f"warning {each}" for each in self.nobody))))

    @property
    def _way(self) -> str:
        label = f"label {self.label.short}" + (" (the topology's default)" if self.by_default else "")
        if self.ends is None:
            return label if self.by_default else ""
        if self.ends.is_cleared_for(self.label):
            return f"{label}: ends at {self.ends.relay}, whom the audience does not reach ({Code.WITHHELD.label})"
        remedy = (
            f"it goes further where the topology says carries_sealed = true at {self.ends.relay}"
            if self.label is Label.RED else "what may go further needs --label"
        )
        return (
            f"{label}: ends at {self.ends.relay}, cleared for {self.ends.clearance.short} ({Code.WITHHELD.label}); {remedy}"
        )

    def to_json(self) -> dict[str, Any]:
        ends = None if self.ends is None else {
            "relay": self.ends.relay, "clearance": self.ends.clearance.short, "code": Code.WITHHELD.label,
        }
        return {"label": self.label.short, "label_by_default": self.by_default, "ends": ends,
                "unknown_above": self.unknown_above or None,
                "nobody": [{"code": each.code.label, "name": each.detail} for each in self.nobody]}


def course_of(
    identity: str, topic: str, *, label: str | None, labels: dict[str, str], severity: str,
    audience: Audience | None = None,
) -> Course | None:
    """None where it cannot be said: what is wrong with the identity or the message is for others to tell."""
    with suppress(FabricError, OSError):
        scene = scene_of(identity, None)
        stamp = publish_stamp(
            topic, scene.defaults, severity=severity, label=label, labels=labels, audience=audience,
            clearance=scene.asker.credential.clearance,
        )
        said = explain_publish(scene.asker, stamp, scene.tree)
        ends = next((hop for hop in said.hops if hop.ends), None)
        by_default = label is None and "*" not in labels
        # A recipient whom nobody knows is no warning: it is refused, and for that there is an error.
        recipients = () if stamp.audience is None else stamp.audience.recipients
        nobody = tuple(each for each in said.nobody if each.detail not in recipients)
        return Course(stamp.label, by_default, ends, said.unknown_above, nobody)
    return None


class Watch:
    """What is heard of the label of what is sent: before it is sent, and, where that is not known, after."""

    def __init__(self, course: Course | None, tell: Callable[[Notice], None]) -> None:
        self._course = course
        self._tell = tell
        self._heard = threading.Event()
        self.notices: list[Notice] = []

    def begin(self, *, as_json: bool) -> None:
        """Say what is known, on standard error."""
        if self._course is not None and self._course.words and not as_json:
            say(self._course.words, error=True)

    def take(self, notice: Notice) -> None:
        """On the connection's thread."""
        self._tell(notice)
        self.notices.append(notice)
        del self.notices[:-_NOTICES_MAX]
        self._heard.set()

    def wait(self) -> None:
        """For a first word of where it ends; only where nobody chose the label and nobody here knows the way."""
        course = self._course
        if course is not None and course.by_default and course.unknown_above and course.label is not Label.CLEAR:
            self._heard.wait(NOTICE_S)

    def to_json(self) -> dict[str, Any]:
        known = self._course.to_json() if self._course is not None else {}
        return {**known, "notices": [notice.to_json() for notice in self.notices]}
