"""Help: examples that can be copied, and values with a word of their own."""

import re
import shlex

import pytest

from relays.cli.help_texts import folded_command, with_examples
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
