"""An interruption ends a run once, and never the taking down of a tree: it waits until that is done.

Otherwise a Ctrl-C at the wrong moment would leave relays running, or their folder behind.
"""

from __future__ import annotations

import signal

_ASKS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_held = 0
_pending = False


def expect() -> None:
    """From now on the first of these signals raises KeyboardInterrupt, in the main thread; further ones do nothing."""
    for asked in _ASKS:
        signal.signal(asked, _on_signal)


def _on_signal(*_: object) -> None:
    global _pending
    for asked in _ASKS:
        signal.signal(asked, signal.SIG_IGN)
    if _held:
        _pending = True
    else:
        raise KeyboardInterrupt


def hold() -> None:
    """Until `release`, an interruption waits."""
    global _held
    _held += 1


def release() -> None:
    """Raises KeyboardInterrupt when one has waited. Without a `hold` before it, it does nothing."""
    global _held, _pending
    _held = max(0, _held - 1)
    if _pending and not _held:
        _pending = False
        raise KeyboardInterrupt
