"""What a peer wrote, in a line of a terminal or of a log."""

import io
import json
import sys

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.logging.log import edge_log
from fabric.edge.logging.plain import escaped
from relays.logs import set_up_logs
from relays.terminal import json_text

# Lone surrogates too: a file's name that is no UTF-8 holds some.
ANYTHING = st.text(st.characters(codec=None, categories=None))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANYTHING | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(ANYTHING | st.integers(), inner), max_leaves=20,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, with ümlauts, 日本語 and \\n", "plain, with ümlauts, 日本語 and \\n"),
        ("\x1b[2J", r"\u001b[2J"), ("\x1b]0;title\x07", r"\u001b]0;title\u0007"),
        ("\x9b31m", r"\u009b31m"), ("a\x7fb", r"a\u007fb"), ("\x00", r"\u0000"),
        ("two\nlines\r\n\tx", r"two\nlines\r\n\tx"), ("\u2028\u2029\x85\x0b\x0c", r"\u2028\u2029\u0085\u000b\u000c"),
        ("fdp.\u202eexe", r"fdp.\u202eexe"), ("\u2066a\u2069", r"\u2066a\u2069"), ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("\ud800", r"\ud800"), ("\U000e0041", r"\udb40\udc41"), ("[red]x[/red]", "[red]x[/red]"),
    ],
)
def test_it_shows_something_and_does_nothing(text, shown):
    assert escaped(text) == shown


@given(ANYTHING)
def test_it_is_one_printable_line_and_stays_so(text):
    assert escaped(text).isprintable() and escaped(escaped(text)) == escaped(text)
    assert len(escaped(text)) <= 12 * len(text)
    if text.isprintable():
        assert escaped(text) == text


@given(ANYTHING)
def test_json_stays_the_same_json(text):
    def same(one, other):  # a pair of lone surrogates is read again as the character that it spells
        return one.encode("utf-16", "surrogatepass") == other.encode("utf-16", "surrogatepass")

    assert same(json.loads(escaped(json.dumps(text, ensure_ascii=False))), text)


@given(VALUES)
def test_there_is_json_for_whatever_a_message_can_hold(value):
    line = json_text(value)
    assert line.isascii() and line.isprintable()

    def refuse(name):
        raise AssertionError(name)

    json.loads(line, parse_constant=refuse)
    assert escaped(json_text(value, ascii_only=False)).isprintable()


def test_bytes_have_one_form_and_what_is_no_number_is_null():
    assert json_text({"p": b"\x00\xff", "n": [float("nan"), {"i": float("-inf")}], "x": 1.5}) == (
        '{"p": {"base64": "AP8="}, "n": [null, {"i": null}], "x": 1.5}'
    )


# -- logs -----------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _unconfigured():
    yield
    structlog.reset_defaults()


@pytest.fixture
def terminal(monkeypatch):
    """To be called in the test itself: pytest sets its own streams between a fixture and a test."""

    def begin():
        monkeypatch.setenv("COLUMNS", "400")
        monkeypatch.setattr(sys, "stderr", Terminal())
        structlog.reset_defaults()
        return sys.stderr

    return begin


HOSTILE = "no \x1b]0;PWNED\x07\x1b[2Jtoo\nlevel=error \u202e\x9b[red]"


def assert_tame(text):
    for forbidden in ("\x1b]", "\x1b[2J", "\x07", "\x9b", "\u202e", "\nlevel"):
        assert forbidden not in text
    assert "u001b]0;PWNED" in text and "[red]" in text


def test_the_log_on_a_terminal_is_printable(terminal):
    seen = terminal()
    set_up_logs("info")
    structlog.get_logger().warning("not connected", why=HOSTILE, names=[HOSTILE], of={HOSTILE: HOSTILE})
    assert_tame(seen.getvalue())
    assert seen.getvalue().count("\n") == 1


def test_a_line_of_the_log_is_like_those_of_the_output(terminal):
    seen = terminal()
    set_up_logs("info")
    log = structlog.get_logger()
    log.warning("handler ended", action="deny", exit=4, id="5f" * 32, said="no route")
    log.info("issuer started", issuer="ot-issuer", roles=["sensor", "edr"], nothing="")
    log.info("relay stopped")
    log.info("effects in force", count=1, next="they end when their time is over")
    lines = seen.getvalue().splitlines()
    assert [line[8:] for line in lines] == [
        "Z  warning: handler ended: action deny, exit 4, id 5f5f5f5f5f5f..., said no route",
        "Z  issuer started: issuer ot-issuer, roles sensor edr",
        "Z  relay stopped",
        "Z  effects in force: count 1; they end when their time is over",
    ]


def test_so_is_an_event_s_own_name(terminal):
    seen = terminal()
    set_up_logs("info")
    structlog.get_logger().info(HOSTILE)
    assert_tame(seen.getvalue())


def test_so_is_the_log_of_a_control_point_in_somebody_s_program(terminal):
    seen = terminal()
    edge_log("zeek-1").warning("control point stopped", why=HOSTILE)
    assert_tame(seen.getvalue())
    assert "zeek-1" in seen.getvalue()


def test_lines_for_programs_are_exact(terminal):
    seen = terminal()
    set_up_logs("info", True)
    structlog.get_logger().warning("not connected", why=HOSTILE)
    assert json.loads(seen.getvalue())["why"] == HOSTILE and seen.getvalue().rstrip("\n").isprintable()
