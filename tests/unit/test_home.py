"""Where state lives, as people set it."""

from pathlib import Path

import pytest

from fabric.edge.identity.home import fabric_home, home_path
from fabric.protocol.base.errors import Code, FabricError
from relays.cli.shared.exits import command


@pytest.fixture
def environment(monkeypatch):
    for name in ("FABRIC_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "home"),
    [
        ({}, "/home/me/.local/share/message-fabric"),
        ({"FABRIC_HOME": ""}, "/home/me/.local/share/message-fabric"),
        ({"FABRIC_HOME": "/srv/fabric"}, "/srv/fabric"),
        ({"FABRIC_HOME": "~/x"}, "/home/me/x"),
        ({"FABRIC_HOME": "here"}, "here"),
        ({"XDG_DATA_HOME": "/data"}, "/data/message-fabric"),
        ({"XDG_DATA_HOME": "~/data"}, "/home/me/data/message-fabric"),
        ({"XDG_DATA_HOME": "data"}, "/home/me/.local/share/message-fabric"),
    ],
)
def test_where_it_is(environment, variables, home):
    for name, value in variables.items():
        environment.setenv(name, value)
    assert fabric_home() == Path(home)


def test_a_home_that_nobody_knows_is_an_error_of_the_command_and_no_folder(environment):
    environment.setenv("FABRIC_HOME", "~nobody-of-this-name/x")
    with pytest.raises(FabricError) as refused:
        fabric_home()
    assert refused.value.code is Code.USAGE and "FABRIC_HOME" in refused.value.next_step


def test_without_any_home(environment):
    """A user without an entry, as in some containers."""

    def nobody(_path):
        raise RuntimeError("Could not determine home directory.")

    environment.setattr(Path, "expanduser", nobody)
    with pytest.raises(FabricError) as refused:
        fabric_home()
    assert "FABRIC_HOME" in refused.value.next_step


def test_only_the_beginning_of_a_path_is_a_home(environment):
    assert home_path(Path("/a/~/b")) == Path("/a/~/b") and home_path(Path("~")) == Path("/home/me")


@pytest.mark.parametrize(
    ("given", "taken"), [("~/box", "/home/me/box"), ("~x", "~x"), ("./~x/y", "~x/y"), ("a/~", "a/~"), ("", ".")]
)
def test_of_a_command_s_files_only_one_s_own_home_is_read(environment, given, taken):
    @command
    def write(file):
        assert file == Path(taken)

    write(file=Path(given))
