"""Which versions a fabric runs: of the package and of the protocol, at relays and at those who are connected to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fabric.protocol.base.errors import Code, describe
from relays.terminal import Cell

# Of several relays or peers with the same versions.
_NAMED_MAX = 3
_SHOWN_MAX = 4


def lines_of(states: Sequence[dict[str, Any]]) -> Iterator[Cell]:
    """From the states of relays: one line where all run the same and their peers speak it, more where some do not."""
    runs: dict[str, list[str]] = {}
    for state in states:
        if state["pid"] and "protocol" in state:
            runs.setdefault(f"{state['package']}, protocol {range_words(state['protocol'])}", []).append(state["relay"])
    floors = {int(state.get("protocol_floor", 0)) for state in states if state["pid"]}
    if max(floors, default=0):
        where = "at every relay that runs" if len(floors) == 1 else "not yet everywhere"
        yield Cell(f"protocol {max(floors)} is the lowest that is allowed: {where}")
    if len(runs) == 1:
        yield Cell(f"message-fabric {next(iter(runs))}: at every relay that runs")
    for words, relays in list(runs.items())[:_SHOWN_MAX] if len(runs) > 1 else ():
        yield Cell(f"message-fabric {words}: {_named(relays, len(relays))}", "yellow")
    for state in states:
        yield from _others(state)


def _others(state: dict[str, Any]) -> Iterator[Cell]:
    """Peers that do not speak what their relay speaks."""
    for peers in list(state.get("peers_speak", ()))[:_SHOWN_MAX]:
        if peers["protocol"] != state["protocol"]:
            count = int(peers["relays"]) + int(peers["points"])
            yield Cell(f"{state['relay']}: protocol {range_words(peers['protocol'])} at {_named(peers['names'], count)}")
    if more := int(state.get("peers_speak_more", 0)):
        yield Cell(f"{state['relay']}: still others at {more} more: see `fabric status --json`")


def refusal_words(state: dict[str, Any]) -> Iterator[str]:
    """Links that did not open because of versions; and of a relay that has no parent, what its parents say."""
    refusals = state.get("refusals", {})
    if state.get("parent_link") == "down":
        for peer, said in list(refusals.get("by", {}).items())[:_NAMED_MAX]:
            code = next((code for code in Code if code.label == said.get("code")), Code.MALFORMED)
            yield f"{peer} refuses it: {describe(code, str(said.get('detail', '')))}; {code.next_step}"
    if times := int(refusals.get("versions", 0)):
        code = Code.UNKNOWN_VERSION
        yield f"{code.label} {times:,} refused for their versions, the last: {refusals.get('last', '')}; {code.next_step}"


def range_words(versions: Sequence[int]) -> str:
    """The lowest and the highest; one where they are the same."""
    low, high = versions
    return str(low) if low == high else f"{low} to {high}"


def _named(names: Sequence[str], count: int) -> str:
    more = count - len(names[:_NAMED_MAX])
    return f"{', '.join(names[:_NAMED_MAX])}{f' and {more} more' if more else ''}"
