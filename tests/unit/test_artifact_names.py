"""Names that somebody else chose, as names of files of ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.artifacts.names import NAME_BYTES_MAX, distinct, file_name


@pytest.mark.parametrize(("said", "name"), [
    ("dump.pcap", "dump.pcap"), ("../../x", "x"), ("/etc/passwd", "passwd"), ("a\\b\\c.exe", "c.exe"),
    ("..", "artifact"), ("", "artifact"), ("a/", "artifact"), (".bashrc", "bashrc"), ("-rf", "rf"), (" . x . ", "x"),
    ("a\x1b[31mb\n", "a_[31mb_"), ("\u202egpj.exe", "_gpj.exe"), ("\ud800", "_"), ("a:b|c?", "a_b_c_"),
    ("CON", "_CON"), ("nul.tar.gz", "_nul.tar.gz"), ("Com1 .log", "_Com1 .log"), ("lpt\u00b9", "_lpt\u00b9"),
    ("console.log", "console.log"), ("com10", "com10"), ("..aux", "_aux"),
    ("con" + " " * 200 + "x.txt", "_con.txt"), ("con." + "x" * 300, "_con." + "x" * (NAME_BYTES_MAX - 5)),
    ("C:\\prn.txt", "_prn.txt"),
    ("héllo wörld.txt", "héllo wörld.txt"), ("x" * 300, "x" * NAME_BYTES_MAX),
    ("x" * 300 + ".pcap", "x" * (NAME_BYTES_MAX - 5) + ".pcap"), ("é" * 300, "é" * (NAME_BYTES_MAX // 2)),
])  # fmt: skip
def test_what_comes_out(said, name):
    assert file_name(said) == name


@given(st.text(max_size=400) | st.text(alphabet="./\\- x\x00é", max_size=400))
def test_whatever_is_said_it_is_the_name_of_a_file_in_a_folder(said):
    name = file_name(said)
    assert name and name.isprintable() and len(name.encode()) <= NAME_BYTES_MAX
    assert not set(name) & set("/\\\0") and name[0] not in ".- " and name not in (".", "..")
    assert file_name(name) == name


def test_two_of_one_name_are_told_apart_whatever_the_case():
    assert distinct("dump.pcap", ["notes.txt"]) == "dump.pcap"
    assert distinct("dump.pcap", ["Dump.PCAP", "dump-2.pcap"]) == "dump-3.pcap"
    assert distinct("x", ["x"]) == "x-2"
    assert distinct("cafe\u0301.txt", ["CAF\u00c9.txt"]) == "cafe\u0301-2.txt"  # composed, and decomposed
    long = distinct("x" * NAME_BYTES_MAX, ["x" * NAME_BYTES_MAX])
    assert long.endswith("x-2") and len(long) == NAME_BYTES_MAX
