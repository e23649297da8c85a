"""The enterprise under load while its relays are killed and stopped: what `scripts/chaos` does, for a moment."""

import random
import sys

import pytest

from relays.topology.loader import load
from tests.integration.chaos import Account, cast_of, house_text, run
from tests.integration.faults import STOP_S, plan
from tests.integration.harness import ROOT, house_in

ENTERPRISE = ROOT / "topologies" / "enterprise.toml"


def test_nothing_that_was_acknowledged_is_lost_or_comes_twice_while_relays_die(tmp_path):
    with house_in(tmp_path, house_text(ENTERPRISE)) as house:
        house.up()
        house.wait_whole()
        cast = cast_of(load(house.file))
        assert len(cast.sensors) >= 5 and len(cast.readers) == 2
        # Every relay is hit, once: there are nine.
        result = run(house, cast, 2_000, plan(house.relays, 7, 2, 8.0, seed=1), 8.0, 60.0)
        assert result.account.lost() == [] and not result.account.doubled and result.account.gaps == 0
        assert result.complete and (result.kills, result.stops, result.left_out) == (7, 2, 0)
        assert sum(result.account.acked) == result.account.delivered() == 2_000
        house.assert_logs_clean()


def test_a_plan_follows_from_its_seed_and_spares_nobody():
    relays = [f"r{n}" for n in range(9)]
    planned = plan(relays, 27, 9, 100.0, seed=5)
    assert planned == plan(relays, 27, 9, 100.0, seed=5) != plan(relays, 27, 9, 100.0, seed=6)
    assert [fault.at_s for fault in planned] == sorted(fault.at_s for fault in planned)
    assert all(0 <= fault.at_s < 100 for fault in planned)
    assert sum(fault.stop_s == 0 for fault in planned) == 27
    assert all(fault.stop_s == 0 or STOP_S[0] <= fault.stop_s <= STOP_S[1] for fault in planned)
    assert {relay: sum(fault.relay == relay for fault in planned) for relay in relays} == dict.fromkeys(relays, 4)


class Future:
    def __init__(self, error=None):
        self._error = error

    def exception(self):
        return self._error


def test_the_account_tells_lost_from_not_acked_and_from_twice():
    account = Account(5, ["one", "two"], 1)
    for number in (0, 1, 2):
        account.settle(number, Future())
    account.settle(3, Future(OSError()))
    order = [("one", 0), ("two", 0), ("one", 1), ("one", 3), ("two", 3), ("two", 0)]
    random.Random(1).shuffle(order)
    for reader, number in order:
        account.arrived(reader, number, 1.0)
    assert account.lost() == [1, 2], "1 misses at one reader, 2 at both; 3 was not acked, 4 never published"
    assert account.doubled == {"two": 1} and account.delivered() == 2 and account.settled == 4


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--kills", "-1"], 2, "kills"), (["--records", "0"], 2, "records"),
        (["--topology", "no/such.toml"], 2, "E801"), (["--topology", "pyproject.toml"], 2, "E802"),
    ],
)
def test_what_it_cannot_run_is_said(args, code, words, monkeypatch, capsys):
    from scripts import chaos_relays

    monkeypatch.setattr(sys, "argv", ["chaos", *args])
    monkeypatch.chdir(ROOT)
    try:
        assert chaos_relays.main() == code
    except SystemExit as stopped:
        assert stopped.code == code
    assert words in capsys.readouterr().err
