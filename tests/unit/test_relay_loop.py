"""A relay's turn: what comes while it handles frames is seen in the same turn, and nobody is charged for looking."""

from types import SimpleNamespace

from fabric.protocol.core.ready import Ready
from fabric.transport.inbox import Entry
from fabric.transport.turns import Turn
from relays.process.loop import RelayLoop

MS = 1_000_000


class House:
    """Frames that take 0.3 ms each, and looks of 0.1 ms, at each of which one frame more is found."""

    def __init__(self, waiting, coming):
        self.ns = 0
        self.waiting, self.coming = list(waiting), list(coming)
        self.taken, self.charged_ns, self.looks = [], [], 0

    def next(self):
        return Entry(1, b"k" * 32, self.waiting.pop(0)) if self.waiting else None

    def handled(self, link, time_ns):
        self.charged_ns.append(time_ns)

    def meanwhile(self):
        self.ns += MS // 10
        self.looks += 1
        if self.coming:
            self.waiting.insert(0, self.coming.pop(0))

    def take(self, entry, now_ms, ended):
        self.ns += 3 * MS // 10
        self.taken.append(entry.payload)
        return None, Ready()

    def turn(self, monkeypatch):
        loop = object.__new__(RelayLoop)  # a turn needs no socket, disk or key
        loop._arrivals = self
        loop._diallers = SimpleNamespace(want=lambda parents: None, service=lambda now_ms, waiting: [])
        loop.core = SimpleNamespace(parents_wanted=lambda now_ms: ())
        loop._clock = SimpleNamespace(now_ms=lambda: 0)
        monkeypatch.setattr(loop, "_take", self.take)
        monkeypatch.setattr("relays.process.loop.Turn", lambda: Turn(lambda: self.ns))
        loop._turn((), (), 0)


def test_what_comes_meanwhile_is_seen_within_the_turn(monkeypatch):
    house = House([b"1", b"2", b"3", b"4"], [b"urgent"])
    house.turn(monkeypatch)
    assert house.taken == [b"1", b"2", b"urgent", b"3", b"4"]
    assert house.looks == 2 and house.charged_ns == [3 * MS // 10] * 5, "a look costs nobody's frame"


def test_a_turn_ends_in_time_however_much_comes_meanwhile(monkeypatch):
    house = House([b"first"] * 2, [b"more"] * 100)
    house.waiting *= 50
    house.turn(monkeypatch)
    assert house.waiting and 8 * MS <= house.ns < 9 * MS
