"""kill -9 of a control point at every point between an action and its end: never twice, and each end known."""

import shutil
import subprocess
import threading
from contextlib import contextmanager

import pytest

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import load_identity
from fabric.protocol.base.errors import Code
from tests.integration.harness import House, wait_for
from tests.integration.mortal import ENDS, IN_BETWEEN, POINTS
from tests.integration.test_disks import small_disk

ID = "fw-m"
# Where it makes a difference: the session is the same, and told is what is on the outbox's disk.
WITH_AN_OUTBOX = ("taking...", "taken", "acknowledged", "answered", "publishing...", "telling...")


class Mortal:
    """A firewall that dies where it is told to."""

    def __init__(self, house: House, folder, *, idempotent: bool, durable: bool) -> None:
        self._ran = folder / "ran"
        self._ran.touch()
        self._running = house.start(
            str(house.identity(ID).folder), str(self._ran), str(folder / "outbox") if durable else "",
            "idempotent" if idempotent else "", stdin=subprocess.PIPE,
            program="from tests.integration import mortal; mortal.main()",
        )
        self._process = self._running.process
        self._died = 0

    def arm(self, *points: str) -> None:
        """It is ready, and dies at the next action; and while it goes on with that, at the next point."""
        self._process.stdin.write(f"{','.join(points)}\n")
        self._process.stdin.flush()
        self._died += len(points)
        said = len(self._running.out)
        wait_for(lambda: "ready" in self._running.out[said:], f"ready for {points}")

    def wait_back(self) -> None:
        """It died as often as it was to, and is there again."""

        def is_back() -> bool:
            out = self._running.out
            return out.count("died") == self._died and out[-1] == "ready"

        try:
            wait_for(is_back, "it is back")
        except AssertionError:
            raise AssertionError(f"not back after {self._died} deaths\n{self.said}") from None

    @property
    def said(self) -> str:
        return "\n".join([*self._running.out, *self._running.err])

    def runs(self, action_id: str) -> int:
        return sum(line.startswith(action_id) for line in self._ran.read_text().split())

    def lines(self, action_id: str) -> list[str]:
        """What was done and undone of it, in order."""
        return ["undone" if line[0] == "-" else "done" for line in self._ran.read_text().split() if action_id in line]

    def end(self) -> None:
        if not self._process.stdin.closed:
            self._process.stdin.write("\n")
            self._process.stdin.close()
        self._running.wait()


@contextmanager
def mortal(house: House, folder, *, idempotent: bool = False, durable: bool = False):
    wall = Mortal(house, folder, idempotent=idempotent, durable=durable)
    try:
        yield wall
    finally:
        wall.end()


class Asked:
    """An action for it, on its way."""

    def __init__(self, soar, ttl: str, **args) -> None:
        self.id = ""
        self.outcomes = []

        def learn(request):
            self.id = request.action_id

        def ask():
            self.outcomes += soar.request(
                "deny", "ipv4_net=192.0.2.9", to=f"id={ID}", ttl=ttl, label="green", wait_ms=1_000, watch=learn,
                args=args,
            )

        self._thread = threading.Thread(target=ask)
        self._thread.start()

    def last(self):
        """How it ended, after every word that came."""
        self._thread.join(40)
        assert not self._thread.is_alive()
        assert {outcome.target for outcome in self.outcomes} == {ID}
        return self.outcomes[-1]


@pytest.mark.parametrize("durable", [False, True], ids=["without an outbox", "with one"])
def test_wherever_it_dies_nothing_is_executed_twice_and_its_end_is_known(house, tmp_path, durable):
    with mortal(house, tmp_path, durable=durable) as wall, house.point("soar-hq") as soar:
        for point in WITH_AN_OUTBOX if durable else POINTS:
            wall.arm(point)
            # What did not arrive is for the session that died, as long as that may come back: with an outbox it does.
            is_lost = point == "taking..." and not durable
            asked = Asked(soar, ttl="4s" if is_lost else "20s")
            wall.wait_back()
            outcome = asked.last()
            end, code, runs = str(outcome.end), outcome.code, wall.runs(asked.id)
            if is_lost:
                assert runs <= 1 and end in ("completed", "unknown") and (end == "unknown" or runs), (point, outcome)
            elif point in IN_BETWEEN:
                assert (end, code, outcome.by) == ("unknown", "E722", ID), (point, outcome)
                assert runs == (point not in ("begun", "handler called")), point
            else:
                assert (end, runs) == ("completed", 1), (point, outcome, wall.said)
                assert outcome.result["done"].startswith(asked.id)
    house.assert_logs_clean()


def test_what_is_idempotent_is_called_again(house, tmp_path):
    with mortal(house, tmp_path, idempotent=True) as wall, house.point("soar-hq") as soar:
        for point in IN_BETWEEN:
            wall.arm(point)
            asked = Asked(soar, ttl="20s")
            wall.wait_back()
            outcome = asked.last()
            assert str(outcome.end) == "completed" and outcome.result["done"].startswith(asked.id), (point, outcome)
            assert wall.runs(asked.id) == (1 if point in ("begun", "handler called") else 2), point
    house.assert_logs_clean()


@pytest.mark.parametrize("idempotent", [False, True])
def test_who_dies_again_while_it_goes_on_executes_nothing_twice_either(house, tmp_path, idempotent):
    """Unless it may: then as often as it had begun."""
    pairs = [("done", then) for then in ("answering...", "answered", "publishing...", "sent", "telling...")]
    pairs += [("taken", "begun"), ("acknowledged", "done"), *([("done", "handler called")] if idempotent else [])]
    with mortal(house, tmp_path, idempotent=idempotent) as wall, house.point("soar-hq") as soar:
        for first, then in pairs:
            wall.arm(first, then)
            asked = Asked(soar, ttl="20s")
            wall.wait_back()
            outcome, runs = asked.last(), wall.runs(asked.id)
            assert outcome.by == ID, (first, then, outcome)
            if idempotent:
                assert str(outcome.end) == "completed" and runs <= 3, (first, then, outcome)
            else:
                assert (str(outcome.end), outcome.code) == ("unknown", "E722"), (first, then, outcome)
                assert runs == (then != "begun"), (first, then)
    house.assert_logs_clean()


def test_wherever_it_dies_what_has_a_duration_ends_and_is_executed_once(house, tmp_path):
    """Of what surely never began there is nothing to end."""
    with mortal(house, tmp_path) as wall, house.point("soar-hq") as soar:
        for point in ("begun", "handler called", "done", "answering...", "answered", "publishing...", "told", *ENDS):
            wall.arm(point)
            asked = Asked(soar, ttl="20s", duration=50)
            wall.wait_back()
            asked.last()

            def is_over(asked=asked):
                known = [account for account in soar.actions() if account.id.startswith(asked.id)]
                effect = known[0].effects.get(ID) if known else None
                return effect is not None and effect.word == "reverted"

            wait_for(is_over, f"its effect ends after {point}")
            lines = wall.lines(asked.id)
            assert lines[-1] == "undone" and wall.runs(asked.id) <= 1, (point, lines)
    house.assert_logs_clean()


# -- bad days -------------------------------------------------------------------------------------------------


def test_on_a_full_disk_nothing_is_executed_and_what_came_waits_until_there_is_room(house, tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        folder = disk / ID
        shutil.copytree(house.identity(ID).folder, folder)
        for path in folder.glob("ledger*"):  # of another test
            path.unlink()
        done = []
        with ControlPoint(load_identity(folder)) as wall, house.point("soar-hq") as soar:
            wall.on_action("deny", "ipv4_net")(lambda action: done.append(action.id))
            wall.wait_ready()
            filler = disk / "filler"
            with filler.open("wb") as file:
                while shutil.disk_usage(disk).free > 1 << 20:
                    file.write(bytes(1 << 20))
                    file.flush()
            wait_for(lambda: wall.held_up is not None, "a disk that is found to be short")
            assert wall.held_up.code is Code.DISK_SHORT
            asked = Asked(soar, ttl="20s")
            wait_for(lambda: wall._loop.core.counters["refused:busy"] > 0, "the action that is put off")
            assert not done
            filler.unlink()
            assert str(asked.last().end) == "completed" and len(done) == 1


def test_a_handler_that_hangs_past_the_deadline_is_unknown_and_its_late_word_is_heard(house, tmp_path, capfd):
    """And what comes next finds another handler."""
    hangs, begun = threading.Event(), threading.Event()

    def deny(action):
        if action.target.value == "192.0.2.9":
            begun.set()
            assert hangs.wait(30)

    with house.point(ID) as wall, house.point("soar-hq") as soar:
        wall.on_action("deny", "ipv4_net")(deny)
        wall.wait_ready()
        asked = Asked(soar, ttl="1s")
        assert begun.wait(20)
        assert str(asked.last().end) == "unknown"
        following = soar.request("deny", "ipv4_net=192.0.2.10", to=f"id={ID}", ttl="20s", label="green")
        assert [str(outcome.end) for outcome in following] == ["completed"]
        hangs.set()
        said = []

        def is_heard():
            said.append(capfd.readouterr().err)
            return "result came late" in "".join(said)

        wait_for(is_heard, "the late word")
    assert "completed" in "".join(said)
