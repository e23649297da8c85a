"""An action with a key is asked for once, whatever becomes of who asks, and what became of it is known afterwards."""

import asyncio
import json
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from fabric.edge import ControlPoint as AsyncControlPoint
from fabric.edge.requesting.accounts import read_accounts
from fabric.protocol.base.errors import FabricError
from fabric.spool.book import NAME, Book
from tests.integration.harness import House, wait_for
from tests.integration.test_actions import firewall, net

# The handler's own times: it waits for a file to be there.
SLOW = "192.0.2.40"
# Asks as a program would, and dies where it is told: at the n-th call of a method, before that does anything.
PROGRAM = """
import importlib, os, signal, sys
from pathlib import Path
from fabric.edge.blocking import ControlPoint
folder, key, target, module, name, number = sys.argv[1:]
owner, _, method = name.partition(".")
owner, left = getattr(importlib.import_module(module), owner), [int(number)]
real = getattr(owner, method)
def called(*args, **options):
    left[0] -= 1
    if left[0] <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args, **options)
setattr(owner, method, called)
with ControlPoint(Path(folder)) as point:
    list(point.request("deny", target, to="id=fw-m", label="green", key=key))
"""
POINTS = {
    "before it is written down": ("fabric.edge.requesting.recorder", "Recorder.write_down", 1),
    "written down and not sent": ("fabric.edge.publishing.publisher", "Publisher.send_one", 1),
    "sent, and nobody knows whether it arrived": ("fabric.edge.requesting.recorder", "Recorder.arrived", 1),
    "its targets were named": ("fabric.edge.requesting.recorder", "Recorder.heard", 1),
    "its targets are to be written down": ("fabric.spool.book", "Book.record", 1),
    "its end came": ("fabric.edge.requesting.recorder", "Recorder.heard", 2),
    "its end is to be written down": ("fabric.spool.book", "Book.record", 2),
    "it is over, and the session is not": ("fabric.edge.collecting", "Collector.release", 1),
    "the session is about to end": ("fabric.spool.book", "Book.let_go", 1),
}


@pytest.fixture(scope="module")
def wall(shared_house, tmp_path_factory):
    shared_house.wait_whole()
    with firewall(shared_house, "fw-m", tmp_path_factory.mktemp("wall"), timeout="20s") as made:
        waits = f"*'\"{SLOW}\"'*) while ! [ -e \"{made.ran}.go\" ]; do sleep 0.05; done; echo '{{}}' ;;\n"
        first = "*'\"192.0.2.4\"'*)"
        made.script.write_text(made.script.read_text().replace(first, f"{waits}    {first}"))
        yield made


def ask(house: House, target: str, key: str, *options: str, to: str = "id=fw-m"):
    return house.start(
        "act", "deny", net(target), "--to", to, "--as", "soar-hq", "--label", "green", "--key", key, "--json", *options
    )


def folder_of(house: House) -> Path:
    return house.folder / "ids" / "soar-hq"


def entries(house: House, key: str):
    return [account for account in read_accounts(folder_of(house)) if account.key == key]


def told(done):
    """What was told, but for how long it took: each process has a clock of its own."""
    return [{name: value for name, value in line.items() if name != "took_ms"} for line in done.lines]


def assert_no_session_is_kept(house: House) -> None:
    """It is written down when the relay has confirmed it."""
    with closing(Book(folder_of(house) / NAME)) as book:
        assert book.session() == (b"", False)


def test_no_session_is_left_behind(house, wall):
    before = house.fresh_state("hq")["routes"]
    ask(house, "192.0.2.59", "first").wait().expect(0)
    assert_no_session_is_kept(house)
    wait_for(lambda: house.fresh_state("hq")["routes"] <= before, f"{before} routes at hq")


@pytest.mark.parametrize("where", POINTS)
def test_who_is_killed_and_asks_again_gets_the_same_action_executed_once(house, wall, where):
    number = list(POINTS).index(where)
    key, target = f"killed-{number}", f"192.0.2.{100 + number}"
    args = (str(folder_of(house)), key, net(target), *map(str, POINTS[where]))
    program = house.start(*args, program=PROGRAM).wait(60)
    assert program.code == -signal.SIGKILL, program.err
    first = [account.id for account in entries(house, key)]
    assert bool(first) == (number > 0)
    if number > 1:
        wait_for(lambda: wall.runs(target) == 1, "the handler's run")
    done = ask(house, target, key).wait().expect(0)
    assert [(line["target"], line["end"]) for line in done.lines] == [("fw-m", "completed")]
    (account,) = entries(house, key)
    assert (first or [account.id]) == [account.id] and not account.is_open
    with house.point("soar-hq") as point:
        (end,) = point.request("deny", net(target), to="id=fw-m", label="green", key=key)
        assert end.to_json() == done.lines[0] | {"took_ms": end.took_ms} and wall.runs(target) == 1
        # A session that a program left is gone on with by the next that needs one.
        list(point.request("deny", net("192.0.2.99"), to="id=fw-m", label="green", key=f"after-{key}"))
    assert_no_session_is_kept(house)


def test_what_comes_while_nobody_is_there_is_kept(house, wall):
    """Killed while the handler is at work; it ends, and only then somebody asks again."""
    asking = ask(house, SLOW, "slow")
    wait_for(lambda: wall.runs(SLOW) == 1, "the handler's run")
    wait_for(lambda: any(account.targets for account in entries(house, "slow")), "its targets in the book")
    asking.stop(signal.SIGKILL)
    # Those of other tests of this house have no key.
    listed = house.cli("actions", "--open", "--as", "soar-hq", "--json").expect(0).lines
    shown = [line for line in listed if line["key"]]
    assert [(line["key"], line["targets"], line["states"]) for line in shown] == [("slow", ["fw-m"], {})]
    house.cli("action", shown[0]["id"][:8], "--as", "soar-hq").expect(6)
    Path(f"{wall.ran}.go").touch()
    held = house.fresh_state("hq")["held"]
    wait_for(lambda: house.fresh_state("hq")["held"] > 0, f"the result, held at hq: {held}")
    (end,) = ask(house, SLOW, "slow").wait().expect(0).lines
    assert end["end"] == "completed" and wall.runs(SLOW) == 1
    house.cli("action", shown[0]["id"][:8], "--as", "soar-hq").expect(0)
    assert_no_session_is_kept(house)


def test_of_two_who_ask_at_once_under_one_key_the_second_follows_the_first(house, wall):
    target = "192.0.2.60"
    both = [ask(house, target, "at-once", "--watch") for _ in range(2)]
    ends = [asking.wait().expect(0).lines[-1] for asking in both]
    assert [end["end"] for end in ends] == ["completed"] * 2
    assert wall.runs(target) == 1 and len(entries(house, "at-once")) == 1
    assert_no_session_is_kept(house)


def test_one_who_asks_while_another_waits_is_told_by_it(house, wall):
    """The handler's answer reaches both, by whatever session."""
    go = Path(f"{wall.ran}.go")
    go.unlink(missing_ok=True)
    first = ask(house, SLOW, "followed")
    wait_for(lambda: any(account.targets for account in entries(house, "followed")), "its targets in the book")
    second = ask(house, SLOW, "followed")
    wait_for(lambda: house.fresh_state("hq")["points"].count("soar-hq") >= 1, "the second is there")
    go.touch()
    assert [asking.wait().expect(0).lines[0]["end"] for asking in (first, second)] == ["completed"] * 2


def test_what_came_for_one_who_was_killed_is_collected_by_one_who_waits(house, wall):
    """The first has the session and does not read it; the second begins when the result is at the relay already."""
    go = Path(f"{wall.ran}.go")
    go.unlink(missing_ok=True)
    runs = wall.runs(SLOW)
    first = ask(house, SLOW, "heir")
    wait_for(lambda: any(account.targets for account in entries(house, "heir")), "its targets in the book")
    wait_for(lambda: wall.runs(SLOW) == runs + 1, "the handler's run")
    with house.frozen(first.process.pid):
        go.touch()
        wait_for(lambda: house.fresh_state("hq")["held"] > 0, "the result, held at hq")
        with house.point("soar-hq") as point, ThreadPoolExecutor(1) as asks:
            second = asks.submit(lambda: list(point.request(
                "deny", net(SLOW), to="id=fw-m", label="green", key="heir"
            )))
            wait_for(lambda: point._collector._heir, "the second, which waits for the first's session")
            first.process.kill()
            (end,) = second.result(30)
    assert str(end.end) == "completed" and wall.runs(SLOW) == runs + 1
    assert_no_session_is_kept(house)


def test_a_key_is_for_one_action(house, wall):
    target = "192.0.2.61"
    ask(house, target, "one").wait().expect(0)
    error = ask(house, "192.0.2.62", "one").wait().expect(2).error
    assert (error["code"], error["detail"]) == ("E730", "what differs: target") and target not in json.dumps(error)
    with house.point("soar-hq") as point:
        for other in ({"ttl": "7s"}, {"severity": "low"}, {"args": {"duration": 5}}, {"dry_run": True}, {"to": "all"}):
            with pytest.raises(FabricError, match="E730"):
                list(point.request("deny", net(target), **{"to": "id=fw-m", "label": "green", "key": "one", **other}))
        with pytest.raises(FabricError, match="E908"):
            list(point.request("deny", net(target), to="id=fw-m", label="green", key=""))
    assert wall.runs(target) == 1 and wall.runs("192.0.2.62") == 0


def test_what_is_over_is_told_without_a_relay(house, wall):
    done = ask(house, "192.0.2.63", "over").wait().expect(0)
    began = time.monotonic()
    with house.frozen(house.pid("hq")):
        assert told(ask(house, "192.0.2.63", "over").wait().expect(0)) == told(done)
    assert time.monotonic() - began < 10
    house.wait_whole()


def test_what_was_denied_may_be_asked_again_under_its_key(house, wall):
    error = ask(house, "192.0.2.64", "denied", "--severity", "critical").wait().expect(5).error
    assert error["code"] == "E405" and entries(house, "denied") == []
    ask(house, "192.0.2.64", "denied").wait().expect(0)
    assert wall.runs("192.0.2.64") == 1


@pytest.fixture
def without_book(house):
    """The book's place is taken by what cannot be one."""
    path, aside = folder_of(house) / NAME, folder_of(house) / "aside"
    if path.exists():
        path.rename(aside)
    path.mkdir()
    yield path
    path.rmdir()
    if aside.exists():
        aside.rename(path)


def test_where_nothing_can_be_written_down_only_a_key_is_refused(house, wall, without_book):
    error = ask(house, "192.0.2.65", "unwritten").wait().expect(1).error
    assert error["code"] == "E938" and wall.runs("192.0.2.65") == 0
    options = ("--to", "id=fw-m", "--as", "soar-hq", "--label", "green", "--json")
    done = house.cli("act", "deny", net("192.0.2.65"), *options)
    assert done.expect(0).lines[0]["end"] == "completed" and "not written down" in done.err


def test_on_a_full_disk_nothing_is_sent_under_a_key(house, wall, monkeypatch):
    """SQLite's own word for it: the file may not grow by a page."""
    monkeypatch.setattr("fabric.spool.book.Book.add", full(Book.add))
    with house.point("soar-hq") as point:
        with pytest.raises(FabricError, match="E938"):
            list(point.request("deny", net("192.0.2.66"), to="id=fw-m", label="green", key="full"))
        assert wall.runs("192.0.2.66") == 0 and entries(house, "full") == []
        (end,) = point.request("deny", net("192.0.2.66"), to="id=fw-m", label="green")
    assert end.end == "completed" and wall.runs("192.0.2.66") == 1


def full(add):
    def added(book, entry, now_ms):
        pages = book._db.execute("PRAGMA page_count").fetchone()[0]
        book._db.execute(f"PRAGMA max_page_count = {pages}")
        return add(book, entry._replace(envelope=entry.envelope + bytes(1 << 20)), now_ms)

    return added


def test_each_change_is_told_and_everything_is_in_the_book(house, wall):
    done = ask(house, "192.0.2.67", "shown", "--watch").wait().expect(0)
    assert done.lines[-1]["state"] == done.lines[-1]["end"] == "completed"
    (account,) = entries(house, "shown")
    text = house.cli("action", account.id[:10], "--as", "soar-hq").expect(0).out
    for part in (account.id, "by soar-hq", "deny ipv4_net=192.0.2.67 to id=fw-m", "shown", "completed", '{"rule": 7}'):
        assert part in text
    (said,) = house.cli("action", account.id, "--as", "soar-hq", "--json").expect(0).lines
    assert said["states"] == {"fw-m": "completed"} and said["words"][-1]["result"] == {"rule": 7}
    assert account.id[:12] in house.cli("actions", "--as", "soar-hq").expect(0).out
    assert house.cli("action", "feedfeed", "--as", "soar-hq", "--json").expect(1).error["code"] == "E939"
    assert {path.stat().st_mode & 0o777 for path in folder_of(house).glob(f"{NAME}*")} == {0o600}
    house.assert_logs_clean("192.0.2.67")


def test_asyncio_is_the_same(house, wall):
    async def ends(point, **options):
        asked = point.request("deny", net("192.0.2.68"), to="id=fw-m", label="green", key="asyncio", **options)
        return [str(outcome.end) async for outcome in asked]

    async def program():
        async with AsyncControlPoint(house.identity("soar-hq")) as point:
            assert await asyncio.gather(ends(point), ends(point)) == [["completed"]] * 2
            with pytest.raises(FabricError, match="E730"):
                await ends(point, ttl="7s")
            (account,) = [account for account in point.actions(last=5) if account.key == "asyncio"]
            assert point.action(account.id[:12]) == account

    asyncio.run(program())
    assert wall.runs("192.0.2.68") == 1
    assert_no_session_is_kept(house)
