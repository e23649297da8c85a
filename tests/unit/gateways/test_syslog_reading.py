"""Whatever comes is a record: nothing is raised, and no text is lost."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from relays.gateways.syslog.pairs import first, put
from relays.gateways.syslog.reading import How, read_message
from relays.gateways.syslog.text import to_text
from relays.gateways.syslog.when import day_of, from_bsd, from_epoch, from_iso

HOW = How(datetime(2026, 11, 29, 12, tzinfo=UTC))
PIECES = st.sampled_from([
    "<13>", "<999>", "<", ">", "1 ", "2026-01-01T00:00:00Z ", "Oct 11 22:14:15 ", "- ", "[a ", 'x="1"', "]", "\\",
    "\\]", '"', "CEF:0|", "LEEF:1.0|", "LEEF:2.0|x5E|", "|", "=", " k=v", "\t", "^", "*", ": ", "%SYS-5-X: ", "host ",
    "\ufeff", "\0", "237: ", "tag[1]: ", "99999999999", "\u00e9", "9|", "cs1Label=", "\r",
])
MESSAGES = st.one_of(
    st.binary(max_size=200), st.lists(PIECES, max_size=14).map(lambda pieces: "".join(pieces).encode()),
    st.tuples(st.lists(PIECES, max_size=9), st.binary(max_size=30)).map(lambda two: "".join(two[0]).encode() + two[1]),
)


def texts(value):
    """Every text in a record, names too."""
    if isinstance(value, dict):
        return "".join(key + texts(inner) for key, inner in value.items())
    return "".join(map(texts, value)) if isinstance(value, list) else str(value)


@given(MESSAGES, st.booleans())
def test_any_bytes_make_a_record_that_can_be_sent(raw, fold):
    record = read_message(raw, How(HOW.day, fold=fold), ("truncated",))
    assert record["format"] in ("rfc5424", "rfc3164", "plain") and record["flags"][0] == "truncated"
    assert json.loads(json.dumps(record)) == record
    assert texts(record).encode()  # no lone surrogates


@given(st.lists(st.sampled_from(["alpha", "beta", "=", "|", "[", "]", '"', " ", "<13>", ": ", "CEF:0|", "k=v", "\t"]),
                max_size=20))
def test_no_word_is_lost(pieces):
    raw = "".join(pieces)
    found = texts(read_message(raw.encode(), HOW))
    for word in ("alpha", "beta"):
        assert found.count(word) >= raw.count(word)


def test_text_that_is_none():
    assert to_text(b"caf\xe9") == ("caf\\xe9", False) and to_text("\u00e9".encode()) == ("\u00e9", True)


def test_a_name_that_comes_again():
    pairs = {}
    for value in "abc":
        put(pairs, "x", value)
    assert pairs == {"x": ["a", "b", "c"]} and first(pairs, "x") == "a" and first(pairs, "y") == ""


def test_times():
    near = day_of(1_795_910_400_000)
    assert from_iso("2026-10-11T22:14:15.000000001Z", UTC) == "2026-10-11T22:14:15.000000001Z"
    assert from_iso("2026-10-11T22:14:15+0200", UTC) == "2026-10-11T22:14:15+02:00"
    assert from_iso("2026-10-41T22:14:15Z", UTC) == "" == from_epoch("1e999") == from_bsd("Xyz 11 1:2:3", near, UTC)
    assert from_epoch("99999999999999") == "" and from_bsd("Oct 11 22:14", near, UTC) == ""
