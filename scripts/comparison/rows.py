"""The rows beside a peer, and how any row is run: both sides are up at once, and are measured in turn.

Rows of Message Fabric alone are in `alone`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from subprocess import SubprocessError
from typing import NamedTuple

from scripts.comparison.chains import Chain, fabric_chain, jetstream, leaf_chain, zenoh_chain
from scripts.comparison.figures import (
    BYTES_RATE,
    FLOODED,
    LATENCIES,
    RATE,
    Figure,
    NotRun,
    Row,
    Window,
    rows_alone,
    rows_of,
)
from scripts.comparison.hop import proxy_hop, relay_hop
from scripts.comparison.measuring import Side, flooded, streaming, waiting
from scripts.comparison.needs import NATS, ZENOH, Need, missing
from scripts.comparison.processes import Failed

Begin = Callable[[Path], AbstractContextManager[Side]]
Tell = Callable[[str], None]
# The first window of each side does not count: caches are cold, and files are small.
WARM_UP_S = 2.0
SECONDS_MIN, SECONDS_MAX, ROUNDS_MAX = 1.0, 60.0, 20
# Where nothing is ever waited for, a flush to disk costs nothing, and its row says so.
MEMORY_FILES = ("tmpfs", "ramfs")


class Plan(NamedTuple):
    """A row: what is measured, in words, and how either side of it begins in a folder that is not there yet.

    `rounds_max`, `warm_up`: of a row whose window takes as long as it takes, there may be few, and none to spare.
    """

    name: str
    says: str
    figures: tuple[Figure, ...]
    ours: Begin
    peer: Begin | None = None
    needs: tuple[Need, ...] = ()
    rounds_max: int = ROUNDS_MAX
    warm_up: bool = True


def _on(chain: Callable[[Path], AbstractContextManager[Chain]], side: Callable[..., AbstractContextManager[Side]],
        **how: object) -> Begin:
    """This measurement of that chain."""

    @contextmanager
    def begin(folder: Path) -> Iterator[Side]:
        with chain(folder) as running, side(running, **how) as measured:
            yield measured

    return begin


def _stream(how: str, read_how: str = "") -> Callable[..., AbstractContextManager[Side]]:
    return partial(streaming, publish_how=how, read_how=read_how or how)


PLANS: tuple[Plan, ...] = (
    Plan(
        "stream", "dicts of 200 bytes with two labels, published one by one and taken one by one", (RATE,),
        _on(fabric_chain, _stream("stream")), _on(leaf_chain, _stream("stream")), NATS,
    ),
    Plan(
        "bulk", "the same handed over 500 at a time (publish_many) and taken in batches; the peer's one by one",
        (RATE,),
        _on(fabric_chain, _stream("bulk")), _on(leaf_chain, _stream("stream")), NATS,
    ),
    Plan(
        "arrays", "the same, and the peer's are JSON arrays of 128 records a message", (RATE,),
        _on(fabric_chain, _stream("bulk")), _on(leaf_chain, _stream("arrays")), NATS,
    ),
    Plan(
        "durable", "bulk over three relays, beside one server that has each record on disk", (RATE,),
        _on(fabric_chain, _stream("bulk")), _on(jetstream, _stream("durable")), NATS,
    ),
    Plan(
        "hop", "envelopes of 20 KB that were signed before, through one process", (BYTES_RATE,),
        relay_hop, proxy_hop, (),
    ),
    Plan(
        "flood",
        "a critical event every 20 ms while another process floods the chain with low ones, to another reader; "
        "processor time is that of the flood, per record of it",
        FLOODED, _on(fabric_chain, partial(flooded, shared=False)), _on(leaf_chain, partial(flooded, shared=False)),
        NATS,
    ),
    Plan(
        "flood-shared", "the same, and the reader of the critical events gets the flood too",
        FLOODED, _on(fabric_chain, partial(flooded, shared=True)), _on(leaf_chain, partial(flooded, shared=True)),
        NATS,
    ),
    Plan(
        "idle", "an event every 20 ms over three hops, with nothing else on the way", LATENCIES,
        _on(fabric_chain, waiting), _on(leaf_chain, waiting), NATS,
    ),
    Plan(
        "singles", "512 topics in turn, one by one, and no more under way, so that no two records share an envelope",
        (RATE,),
        _on(fabric_chain, _stream("singles", "stream")), _on(leaf_chain, _stream("singles", "stream")), NATS,
    ),
    Plan(
        "stream-zenoh", "as stream, and the peer drops nothing: it waits", (RATE,),
        _on(fabric_chain, _stream("stream")), _on(zenoh_chain, _stream("stream")), ZENOH,
    ),
    Plan(
        "idle-zenoh", "as idle", LATENCIES, _on(fabric_chain, waiting), _on(zenoh_chain, waiting), ZENOH,
    ),
)
def run(plan: Plan, folder: Path, rounds: int, seconds: float, tell: Tell) -> list[Row | NotRun]:
    """The rows of a plan, or one that says why there are none. `folder`: where both sides keep what they keep."""
    why, install = missing(plan.needs)
    if why:
        return [NotRun(plan.name, why, install)]
    tell(f"{plan.name}: {plan.says}")
    rounds = min(rounds, plan.rounds_max)

    def tell_row(text: str) -> None:
        tell(f"{plan.name}: {text}")

    try:
        with ExitStack() as stack:
            ours = stack.enter_context(plan.ours(folder / "ours"))
            if plan.peer is None:
                windows = alone(ours, plan, rounds, seconds, tell_row)
                return list(rows_alone(plan.name, plan.figures, windows, (plan.says, ours.does, *disk_notes(folder))))
            peer = stack.enter_context(plan.peer(folder / "peer"))
            both = in_turn(ours, peer, plan.figures, rounds, seconds, tell_row)
            notes = (plan.says, f"ours: {ours.does}", f"the peer: {peer.does}", *disk_notes(folder))
            return list(rows_of(plan.name, plan.figures, *both, notes))
    except (Failed, AssertionError, OSError, SubprocessError) as error:
        what, *_ = str(error).splitlines() or [type(error).__name__]  # the rest of it is for who looks into a test
        return [NotRun(plan.name, f"it failed: {what}", f"scripts/bench --only {plan.name}")]


def in_turn(
    ours: Side, peer: Side, figures: Sequence[Figure], rounds: int, seconds: float, tell: Tell
) -> tuple[list[Window], list[Window]]:
    """The windows of both sides, after one of each that does not count. Who comes first alternates too."""
    tell("warm-up")
    for side in (ours, peer):
        side.window(min(WARM_UP_S, seconds))
    mine: list[Window] = []
    theirs: list[Window] = []
    for number in range(rounds):
        order = [("ours", ours, mine), ("the peer", peer, theirs)]
        for name, side, windows in order if number % 2 == 0 else reversed(order):
            windows.append(side.window(seconds))
            tell(f"round {number + 1} of {rounds}, {name}: {found_in(windows[-1], figures)}")
    return mine, theirs


def alone(side: Side, plan: Plan, rounds: int, seconds: float, tell: Tell) -> list[Window]:
    """The windows of a side that has no peer."""
    if plan.warm_up:
        tell("warm-up")
        side.window(min(WARM_UP_S, seconds))
    windows: list[Window] = []
    for number in range(rounds):
        windows.append(side.window(seconds))
        tell(f"round {number + 1} of {rounds}: {found_in(windows[-1], plan.figures)}")
    return windows


def found_in(window: Window, figures: Sequence[Figure]) -> str:
    """Its figures, for who looks on."""
    return ", ".join(f"{figure.name} {window.values[figure.name]:,.1f} {figure.unit}" for figure in figures)


def disk_notes(folder: Path, mounts: str | None = None) -> list[str]:
    """What is to be said of the disk. `mounts`: as in /proc/mounts, which is read unless it is given."""
    if mounts is None:
        known = Path("/proc/mounts")
        mounts = known.read_text() if known.exists() else ""
    kind, longest = "", -1  # of the mount that the folder is in, which is the innermost
    for line in mounts.splitlines():
        _, point, type_, *_ = line.split()
        if folder.resolve().is_relative_to(point) and len(point) > longest:
            kind, longest = type_, len(point)
    if kind not in MEMORY_FILES:
        return []
    return [f"the files are in memory ({kind}): what waits for a disk waits for nothing"]
