"""Records of which no two share an envelope: of so many topics in turn, and no more of them under way.

A publisher gathers what waits and is alike, so to have a topic of its own is not enough: a record is alone only if none
of its topic waits with it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from fabric.edge.blocking import ControlPoint
from scripts.comparison.records import LABELS, TOPICS, single_topic

_WAIT_S = 110.0


class Singles:
    """Publishes them, and counts them."""

    def __init__(self, point: ControlPoint, of: str) -> None:
        self.count = 0
        self._point = point
        self._of = of
        self._under_way: deque[Future[str]] = deque()

    def publish(self, record: Mapping[str, Any], **options: Any) -> None:
        """As one of the topics below `of`, with its number as `n`. Waits where it has to."""
        if len(self._under_way) >= TOPICS:  # for half of them, so that it does not wait for each
            for _ in range(TOPICS // 2):
                self._under_way.popleft().result(_WAIT_S)
        topic, content = single_topic(self.count, self._of), {**record, "n": self.count}
        self._under_way.append(self._point.publish_later(topic, content, labels=LABELS, **options))
        self.count += 1
