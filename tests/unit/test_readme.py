"""What the README has somebody type, one section after the other, with all its trees at the same time."""

import re
import tomllib
from pathlib import Path

from relays.cli.app import _COMMANDS
from relays.topology.loader import load

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


def test_who_is_revoked_is_nobody_that_a_command_is_given_as():
    revoked = set(re.findall(r"^\$ fabric revoke (\S+)", README, re.MULTILINE))
    assert revoked and not revoked & set(re.findall(r"--as ([\w/-]+)", README))


def test_files_that_commands_read_are_there():
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)  # each fence that opens has its end
    typed = "\n".join(block for language, block in blocks if language in ("", "sh", "bash", "console"))
    named = set(re.findall(r"\btopologies/[\w./-]+", typed))
    assert named and all((ROOT / name).exists() for name in named)
    assert "/var/log" not in typed, "not every machine has that"


def test_the_role_that_may_lower_labels_fits_into_the_tree_that_runs(tmp_path):
    section = README.split("### Lower a label\n")[1]
    role = section.split("```toml\n[roles]\n")[1].split("```")[0]
    tree = (SHIPPED / "enterprise.toml").read_text()
    text, replaced = re.subn(r"^analyst +=.*\n", lambda _: role, tree, flags=re.MULTILINE)
    assert replaced == 1
    path = tmp_path / "enterprise.toml"
    path.write_text(text)
    assert load(path).roles["analyst"].declassify


def test_a_red_message_is_sent_after_its_recipient_connected():
    section = README.split("### Whom a message is for\n")[1].split("\n### ")[0]
    assert section.index("subscribe 'intel.>' --as partners/analyst-acme") < section.index("has subscribed")
    assert section.index("has subscribed") < section.index("--field-label from=red")
