"""One window of one side: what goes through a chain in so many seconds, or how long one event takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from scripts.comparison.chains import Chain
from scripts.comparison.figures import RATE, Window, latencies
from scripts.comparison.processes import Cpu, Failed, Program
from scripts.comparison.records import ALERTS, ALL, STREAM_TOPIC
from tests.integration.harness import House, house_in

# Until what was subscribed is known at the far end of a chain that says nothing about it.
_FIRST_S = 0.1
_FIRST_TRIES = 20
# Of a flood, before anything is measured in it.
_SETTLE_S = 2.0


class Side(Protocol):
    """What can be measured again and again. `does`: with a record, in words."""

    @property
    def does(self) -> str: ...

    def window(self, seconds: float) -> Window: ...


class Streaming:
    """Records a second, from the first that is published until the last is taken and acknowledged."""

    def __init__(self, does: str, between: Mapping[str, int], publisher: Program, reader: Program) -> None:
        """`between`: the process ids of what stands between the two, by name."""
        self.does = does
        self._publisher, self._reader = publisher, reader
        self._cpu = Cpu({"publisher": publisher.pid, **between, "reader": reader.pid})
        self._had = 0  # records that the reader has of earlier windows

    def window(self, seconds: float) -> Window:
        self._cpu.begin()
        said = self._publisher.ask("publish", seconds, takes_s=seconds)
        taken = self._reader.ask("records", self._had + said["published"])
        records = taken["records"] - self._had
        self._had = taken["records"]
        if not records:
            raise Failed("no record arrived")
        took_s = max(taken["last_s"], said["held_s"]) - said["began_s"]
        return Window({RATE.name: records / took_s}, self._cpu.per_record(records), said["published"] - records)


class Waiting:
    """Milliseconds from `publish` to the reader, of an event now and then, with nothing else on the way."""

    def __init__(self, chain: Chain, probe: Program, reader: Program) -> None:
        self.does = chain.does
        self._probe, self._reader = probe, reader
        self._cpu = Cpu({"publisher": probe.pid, **chain.pids, "reader": reader.pid})

    def window(self, seconds: float) -> Window:
        self._cpu.begin()
        published, took_ms = probed(self._probe, self._reader, seconds)
        return Window(latencies(took_ms), self._cpu.per_record(published), published - len(took_ms))


class Flooded:
    """The same while another process publishes more of low severity than the chain takes."""

    def __init__(self, chain: Chain, probe: Program, reader: Program, flood: Program, collector: Program) -> None:
        self.does = chain.does
        self._probe, self._reader, self._flood, self._collector = probe, reader, flood, collector
        self._cpu = Cpu({"flood": flood.pid, **chain.pids, "collector": collector.pid})
        self._had = 0

    def window(self, seconds: float) -> Window:
        self._cpu.begin()
        self._flood.tell("publish", seconds + 2 * _SETTLE_S)
        settled, _ = probed(self._probe, self._reader, _SETTLE_S)
        published, took_ms = probed(self._probe, self._reader, seconds)
        said = self._flood.hear()
        taken = self._collector.ask("records", self._had + said["published"])
        flooded = taken["records"] - self._had
        self._had = taken["records"]
        flood_s = max(taken["last_s"], said["held_s"]) - said["began_s"]
        lost = said["published"] - flooded + published - len(took_ms)
        values = {**latencies(took_ms), "flood": flooded / flood_s}
        return Window(values, self._cpu.per_record(flooded), lost)


def probed(probe: Program, reader: Program, seconds: float) -> tuple[int, list[float]]:
    """How many events were published, and milliseconds of those that arrived."""
    said = probe.ask("probe", seconds, takes_s=seconds)
    took_ms = reader.ask("probes", said["published"])["latencies_ms"]
    if not took_ms:
        raise Failed("no event arrived")
    return said["published"], took_ms


@contextmanager
def streaming(chain: Chain, publish_how: str, read_how: str) -> Iterator[Streaming]:
    with ExitStack() as stack:
        reader, publisher = ready(stack, chain.reader("analyst", ALL, read_how), chain.publisher("sensor", publish_how))
        side = Streaming(chain.does, chain.pids, publisher, reader)
        until_it_arrives(side)
        yield side


@contextmanager
def waiting(chain: Chain) -> Iterator[Waiting]:
    with ExitStack() as stack:
        reader, probe = ready(stack, chain.reader("analyst", ALL, "stream"), chain.publisher("probe", "stream"))
        side = Waiting(chain, probe, reader)
        until_it_arrives(side)
        yield side


@contextmanager
def flooded(chain: Chain, *, shared: bool) -> Iterator[Flooded]:
    """`shared`: the reader of the events gets the flood too."""
    with ExitStack() as stack:
        collector, reader, flood, probe = ready(
            stack, chain.reader("collector", STREAM_TOPIC, "stream", apart=True),
            chain.reader("analyst", ALL if shared else ALERTS, "stream"),
            chain.publisher("sensor", "stream", apart=True), chain.publisher("probe", "stream"),
        )
        until_it_arrives(Waiting(chain, probe, reader))
        yield Flooded(chain, probe, reader, flood, collector)


@contextmanager
def house_with_ends(
    folder: Path, topology: str, module: str, *, read: Sequence[str], publish: Sequence[str]
) -> Iterator[tuple[House, Program, Program]]:
    """Relays in a new folder, `analyst-hq` as the reader and `sensor-p` as the publisher, all of them ready.

    Both ends are processes that run `module`. `read`, `publish`: what each is told behind its identity.
    """
    folder.mkdir()
    with house_in(folder, topology, anew=True) as house, ExitStack() as stack:
        house.up()
        house.wait_whole()
        ids = house.folder / "ids"
        reader, publisher = ready(
            stack, Program(folder / "reader.log", module, "read", str(ids / "analyst-hq"), *read),
            Program(folder / "publisher.log", module, "publish", str(ids / "sensor-p"), *publish),
        )
        yield house, reader, publisher
        stack.close()  # they end before their relays do
        house.down()


def ready(stack: ExitStack, *programs: Program) -> tuple[Program, ...]:
    """The same, when each has said that it is; they end with the stack."""
    for program in programs:
        stack.enter_context(program)
    for program in programs:
        program.hear()
    return programs


def until_it_arrives(side: Side) -> None:
    """What is published gets to the reader from now on."""
    for left in reversed(range(_FIRST_TRIES)):
        try:
            side.window(_FIRST_S)
        except Failed:
            if not left:
                raise
        else:
            return
