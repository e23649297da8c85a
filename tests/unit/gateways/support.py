"""What several tests of gateways need: an intake and an outtake that write down what they are told."""

import threading
from collections import Counter
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.kinds import Place, Taken
from relays.gateways.mapping import read_mapping
from relays.gateways.options import Options
from tests.integration.harness import wait_for


@contextmanager
def at_work(source, intake, listens, let_go=lambda: None):
    """A source that runs, once it listens, and what ends it: `let_go` is called then, for what its intake holds up."""
    stop, failed = threading.Event(), []

    def run():
        try:
            source.run(intake, stop)
        except FabricError as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_for(lambda: listens() or failed, "it listens")
    assert not failed, failed

    def end():
        stop.set()
        let_go()
        thread.join(20)
        assert not thread.is_alive() and not failed

    try:
        yield end
    finally:
        end()


class TestIntake:
    """Everything is durable at once."""

    __test__ = False

    def __init__(self):
        self.records, self.wheres, self.rejected, self.gone, self.notes, self.waited = [], [], [], [], [], []
        self.positions = {}
        self.taken_max = None

    def take(self, record, *, position=None, where="", raw=None, severity=None, checked=False):
        if self.taken_max is not None and len(self.records) >= self.taken_max:
            raise FabricError(Code.CLOSED)
        self.records.append(record)
        self.wheres.append(where)
        self._keep(position)
        done = Future()
        done.set_result("1")
        return done

    def mapped(self, record, *, topic="", severity=None, checked=False):
        return read_mapping(Options({"topic": "detections.x", "severity": {"field": "sev"}})).apply(record)

    def take_many(self, given):
        taken = []
        for each in given:
            try:
                taken.append(self.take(each.record, position=each.position, where=each.where))
            except FabricError:
                if not taken:
                    raise
                break
        ended = Future()
        ended.set_result(["1"] * len(taken))
        return Taken(len(taken), ended)

    def reject(self, raw, error, where, position=None, waits=True, by=""):
        self.rejected.append((raw, error.code, where))
        self._keep(position)

    def pass_over(self, position):
        self._keep(position)

    def _keep(self, position):
        if position is not None:
            self.positions[position[0]] = position[1]

    def position_of(self, name):
        return self.positions.get(name)

    def waits(self, why):
        if not self.waited or self.waited[-1] != (why and why.detail):
            self.waited.append(why and why.detail)

    def lost(self, error):
        self.gone.append(error)

    def left_out(self, files):
        self.files_left_out = files

    def note(self, words):
        self.notes.append(words)


def message(number, content=None):
    return Message(
        f"{number:032x}.0", "detections.x", "event", "s", Severity.LOW, Phase.NONE, Label.GREEN, 1, 1000, 0, ("hq",),
        {"n": number} if content is None else content, {"n": Label.AMBER}, {},
    )


class Outtake(TestIntake):
    """Gives these groups, and says which were acknowledged."""

    def __init__(self, *groups):
        super().__init__()
        self._groups = groups
        self.acknowledged = []
        self.counts = Counter()

    def count(self, reason, count):
        self.counts[reason] += count

    def groups(self, records_max):
        for group in self._groups:
            yield [message(number) if isinstance(number, int) else number for number in group]
            self.acknowledged += group

    def reject(self, given, error):
        self.rejected.append((given.id, error.code))


def hand_over(sink, settings, groups, *, stop_when=bool, then=lambda _why: None):
    """What a sink did with these groups. It is stopped when it waits for something that `stop_when` is true of, which
    `then` hears of before."""
    stop = threading.Event()

    class Told(Outtake):
        def waits(self, why):
            super().waits(why)
            if why is not None:
                self.next_step = why.next_step
            then(why)
            if stop_when(why):
                stop.set()

    outtake = Told(*groups)
    with suppress(FabricError):
        sink.open(settings, Place("siem-1", "bus", None, None)).run(outtake, stop)
    return outtake
