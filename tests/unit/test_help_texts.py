"""Help: examples that can be copied, and values with a word of their own."""

import re
import shlex

import pytest
import typer

from relays.cli.app import app
from relays.cli.help_texts import folded_command, in_short, with_examples
from tests.unit.test_command_lines import COMMANDS, ends

LONG = "fabric act deny ipv4_net=203.0.113.9 --to 'role=firewall and segment=ot-1' --as soar-1 --key incident-1/block"


@pytest.mark.parametrize("columns", [48, 60, 76, 200])
def test_what_a_shell_reads_is_the_command(columns):
    folded = folded_command(LONG, columns)
    assert shlex.split(folded.replace("\\\n", "")) == shlex.split(LONG)
    assert all(len(line) <= columns for line in folded.splitlines())
    assert "'role=firewall and segment=ot-1'" in folded


def test_sentences_stay_and_an_example_has_lines_of_its_own():
    text = "Do it.\n\nIt is done.\n\nExample: fabric status enterprise"
    assert with_examples(text, 76) == "Do it.\n\nIt is done.\n\nExample:\n\n\b\n  fabric status enterprise"
    assert with_examples("fabric is a name in a sentence here: Example: none", 76).endswith("Example: none")


@pytest.mark.parametrize("columns", ["50", "80"])
def test_no_help_has_a_broken_line_or_a_type_of_python(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for name in COMMANDS:
        assert ends(monkeypatch, *name.split(), "--help") == 0
        out = capsys.readouterr().out
        assert not re.search(r"<(str|path|int|list|float)\b", out), name
        for example in re.findall(r"^    fabric (?:.*\\\n)*.*", out, re.MULTILINE):
            shlex.split(example.replace("\\\n", ""))


def groups():
    return [name for name, command in typer.main.get_command(app).commands.items() if hasattr(command, "commands")]


def test_a_list_of_commands_cuts_no_sentence():
    assert in_short("Show it, whole: this and\nthat.\n\nMore of it.") == "Show it, whole."
    assert in_short("") == "", "of what says nothing there is no full stop"
    assert in_short("All of one\nsentence.\n\nExit codes: 0 done.") == "All of one sentence."


@pytest.mark.parametrize("name", ["", *groups()])
def test_each_list_of_commands_is_whole_and_has_an_example(monkeypatch, capsys, name):
    monkeypatch.setenv("COLUMNS", "80")
    assert ends(monkeypatch, *name.split(), "--help") == 0
    out = capsys.readouterr().out
    assert "..." not in out.partition("Commands:")[2]
    assert re.search(rf"Examples?:\n\n    ?fabric {name}", out), out
    assert all(len(line) <= 80 for line in out.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_says_what_it_is_for(name):
    assert all(getattr(parameter, "help", "") for parameter in COMMANDS[name].params), name
