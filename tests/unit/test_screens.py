"""What a person sees at 80 and at 120 columns: every cell whole, few lines for each thing, the highest label first."""

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from fabric.edge.messages import Message, Outcome
from fabric.edge.requesting.request import Request
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from relays.cli.actions import course
from relays.cli.messages import points
from relays.cli.tree import running
from relays.demo.book import Book
from relays.demo.show import Show, targets_table
from relays.demo.steps import CHECKS
from relays.terminal import Cell, Screen, Table

TREE = {"hq": "", "region-east": "hq", "region-west": "hq", "dmz": "region-east", "office": "region-east",
        "cloud": "region-west", "plant-1": "dmz", "plant-2": "region-west", "cell-2a": "plant-2"}


def shown(table, columns):
    text = io.StringIO()
    Console(file=text, width=columns, markup=False, highlight=False).print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert all(len(line) <= columns for line in lines), lines
    return lines


def states(**changes):
    return [
        {"relay": relay, "state": "up", "pid": 29_000 + n, "clearance": "amber+strict", "parent": parent,
         "children": [child for child, above in TREE.items() if above == relay], "points": [f"fw-{n}", f"zeek-{n}"],
         "queue": dict.fromkeys("uchml", 0), "counters": {}, **changes.get(relay.replace("-", "_"), {})}
        for n, (relay, parent) in enumerate(TREE.items())
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_status_is_a_line_for_each_relay_and_breaks_no_name(columns):
    lines = shown(running._table("enterprise", states()), columns)
    for relay in TREE:
        (row,) = [line for line in lines if line.startswith(f" {relay} ")]
        assert "up" in row.split() and "fw-" in row and "zeek-" in row
    assert "9 of 9 relays up" in lines[0] and len(lines) == 4 + len(TREE), "a line each, and nothing of what is well"


def test_status_says_which_policies_are_in_force_and_who_has_others():
    def told(**changes):
        return [line for line in shown(running._table("enterprise", states(**changes)), 120) if "policies" in line]

    assert told() == []
    everywhere = {relay.replace("-", "_"): {"policies": 7} for relay in TREE}
    assert [line.strip() for line in told(**everywhere)] == ["approval policies version 7: at every relay that runs"]
    some = everywhere | {"dmz": {"policies": 6}, "plant_2": {}}
    assert [line.strip() for line in told(**some)] == [
        "approval policies version 7: not yet at dmz (version 6), plant-2 (none)"
    ]


@pytest.mark.parametrize("columns", [80, 120])
def test_status_shows_trouble_whole(columns):
    trouble = {
        "plant_1": {
            "waiting": [{"for": "dmz", "kind": "parent", "away": True, "messages": 496_420, "bytes": 654 << 20,
                         "since_ms": 0}],
            "why": "its disk is short: it takes nothing in until there is room",
            "counters": {
                "refused:rate_exceeded": 1200, "ended:expired": 31, "ended:no_interest": 7, "faults:KeyError": 2,
            },
        },
        "office": {"parent_now": "region-west"},
    }
    lines = shown(running._table("enterprise", states(**trouble)), columns)
    text = " ".join(" ".join(lines).split())
    for words in ("its disk is short: it takes nothing in until there is room",
                  "not passed on: 1,200 rate_exceeded, 31 expired",
                  "E917 2 faults: see its log", "region-west (backup)",
                  "plant-1 holds for dmz (away): 496,420 messages, 654MB, since 1970-01-01 00:00:00Z"):
        assert words in text
    assert "no_interest" not in text and len(lines) < 30


@pytest.mark.parametrize("columns", [80, 120])
def test_a_tree_in_which_much_waits_is_one_small_screen(columns):
    each = [{"for": "analyst-p1", "kind": "point", "away": True, "messages": 12_345, "bytes": 3_300_000,
             "share_bytes": 16 << 20, "since_ms": running.wall_ms() - 5_000}] * 9
    waiting = {relay.replace("-", "_"): {"waiting": each} for relay in TREE}
    assert len(shown(running._table("enterprise", states(**waiting)), columns)) == 20


def test_status_at_60_columns_is_a_table_with_what_has_no_room_below_its_row():
    lines = shown(running._table("enterprise", states()), 60)
    assert len(lines) == 4 + 2 * len(TREE) and "    control points: fw-8 zeek-8" in lines


def test_what_has_no_row_is_not_drawn(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Screen().moving() as moving:
        moving.update(Table("target", "end", title="deny"))
    assert capsys.readouterr().out == ""


def test_the_demo_s_end_fits_and_says_what_was_expected_only_where_something_else_was_seen():
    book = Book({name: replace(check, seen=check.expected, ok=True) for name, check in CHECKS.items()})
    lines = shown(book.table(), 80)
    assert len(lines) == 2 + len(CHECKS) and "expected" not in lines[0]
    book.saw("whole", False, "error E906 the disk of the relay that was to hold it is full, and nothing was taken in")
    lines = shown(book.table(), 80)
    assert "expected" in lines[0] and any("E906" in line and line.endswith("FAILED") for line in lines)


def test_columns_that_say_nothing_are_not_there():
    table = Table("id", "why", aside=("why",))
    table.row("a", "")
    assert "why" not in "".join(shown(table, 80))
    table.row("b", "c")
    assert "why" in "".join(shown(table, 80))


NAMES = st.text(st.characters(codec="ascii", exclude_characters=" ;:", min_codepoint=33, max_codepoint=126), min_size=1,
                max_size=30)


@settings(max_examples=75, deadline=None)
@given(rows=st.lists(st.tuples(*[NAMES] * 5), max_size=4), columns=st.integers(35, 200))
def test_every_cell_is_there_whole_however_narrow_it_is(rows, columns):
    table = Table("one", "two", "three", "four", "five", title="title", aside=("three", "four", "five"))
    for row in rows:
        table.row(row[0], Cell(row[1], "red"), *row[2:])
    text = " ".join(" ".join(shown(table, columns)).replace(";", " ").split()).split()
    for cell in {cell for row in rows for cell in row}:
        assert cell in text


@pytest.mark.parametrize("columns", [80, 120])
def test_what_became_of_an_action(columns):
    request = Request("00")
    request.targets = ("fw-p1", "fw-office", "edr-cloud")
    result = {"rule": "block-203.0.113.9", "handle": 4711, "host": "fw-p1.plant-1.example", "table": "filter-input"}
    request.outcomes = {
        "fw-p1": Outcome("fw-p1", End.COMPLETED, "fw-p1", 200, "", "", result, Label.GREEN, 41),
        "fw-office": Outcome("fw-office", End.REFUSED, "dmz", 403, "E601", "withheld", {}, Label.GREEN, 12),
    }
    lines = shown(course.table_of(request, "deny ipv4_net=203.0.113.9", 0.0), columns)
    assert any(line.split()[:3] == ["fw-office", "refused", "12"] and "E601 withheld" in line for line in lines)
    assert '"handle": 4711' in " ".join(" ".join(lines).split())
    where = {"fw-p1": "plant-1", "fw-office": "office", "edr-cloud": "cloud"}
    assert any("fw-office  office   refused    dmz" in line for line in shown(targets_table(request, where), columns))


# -- labels -----------------------------------------------------------------------------------------------------


def message(content, labels, label=Label.GREEN, withheld=()):
    return Message(
        "00.0", "detections.x", "event", "zeek-1", Severity.HIGH, Phase.NONE, label, 0, 1, 3, ("hq",), content, labels,
        dict(withheld),
    )


def told(message, capsys):
    points._show(Screen(), message)
    return capsys.readouterr().out.splitlines()


def test_a_reader_is_shown_the_highest_label_in_sight_and_which_fields_bear_it(capsys):
    lines = told(message({"src": 1, "hosts": [{"ip": 2}], "rule": 3},
                         {"src": Label.AMBER, "hosts.ip": Label.RED, "rule": Label.GREEN}), capsys)
    assert lines[0].startswith("00:00:00Z  detections.x high TLP:RED from zeek-1 via hq, 3 ms old")
    assert lines[2:] == ["  TLP:RED: hosts.ip", "  TLP:AMBER: src", "  TLP:GREEN: the rest"]


def test_no_name_of_a_field_says_anything_of_another(capsys):
    names = ("a b", "x, TLP:GREEN: y", "id.orig_h", "z\n  TLP:CLEAR")
    lines = told(message(dict.fromkeys(names, 1), dict.fromkeys(names, Label.AMBER)), capsys)
    assert lines[2:] == ['  TLP:AMBER: "a b", "x, TLP:GREEN: y", id.orig_h, "z\\n  TLP:CLEAR"']


def test_what_was_withheld_is_not_in_sight(capsys):
    lines = told(message({"rule": 3}, {"rule": Label.CLEAR}, withheld={Label.RED: 1}), capsys)
    assert "TLP:GREEN" in lines[0] and lines[2:] == ["  withheld: all that is TLP:RED"]
    assert told(message({"src": 3}, {"src": Label.RED}), capsys)[2:] == ["  TLP:RED: src"], "there is no rest"


def test_json_has_the_highest_label_too():
    said = message({"src": 1}, {"src": Label.AMBER}).to_json()
    assert (said["label"], said["highest_label"]) == ("green", "amber")


def test_an_object_bears_the_highest_label_of_what_is_in_it(capsys):
    seen = message({"id": {"orig_h": 1, "x": 2}, "identity": 3, 7: 4},
                   {"id.orig_h": Label.AMBER, "id.x": Label.GREEN, "identity": Label.GREEN, "7": Label.RED})
    assert [seen.label_of(name) for name in ("id", "id.x", "identity", "none")] == [
        Label.AMBER, Label.GREEN, Label.GREEN, Label.GREEN
    ]
    Show(Screen(), 0).sees("analyst", seen)
    lines = capsys.readouterr().out.splitlines()
    assert any("id " in line and "TLP:AMBER" in line for line in lines) and any("TLP:RED" in line for line in lines)
