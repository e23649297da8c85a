"""What `scripts/attack` makes of its measurements: what never came counts, and one bound that does not hold fails."""

import json
from dataclasses import replace

import pytest
from rich.console import Console

from scripts import attack_relays
from scripts.attacks.flood import Tally
from scripts.attacks.known import ATTACKS, chosen, name_of
from scripts.attacks.rows import PLANS
from scripts.attacks.verdicts import Bounds, Honest, Row, honest_of, percentile, table_of

GOOD = Row(
    "point", "ack", 5.0, 1_000, 5 << 20, 3, 2, 1, True, True, 80.0, 2.5, Honest(495.0, 2.0, 20.0, 5, 5), 500.0
)
BOUNDS = Bounds()


def test_a_row_within_all_bounds_passes():
    assert GOOD.faults(BOUNDS) == []
    assert GOOD.as_json(BOUNDS)["verdict"] == "pass"


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (replace(GOOD, survived=False), "a relay ended"),
        (replace(GOOD, strong=False), "too weak to show anything"),
        (replace(GOOD, whole=False), "not whole again"),
        (replace(GOOD, rss_mb=300.0), "300 MB"),
        (replace(GOOD, quiet_rate_per_s=1_000.0), "0.49 of the rate"),
        (replace(GOOD, quiet_rate_per_s=0.0), "0.00 of the rate"),
        (replace(GOOD, honest=replace(GOOD.honest, p99_ms=250.0)), "p99 250 ms"),
        (replace(GOOD, honest=replace(GOOD.honest, completed=4)), "4 of 5 actions"),
        (replace(GOOD, honest=replace(GOOD.honest, asked=0, completed=0)), "0 of 0 actions"),
    ],
)
def test_each_bound_fails_a_row_alone_and_says_so(row, fault):
    assert row.faults(BOUNDS) == [fault]
    said = row.as_json(BOUNDS)
    assert (said["verdict"], said["faults"]) == ("fail", [fault])
    assert json.loads(json.dumps(said)) == said


def test_a_table_has_a_line_for_every_row():
    console = Console(width=168, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table_of([GOOD, replace(GOOD, kind="ping", survived=False)], BOUNDS))
    text = console.export_text()
    assert "point/ack" in text and "pass" in text
    assert "point/ping" in text and "a relay ended" in text


def test_events_that_came_in_time():
    """Two events a second from second 10; the window is 11 to 13: numbers 2 to 5."""
    arrivals = {n: 10 + n / 2 + 0.1 for n in range(10)}
    honest = honest_of(arrivals, 10.0, 2.0, (11.0, 13.0), 20.0, [])
    assert honest.rate_per_s == 2.0
    assert honest.p50_ms == pytest.approx(100) and honest.p99_ms == pytest.approx(100)


def test_what_never_came_has_waited_until_it_was_looked():
    arrivals = {n: 10 + n / 2 + 0.1 for n in range(10) if n != 5}
    honest = honest_of(arrivals, 10.0, 2.0, (11.0, 13.0), 20.0, [])
    assert honest.rate_per_s == 1.5
    assert honest.p99_ms == pytest.approx((20.0 - 12.5) * 1000)


def test_what_was_published_late_is_late():
    """A sensor that was kept waiting and caught up: its events count from when they were due."""
    arrivals = dict.fromkeys(range(2, 6), 13.0)
    honest = honest_of(arrivals, 10.0, 2.0, (11.0, 13.0), 20.0, [])
    assert honest.rate_per_s == 0.0, "none came within the window"
    assert honest.p50_ms == pytest.approx(1_000) and honest.p99_ms == pytest.approx(2_000)


def test_actions_are_those_that_were_asked_for_in_the_window():
    actions = [(10.5, "expired"), (11.0, "completed"), (12.0, "expired"), (12.9, "asked"), (13.0, "completed")]
    honest = honest_of({}, 10.0, 2.0, (11.0, 13.0), 20.0, actions)
    assert (honest.asked, honest.completed) == (3, 1)
    assert honest.ends == {"expired": 1, "asked": 1}


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentiles(share, value):
    assert percentile([float(n) for n in range(100, 0, -1)], share) == value
    assert percentile([], share) == 0


# -- which attacks there are ------------------------------------------------------------------------------------


def test_every_attack_has_a_name_of_its_own_a_tree_and_a_story():
    names = [name_of(attack) for attack in ATTACKS]
    assert len(set(names)) == len(names) > 50
    for attack in ATTACKS:
        assert attack.who in PLANS and attack.story and not attack.story.endswith(".")


def test_an_attacker_that_got_nothing_done_shows_nothing():
    assert not any(attack.strong(Tally()) for attack in ATTACKS)
    much = Tally(frames=1_000_000, bytes=1 << 30, connections=10_000)
    assert all(attack.strong(much) for attack in ATTACKS)


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["point/ack"], {"point/ack"}),
        (["parent/data-*"], {"parent/data-actions", "parent/data-forged", "parent/data-results"}),
        (["stranger/keys", "child/noise"], {"stranger/keys", "child/noise"}),
        (["nobody"], set()),
        (["point/"], set()),
    ],
)
def test_attacks_are_chosen_by_name(patterns, names):
    assert {name_of(attack) for attack in chosen(patterns)} == names


def test_who_alone_is_all_of_its_kinds_and_nothing_is_everything():
    def of(*patterns: str) -> set[str]:
        return {attack.who for attack in chosen(patterns)}

    assert of("child") == {"child"}
    assert chosen([]) == ATTACKS


# -- the command ------------------------------------------------------------------------------------------------


@pytest.fixture
def measured(monkeypatch):
    """Rows as they are said to be: by kind, with a good one for every other."""
    said: dict[str, Row | Exception] = {}

    def row_of(attack, seconds, quiet_rate_per_s, *, equal=False):
        found = said.get(attack.kind, replace(GOOD, who=attack.who, kind=attack.kind))
        if isinstance(found, BaseException):
            raise found
        return found

    monkeypatch.setattr(attack_relays, "row_of", row_of)
    monkeypatch.setattr(attack_relays, "quiet_row", lambda plan, who, seconds: replace(GOOD, who=who, kind="(quiet)"))
    monkeypatch.setattr(attack_relays.interruption, "expect", lambda: None)
    return said


@pytest.mark.parametrize(
    ("ping", "code", "rows"),
    [
        (GOOD, 0, 3), (replace(GOOD, survived=False), 1, 3), (AssertionError("not within 20 s: an action"), 3, 2),
        (KeyboardInterrupt(), 130, 2),
    ],
    ids=["all pass", "one does not", "one was not measured", "interrupted"],
)
def test_exit_codes(measured, capsys, ping, code, rows):
    measured["ping"] = ping
    assert attack_relays.main(["--only", "point/credit", "--only", "point/ping", "--json"]) == code
    said = capsys.readouterr()
    assert [json.loads(line)["kind"] for line in said.out.splitlines()][:2] == ["(quiet)", "credit"]
    assert len(said.out.splitlines()) == rows
    assert "3/3 point/ping" in said.err


def test_a_table_at_the_end_where_nobody_asked_for_json(measured, capsys):
    assert attack_relays.main(["--only", "point/credit"]) == 0
    assert "2 of 2 rows pass" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["--seconds", "0"], 2, "--seconds"), (["--only", "nobody/nothing"], 2, "--list"),
        (["--help"], 0, "Exit codes"), (["--list", "--only", "parent/pong"], 0, "wild times"),
    ],
)
def test_what_it_says_without_attacking_anybody(args, code, words, capsys):
    try:
        assert attack_relays.main(args) == code
    except SystemExit as ended:
        assert ended.code == code
    said = capsys.readouterr()
    assert words in said.out + said.err
