"""Which hosts come too often: to take in a connection is work, whoever it is from and whatever becomes of it.

Guarantees: a host has as many new connections in the long run as there are nodes let in (SPEC 7.7), and a burst of as
many as strangers may have; of one that comes more often nothing is taken in for a moment, and nobody else is kept out
for it. Those who have gone before anybody could ask where they came from are one host, `NAMELESS`. Holds no socket and
no clock. Hosts are remembered in a bounded number.
"""

from __future__ import annotations

from collections import OrderedDict

from fabric.protocol.base.limits import ADMISSIONS_PER_S
from fabric.transport.filters import KEPT_OUT_MAX
from fabric.transport.strangers import STRANGERS_MAX

_HOSTS_MAX = 4_096
_SECOND_MS = 1_000


class Crowds:
    """Tokens of each host are counted in thousandths of a connection."""

    def __init__(self, per_s: int = ADMISSIONS_PER_S, burst: int = STRANGERS_MAX) -> None:
        self._per_s = per_s
        self._burst = burst * _SECOND_MS
        self._tokens: OrderedDict[str, tuple[int, int]] = OrderedDict()  # host -> (tokens, at)
        self._kept_out: dict[str, int] = {}  # until when

    def __len__(self) -> int:
        return len(self._tokens)

    def came(self, host: str, now_ms: int) -> None:
        """A connection from this host was taken in."""
        tokens = self._tokens_of(host, now_ms) - _SECOND_MS
        self._tokens[host] = tokens, now_ms
        self._tokens.move_to_end(host)
        if len(self._tokens) > _HOSTS_MAX:
            self._tokens.popitem(last=False)
        if tokens < 0 and (host in self._kept_out or len(self._kept_out) < KEPT_OUT_MAX):
            # For as long as makes up for what came, and a moment longer: else it would be in and out all the time.
            self._kept_out[host] = now_ms - tokens // self._per_s + _SECOND_MS // 2

    def kept_out(self, now_ms: int) -> tuple[str, ...]:
        """From whom nothing is to be taken in now."""
        if not self._kept_out:
            return ()
        for host in [host for host, until_ms in self._kept_out.items() if now_ms >= until_ms]:
            del self._kept_out[host]
        return tuple(self._kept_out)

    def _tokens_of(self, host: str, now_ms: int) -> int:
        tokens, at_ms = self._tokens.get(host, (self._burst, now_ms))
        return min(self._burst, tokens + max(0, now_ms - at_ms) * self._per_s)
