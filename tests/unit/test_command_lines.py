"""What every command says of itself, and of a command line that it cannot read."""

import json
import sys

import pytest
import typer

from relays.cli.app import app
from relays.cli.shared import exits


def commands(group=None, path=()):
    """Every command that there is, as it is written, with its help."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands())


def ends(monkeypatch, *args):
    """Its exit code. What a program makes of the streams it began with is put back."""
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", ["fabric", *args])
        for name in ("stdout", "stderr"):
            patched.setattr(sys, name, getattr(sys, name))
        with pytest.raises(SystemExit) as ended:
            exits.run(app)
    return ended.value.code


@pytest.mark.parametrize("name", COMMANDS)
def test_each_has_an_example_its_exit_codes_and_json(name):
    command = COMMANDS[name]
    assert "Example" in command.help and "xit codes: 0" in command.help
    assert any("--json" in parameter.opts for parameter in command.params)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("as_json", [True, False])
def test_an_option_that_there_is_not(monkeypatch, capsys, name, as_json):
    assert ends(monkeypatch, *name.split(), "--no-such-option", *(["--json"] if as_json else [])) == 2
    out, err = capsys.readouterr()
    assert out == ""
    if as_json:
        error = json.loads(err)["error"]
        assert error["code"] == "E908" and "--no-such-option" in error["detail"] and f"{name} --help" in error["next"]
    else:
        assert "error E908" in err and f"  next: see fabric {name} --help" in err


@pytest.mark.parametrize(
    "args",
    [["nonsense"], ["--nonsense"], ["topology", "nonsense"], ["drain"], ["subscribe", "x", "--count", "many"],
     ["subscribe", "x", "--count", "0"], ["topology", "lint", "/nowhere"]],
    ids=" ".join,
)
def test_whatever_else_is_wrong_with_it(monkeypatch, capsys, args):
    assert ends(monkeypatch, *args, "--json") == 2
    out, err = capsys.readouterr()
    assert out == "" and json.loads(err)["error"]["code"] == "E908"


@pytest.mark.parametrize("args", [[], ["topology"], ["credential"]], ids=str)
def test_who_asks_for_nothing_gets_help(monkeypatch, capsys, args):
    assert ends(monkeypatch, *args) == 2
    assert "Usage: fabric" in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["20", "40", "80", "120"])
def test_help_on_a_terminal_of_any_width(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for name in COMMANDS:
        assert ends(monkeypatch, *name.split(), "--help") == 0
        assert f"fabric {name.split()[0]}" in " ".join(capsys.readouterr().out.split())
