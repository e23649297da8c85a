"""What is said when a peer is missing: its name, and the command that brings it."""

from scripts.comparison.needs import NATS, ZENOH, Need, missing

HERE = Need("a module", "pip install here", module="json")
NO_MODULE = Need("no-module", "pip install no-module", module="no_module_of_this_name")
NO_PROGRAM = Need("no-program", "apt-get install no-program", program="no-program-of-this-name")


def test_nothing_is_said_when_all_is_there():
    assert missing((HERE,)) == ("", "")


def test_what_is_missing_is_named_with_the_command_that_brings_it():
    assert missing((HERE, NO_MODULE)) == ("no-module is not installed", "pip install no-module")


def test_two_that_are_missing_are_named_with_both_commands():
    assert missing((NO_MODULE, NO_PROGRAM)) == (
        "no-module and no-program are not installed", "pip install no-module && apt-get install no-program",
    )


def test_what_one_command_brings_is_asked_for_once():
    again = NO_PROGRAM._replace(install=NO_MODULE.install)
    assert missing((NO_MODULE, again))[1] == "pip install no-module"


def test_peers_come_with_an_extra_that_there_is(pytestconfig):
    text = (pytestconfig.rootpath / "pyproject.toml").read_text()
    assert "\nbench = [" in text
    assert {need.install for need in NATS + ZENOH if need.what != "openssl"} == {
        "pip install -c constraints.txt -e '.[bench]'"
    }
