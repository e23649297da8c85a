"""What is handed over is tried again until it is taken: an hour of a receiver that is away loses nothing.

Guarantees: what was not taken is never passed, so the relay holds back what follows; pauses grow, differ between sinks
that began together, and are no shorter than the receiver asks for; the state of the sink says what it waits for.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import Outtake

FIRST_S: Final = 0.5
MOST_S: Final = 60.0
_T = TypeVar("_T")


class NotNowError(FabricError):
    """It was not taken, and may be later. `after_s`: the receiver wants to be left alone for so long."""

    _code = Code.SINK_AWAY

    def __init__(self, detail: str, next_step: str = "", *, after_s: float = 0.0) -> None:
        super().__init__(self._code, detail, next_step)
        self.after_s = after_s


class NotUsError(NotNowError):
    """The receiver is there, and refuses: a secret, an address or what is declared has to be another one first."""

    _code = Code.SINK_REFUSED


class Trying:
    """Of one run of a sink. `uniform`: a number between two."""

    def __init__(
        self, outtake: Outtake, stop: threading.Event, uniform: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._outtake = outtake
        self._stop = stop
        self._uniform = uniform

    def __call__(self, attempt: Callable[[], _T]) -> _T:
        """What `attempt` returns, which raises NotNowError while it cannot. Raises that when the sink is to stop."""
        pause_s, has_waited = FIRST_S, False
        while True:
            try:
                done = attempt()
            except NotNowError as error:
                has_waited = True
                self.pause(error, max(error.after_s, pause_s * self._uniform(0.5, 1.0)))
                pause_s = min(MOST_S, 2 * pause_s)
            else:
                if has_waited:
                    self._outtake.waits(None)
                return done

    def pause(self, why: FabricError, seconds: float) -> None:
        """Wait so long, which is shown. Raises `why` when the sink is to stop."""
        self._outtake.waits(why)
        if self._stop.wait(seconds):
            raise why
