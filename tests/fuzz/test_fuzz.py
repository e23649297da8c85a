"""A moment of every target, what failed once, and that the search finds what it is for."""

from contextlib import suppress
from pathlib import Path

import pytest

from fabric.protocol.custody.custody import Custody
from fabric.protocol.links.link import Link
from fabric.protocol.links.node import Node
from tests.fuzz.bounds import UNLISTED_MAX, check_bounds, containers
from tests.fuzz.dice import Dice
from tests.fuzz.engine import Bytes, Failure, Meter, Played, least, run_raw, run_seed
from tests.fuzz.invariants import BrokenError
from tests.fuzz.stage import Stage, read_tape
from tests.fuzz.stories import Story
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
KEPT = sorted(path for path in CORPUS.rglob("*") if path.is_file())
# Faults that are known and not mended yet, as `Failure.where` names them. None is to stay here.
OPEN: frozenset[str] = frozenset()
# So many of each target: some seconds in all. `scripts/fuzz` goes on from there for as long as it is let.
STORIES, INPUTS = 3, 30


def judge(*failures: Failure | None) -> None:
    """A fault that nobody knows fails the test; one that is open is told."""
    found = [failure for failure in failures if failure is not None]
    for failure in found:
        assert failure.where in OPEN, f"{failure.what}\n{failure.command}\n{failure.trace}"
    if found:
        pytest.xfail(found[0].what)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_failed_once_does_not_fail_again(path):
    target = TARGETS[path.parent.name]
    judge(run_raw(target, path.read_bytes(), traced=target.name == "records"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_moment_of_each_target(name):
    target = TARGETS[name]
    meter = Meter(target.ms_max * 4, target.bytes_max)  # others run at the same time
    seeds = range(STORIES if isinstance(target, Story) else INPUTS)
    judge(*(run_seed(target, seed, meter, traced=seed == 0) for seed in seeds))


def test_the_corpus_is_small_and_each_input_has_a_target():
    assert {path.parent.name for path in KEPT} <= TARGETS.keys()
    assert sum(path.stat().st_size for path in KEPT) < 200_000


# -- that it finds what it is for -----------------------------------------------------------------------------


def play(target, seed=0):
    played = Played()
    with suppress(Exception):  # one that fails is as good
        target.play(Dice(f"{target.name}/{seed}"), played, Meter(1e9, 1 << 40))
    return played.raw


@pytest.mark.parametrize("name", ["frame", "records", "topology", "relay-child", "wall-parent"])
def test_the_same_seed_is_the_same_input(name):
    target = TARGETS[name]
    assert play(target, 3) == play(target, 3) != play(target, 4)


def first_failure(target, *kinds):
    found = (run_seed(target, seed, Meter(1e9, 1 << 40), traced=False) for seed in range(40))
    return next(failure for failure in found if failure is not None and failure.where.startswith(kinds))


def test_an_error_of_the_core_is_found_told_and_made_smaller(monkeypatch):
    def fail(link, frame):
        raise KeyError("planted")

    monkeypatch.setattr(Link, "check", fail)
    target = TARGETS["relay-guest"]
    found = first_failure(target, "KeyError", "BrokenError faults")
    small = least(target, found)
    assert len(small.raw) < len(found.raw) or len(read_tape(found.raw)[1]) <= 2
    assert run_raw(target, small.raw).where == found.where
    assert found.command == f"scripts/fuzz --target relay-guest --seed {found.seed} --replay"
    monkeypatch.undo()
    assert run_raw(target, small.raw) is None
    assert "link" in "\n".join(target.words(small.raw))


def test_bytes_that_are_not_counted_are_found(monkeypatch):
    monkeypatch.setattr(Custody, "_count", lambda *_: None)
    assert first_failure(TARGETS["relay-point"], "BrokenError bytes held are not the bytes counted")


def test_a_link_without_an_outbox_is_found(monkeypatch):
    def forget(core, now_ms, ready, real=Node._tick):
        real(core, now_ms, ready)
        core.outboxes.clear()

    monkeypatch.setattr(Node, "_tick", forget)
    assert first_failure(TARGETS["relay-point"], "BrokenError an open link has no outbox")


def test_a_container_that_nobody_listed_has_a_bound():
    stage = Stage("relay")
    check_bounds(stage.core)
    stage.core.extra = {"of anything": list(range(UNLISTED_MAX + 1))}
    with pytest.raises(BrokenError, match=r"^extra\[\] has no bound: 2049 entries"):
        check_bounds(stage.core)
    names = dict(containers(stage.core))
    assert {"links", "outboxes", "counters", "custody._held", "trust._credentials._of_id"} <= names.keys()


def test_what_is_slow_or_large_is_found():
    slow = Bytes("slow", lambda dice: b"x", lambda raw: sum(range(3_000_000)), ms_max=1.0)
    large = Bytes("large", lambda dice: b"x", lambda raw: bytearray(4 << 20), bytes_max=1 << 20)
    assert run_seed(slow, 1, Meter(slow.ms_max, slow.bytes_max), traced=False).what.startswith("TooSlowError")
    assert run_seed(large, 1, Meter(large.ms_max, large.bytes_max), traced=True).what.startswith("TooLargeError")


def test_an_input_is_made_as_small_as_it_gets():
    def read(raw):
        if b"ab" in raw:
            raise ValueError("both")

    target = Bytes("both", lambda dice: b"x" * 300 + b"ab" + b"y" * 500, read)
    found = run_seed(target, 0, Meter(1e9, 1 << 40), traced=False)
    assert least(target, found).raw == b"ab"
