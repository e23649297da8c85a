"""Which handlers there are, and what is said of one on the command line."""

import importlib.metadata
import sys
from contextlib import suppress
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import check_action_pattern
from relays.handlers import registry
from relays.handlers.kinds import Options
from relays.handlers.registry import asked_for, kind_of, names


@pytest.mark.parametrize("name", names())
def test_each_says_what_it_takes_in_words_that_there_are(name):
    kind = kind_of(name)
    assert kind.name == name and kind.summary.endswith(".") and len(kind.summary) < 100
    for option in kind.options:
        assert option.help.endswith(".") and len(f"{option.name}={option.metavar}") < 40
    for pair in kind.pairs(Options(name)):
        assert check_action_pattern(pair.text) is None and pair.does


def test_options_are_words_as_a_shell_has_them():
    asked = asked_for("nftables never=10.0.0.1 never='10.0.0.2' verdict=reject")
    assert asked.options.many("never") == ["10.0.0.1", "10.0.0.2"]
    assert asked.options.one("verdict") == "reject" and asked.options.one("table", "x") == "x"


@pytest.mark.parametrize(
    ("text", "detail", "next_step"),
    [("", "names none", "fabric edge handlers"), ("'nft", "no closing quotation", "close what was opened"),
     ("nftable", "no handler 'nftable'", "write nftables"), ("zzz", "no handler 'zzz'", "fabric edge handlers"),
     ("nftables nevr=10.0.0.1", "'nevr' is none of its options", "write never=NETWORK"),
     ("nftables verdict", "verdict has no value", "write verdict="),
     ("nftables never=", "never has no value", "never="),
     ("nftables verdict=drop verdict=drop", "verdict comes twice", "give it once")],
)
def test_what_cannot_be_meant_is_told_with_what_to_write_instead(text, detail, next_step):
    with pytest.raises(FabricError) as raised:
        asked_for(text)
    assert raised.value.code is Code.USAGE
    assert detail in raised.value.detail and next_step in raised.value.next_step


@given(st.text() | st.text("never=' \\\"\0\n", max_size=20))
def test_whatever_is_said_to_it_is_an_option_or_an_error_with_a_number(said):
    with suppress(FabricError):
        assert asked_for(f"nftables {said}").kind.name == "nftables"


@pytest.fixture
def brought(monkeypatch, tmp_path):
    """A package that somebody else brings; its module is imported when it is used."""
    (tmp_path / "brought_handler.py").write_text(
        "from relays.handlers.kinds import Kind\nKIND = Kind('crane', 'Moves.', lambda o: [], [], lambda o: [], None)\n"
        "OTHER = Kind('other', 'Moves.', lambda o: [], [], lambda o: [], None)\nNONE = 7\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [EntryPoint(name, f"brought_handler:{what}", registry.GROUP) for name, what in
              (("crane", "KIND"), ("nftables", "KIND"), ("wrong", "OTHER"), ("none", "NONE"), ("gone", "GONE"))]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if group == registry.GROUP else [])
    yield
    sys.modules.pop("brought_handler", None)


def test_somebody_else_s_is_imported_when_its_name_is_used_and_takes_no_name_of_ours(brought):
    assert names().count("nftables") == 1 and "crane" in names()
    assert kind_of("nftables").options and "brought_handler" not in sys.modules
    assert asked_for("crane").kind.summary == "Moves."


@pytest.mark.parametrize(("name", "why"), [("wrong", "no handler of this name"), ("none", "no handler of this name"),
                                           ("gone", "AttributeError while it was loaded")])
def test_one_that_is_broken_is_named(brought, name, why):
    with pytest.raises(FabricError) as raised:
        kind_of(name)
    assert raised.value.code is Code.HANDLER_UNFIT and name in raised.value.detail and why in raised.value.detail
