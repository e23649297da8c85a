"""CEF and LEEF within a message of either RFC, or by themselves."""

from datetime import UTC, datetime

import pytest

from relays.gateways.syslog.cef import folded, read_cef
from relays.gateways.syslog.leef import read_leef
from relays.gateways.syslog.pairs import PAIRS_MAX
from relays.gateways.syslog.reading import How, read_message

HOW = How(datetime(2026, 11, 29, 12, tzinfo=UTC))
HEAD = "CEF:0|security|threatmanager|1.0|100|worm stopped|10|"


@pytest.mark.parametrize(("extension", "expected"), [
    ("src=10.0.0.1 dst=2.1.2.2 spt=1232", {"src": "10.0.0.1", "dst": "2.1.2.2", "spt": "1232"}),
    (r"act=blocked a \= dst=1.1.1.1", {"act": "blocked a =", "dst": "1.1.1.1"}),
    (r"act=blocked a \\ dst=1.1.1.1", {"act": "blocked a \\", "dst": "1.1.1.1"}),
    (r"msg=one\ntwo\rthree \| C:\dir x=", {"msg": "one\ntwo\rthree \\| C:\\dir", "x": ""}),
    ("request=https://x/?a=b&c=d cat=a|b", {"request": "https://x/?a=b&c=d", "cat": "a|b"}),
    ("src=1 src=2 ad.field[0]=x", {"src": ["1", "2"], "ad.field[0]": "x"}),
    ("cs1=5 cs1Label=rule cs2=7", {"cs1": "5", "cs1Label": "rule", "cs2": "7"}),
])
def test_an_extension(extension, expected):
    cef, flag = read_cef(HEAD + extension)
    assert cef["extension"] == expected and not flag


def test_the_header_of_cef():
    cef, flag = read_cef(r"CEF: 1|Product|Ven\|dor|7\\|op1\|op2|detected a = in message|Unknown|")
    assert (cef, flag) == ({
        "version": "1", "vendor": "Product", "product": "Ven|dor", "device_version": "7\\", "class_id": "op1|op2",
        "name": "detected a = in message", "severity": "Unknown",
    }, "")
    assert read_cef("CEF:0|a|b|c") == (None, "bad-cef")
    assert read_cef(HEAD + "no pair")[0]["rest"] == "no pair"


def test_too_many_pairs_stay_text():
    cef, flag = read_cef(HEAD + " ".join(f"k{n}=v" for n in range(PAIRS_MAX + 2)))
    assert len(cef["extension"]) == PAIRS_MAX and flag == "more-pairs"
    assert cef["rest"] == f"k{PAIRS_MAX}=v k{PAIRS_MAX + 1}=v"


def test_labels_are_folded_where_that_was_declared_and_nothing_is_lost_by_it():
    given = {
        "cs1": "5", "cs1Label": "rule", "cs2": "6", "cs2Label": "rule", "cs3Label": "x", "cn1": "1", "cn1Label": "src",
        "src": "a", "cs4": "7", "cs4Label": "",
    }
    assert folded(given) == {
        "rule": "5", "cs2": "6", "cs2Label": "rule", "cs3Label": "x", "cn1": "1", "cn1Label": "src", "src": "a",
        "cs4": "7", "cs4Label": "",
    }
    record = read_message((HEAD + "cs1=5 cs1Label=rule").encode(), How(HOW.day, fold=True))
    assert record["cef"]["extension"] == {"rule": "5"}


@pytest.mark.parametrize(("severity", "word"), [
    ("0", "low"), ("5", "medium"), ("7", "high"), ("10", "critical"), ("Very-High", "critical"), ("Unknown", "unknown"),
    ("100", "low"), ("-1", "low"), ("", "low"),  # none of CEF's: the priority's counts
])
def test_the_severity_of_cef_wins_where_it_is_one(severity, word):
    record = read_message(f"<13>Oct 11 22:14:15 h CEF:0|a|b|c|d|e|{severity}|x=y".encode(), HOW)
    assert record["severity"] == word and record["host"] == "h" and "message" not in record


@pytest.mark.parametrize(("line", "before"), [
    ("2019-02-19T12:02:54.464+01:00 192.168.40.94 " + HEAD + "a=b", None),
    ("<13>1 2019-01-18T11:07:53.520Z 192.168.1.1 " + HEAD + "a=b", None),
    ("<13>Oct 11 22:14:15 " + HEAD + "a=b", None),
    ("<13>1 - h a - - - from a sensor: " + HEAD + "a=b", "from a sensor:"),
])
def test_cef_behind_any_header_is_read_once_and_not_kept_as_text_too(line, before):
    record = read_message(line.encode(), HOW)
    assert record["cef"]["extension"] == {"a": "b"} and record.get("message") == before


def test_what_is_no_cef_stays_text():
    record = read_message(b"<13>Oct 11 22:14:15 h CEF:0|a|b", HOW)
    assert record["message"] == "CEF:0|a|b" and record["flags"] == ["bad-cef"]


@pytest.mark.parametrize(("line", "attributes", "flag"), [
    ("LEEF:1.0|Microsoft|MSExchange|4.0 SP1|15345|src=192.0.2.0\tdst=172.50.123.1\tsev=5\tcat=a b",
     {"src": "192.0.2.0", "dst": "172.50.123.1", "sev": "5", "cat": "a b"}, ""),
    ("LEEF:2.0|Lancope|StealthWatch|1.0|41|^|src=10.0.1.8^dst=10.0.0.5", {"src": "10.0.1.8", "dst": "10.0.0.5"}, ""),
    ("LEEF:2.0|V|P|1|41|x5E|a=1^b=2", {"a": "1", "b": "2"}, ""),
    ("LEEF:2.0|V|P|1|41|0x09|a=1\tb=2", {"a": "1", "b": "2"}, ""),
    ("LEEF:2.0|V|P|1|41|xa6|a=1\u00a6b=2", {"a": "1", "b": "2"}, ""),
    ("LEEF:2.0|V|P|1|41||a=1\tb=2", {"a": "1", "b": "2"}, ""),
    ("LEEF:2.0|V|P|1|41|a=1\tb=2", {"a": "1", "b": "2"}, ""),
    ("LEEF:2.0|V|P|1|41|x0000|a=1\tb=2", {"a": "1", "b": "2"}, ""),
    ("LEEF:2.0|V|P|1|41|xD800|a=1\tb=2", {"a": "1", "b": "2"}, ""),
    (r"LEEF:2.0|V|P|1|41|^|a=1\^2^b=C:\new^c=x\=y", {"a": "1^2", "b": r"C:\new", "c": "x=y"}, ""),
    ("LEEF:1.0|C|P|14|x|Cat=Suspected theft|sev=8|src=s", {"Cat": "Suspected theft", "sev": "8", "src": "s"},
     "guessed-delimiter"),
    ("LEEF:1.0|C|P|14|x|a=1 2 b=3", {"a": "1 2", "b": "3"}, "guessed-delimiter"),
    ("LEEF:1.0|C|P|14|x|a=1\tno key\tb=3", {"a": "1\tno key", "b": "3"}, ""),
])
def test_leef(line, attributes, flag):
    leef, found = read_leef(line)
    assert (leef["attributes"], found) == (attributes, flag)


def test_leef_in_a_message():
    record = read_message(b"<13>Jan 18 11:07:53 192.168.1.1 LEEF:1.0|M|E|4|15345|sev=9\ta=b", HOW)
    assert (record["severity"], record["host"], record["leef"]["event_id"]) == ("critical", "192.168.1.1", "15345")
    assert read_leef("LEEF:3.0|a") == (None, "bad-leef")
