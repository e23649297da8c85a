"""What the README has somebody type, one section after the other, with all its trees at the same time."""

import re
import tomllib
from pathlib import Path

from relays.cli.app import _COMMANDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SHIPPED = ROOT / "topologies"
TREES = [SHIPPED / "enterprise.toml", SHIPPED / "partners.toml", *(SHIPPED / "examples").glob("*.toml")]


def nodes_of(path):
    tree = tomllib.loads(path.read_text())
    return {f"{tree['fabric']}/{id_}" for id_ in [*tree["relays"], *tree["points"]]}


def test_no_two_trees_listen_at_one_port():
    taken = {}
    for path in [*TREES, SHIPPED / "minimal.toml"]:
        for port in set(re.findall(r'listen = .*?:(\d+)"', path.read_text())):
            assert port not in taken, f"{path.name} and {taken[port]} listen at {port}"
            taken[port] = path.name


def test_who_is_named_is_somebody_and_in_one_tree_only():
    known = set().union(*(nodes_of(path) for path in TREES))
    blocks = re.findall(r"^```\w*\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    made = set(re.findall(r"delegate (\S+)", README))
    of_a_file = re.compile(r".* --topology .*")  # it says which tree
    for name in re.findall(r"--as ([\w/$-]+)", of_a_file.sub("", "\n".join(blocks))):
        if name in made or "$" in name:
            continue
        who = [of for of in known if of == name or of.partition("/")[2] == name]
        assert len(who) == 1, f"--as {name}: {who}"


def test_each_command_that_is_shown_is_one():
    for name in re.findall(r"^(?:\$ )?fabric (\w+)", README, re.MULTILINE):
        assert name in _COMMANDS, name
