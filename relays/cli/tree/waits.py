"""What waits in a fabric: at which relay, for whom, how much, and since when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fabric.protocol.base.sizes import format_size
from relays.terminal import Cell
from relays.wall import utc

# With the rows of a tree of nine relays this is one small screen.
_SHOWN_MAX = 6
# Of those for whom the same is held.
_NAMES_MAX = 3
# From this part of what is kept for a reader on, it is said how much that is.
_MUCH_SHARE = 4
_DAY_MS = 86_400_000


def lines_of(states: list[dict[str, Any]], now_ms: int) -> Iterator[Cell]:
    """From the states of relays: the most bytes first, and then how many there are more."""
    every = [(str(state["relay"]), entry) for state in states for entry in state.get("waiting", ())]
    every.sort(key=lambda pair: -int(pair[1]["bytes"]))
    for relay, entry in every[:_SHOWN_MAX]:
        yield Cell(f"{relay} holds {_words(entry, now_ms)}", "yellow" if entry["away"] else "")
    more = len(every[_SHOWN_MAX:]) + sum(int(state.get("waiting_more", 0)) for state in states)
    if more:
        yield Cell(f"and something waits for {more} more: see `fabric status --json`")


def _words(entry: dict[str, Any], now_ms: int) -> str:
    messages, since_ms = int(entry["messages"]), int(entry["since_ms"])
    bytes_, share_bytes = int(entry["bytes"]), int(entry.get("share_bytes", 0))
    size = format_size(bytes_)
    if share_bytes and bytes_ > share_bytes // _MUCH_SHARE:
        size += f" of {format_size(share_bytes)}"
    return (f"for {_whom(entry)}: {messages:,} {'message' if messages == 1 else 'messages'}, {size}, "
            f"since {_since(since_ms, now_ms)}")


def _whom(entry: dict[str, Any]) -> str:
    if entry["kind"] == "nowhere":
        names = [str(name) for name in entry.get("names") or [entry["for"] or "somebody"]]
        more = len(names[_NAMES_MAX:]) + int(entry.get("names_more", 0))
        return f"{', '.join(names[:_NAMES_MAX])}{f' and {more} more' if more else ''} (connected nowhere)"
    return f"{entry['for']} (away)" if entry["away"] else str(entry["for"])


def _since(since_ms: int, now_ms: int) -> str:
    """The time of day; of what waits for longer than one, the date too."""
    at = utc(since_ms)
    return at if now_ms - since_ms >= _DAY_MS else at[11:]
