"""`fabric explain` at the command line, where nothing runs: what it prints, how it ends, and what is typed wrong."""

import shutil

import pytest

from relays.authority import init_authority, make_identities
from relays.topology.loader import load
from tests.integration.harness import TOPOLOGY, House, with_free_ports

NET = "ipv4_net=192.0.2.1"


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> House:
    made = House(tmp_path_factory.mktemp("explain"))
    make_identities(load(made.file), init_authority(made.fabric, made.home), made.home)
    return made


@pytest.fixture
def own(tmp_path) -> House:
    made = House(tmp_path)
    make_identities(load(made.file), init_authority(made.fabric, made.home), made.home)
    return made


def explain(house: House, *args: str, code: int) -> dict:
    (said,) = house.cli("explain", *args, "--json").expect(code).lines
    return dict(said)


def test_what_is_stripped_on_the_way_is_partly(house):
    said = explain(house, "publish", "detections.x", "--as", "zeek-p", "--label", "green", "--field-label", "src=amber",
                   code=3)
    assert (said["verdict"], said["code"]) == ("partly", None)
    assert [hop["relay"] for hop in said["path"]] == ["plant", "low", "mid", "hq"]
    assert [hop["stripped"] for hop in said["path"]] == [{}, {"amber": ["src"]}, {}, {}]
    assert said["grants"] == ['{ topic = "detections.>", severity_max = "critical" }']
    whole = explain(house, "publish", "detections.x", "--as", "zeek-p", "--label", "green", code=0)
    assert whole["verdict"] == "allowed" and whole["credential"]["on_this_machine"]


def test_the_label_of_the_topology_is_meant_where_none_is_named(house):
    said = explain(house, "publish", "detections.x", "--as", "zeek-p", code=3)
    assert said["label"] == "amber" and said["path"][-1] == {
        "relay": "low", "clearance": "green", "ends": True, "code": "E601", "stripped": {}
    }


def test_an_action_says_whom_it_reaches(house):
    said = explain(house, "act", "deny", NET, "--to", "role=firewall", "--as", "soar-hq", code=3)
    assert said["turn"] == "hq"
    assert {each["id"]: (each["code"], each["by"]) for each in said["targets"]} == {
        "fw-p": ("E601", "low"), "fw-m": (None, "")
    }
    assert explain(house, "act", "deny", NET, "--to", "role=firewall", "--as", "soar-hq", "--label", "green",
                   code=0)["verdict"] == "allowed"
    assert explain(house, "act", "deny", NET, "--to", "role=edr", "--as", "soar-hq", code=4)["code"] == "E703"


def test_in_words_it_says_the_same(house):
    text = house.cli("explain", "publish", "detections.x", "--as", "zeek-p", "--label", "green", "--field-label",
                     "src=amber").expect(3).out
    for words in ("as zeek-p: partly", 'publish = [{ topic = "detections.>", severity_max = "critical" }]',
                  "vouched for by the authority", "stripped before it gets there: src (amber)",
                  "passes on what is left"):
        assert words in text, text
    denied = house.cli("explain", "publish", "secrets.x", "--as", "zeek-p").expect(5).out
    assert "E401 " in denied and 'publish = ["secrets.x"] in roles.sensor' in denied


def test_a_file_answers_for_who_is_not_on_this_machine(house, tmp_path):
    bare = House(tmp_path)
    said = explain(bare, "publish", "detections.x", "--as", "zeek-p", "--label", "green", "--topology", str(house.file),
                   code=0)
    assert not said["credential"]["on_this_machine"] and len(said["path"]) == 4
    assert bare.cli("explain", "publish", "a", "--as", "zeek-p", "--json").expect(1).error["code"] == "E904"
    unknown = bare.cli("explain", "publish", "a", "--as", "x", "--topology", str(house.file), "--json").expect(1)
    assert unknown.error["code"] == "E904"


def test_the_credential_decides_and_a_file_that_says_otherwise_is_named(own):
    own.file.write_text(with_free_ports(TOPOLOGY.replace('topic = "detections.>"', 'topic = "alerts.>"')))
    said = explain(own, "publish", "detections.x", "--as", "zeek-p", "--label", "green", "--topology", str(own.file),
                   code=0)
    assert said["credential"]["differs_from_file"]
    assert "run `fabric up`" in own.cli(
        "explain", "publish", "detections.x", "--as", "zeek-p", "--label", "green", "--topology", str(own.file)
    ).out


def test_who_was_revoked_may_nothing(own):
    own.cli("revoke", "zeek-p", "--fabric", own.fabric).expect(0)
    said = explain(own, "publish", "detections.x", "--as", "zeek-p", "--label", "green", code=5)
    assert said["code"] == "E205" and said["credential"]["revocations"] and not said["wanted"]


def test_where_only_its_own_folder_is_the_relay_is_named_as_not_known(own):
    for relay in own.relays:
        shutil.rmtree(own.folder / "ids" / relay)
    said = explain(own, "publish", "detections.x", "--as", "zeek-p", code=0)
    assert said["path"] == [] and said["unknown_above"] == "plant"
    assert "--topology" in own.cli("explain", "publish", "detections.x", "--as", "zeek-p").out


@pytest.mark.parametrize(
    ("args", "code", "error"),
    [
        (("publish", "a..b", "--as", "zeek-p"), 2, "E107"),
        (("publish", "a", "--as", "zeek-p", "--label", "purple"), 2, "E602"),
        (("publish", "a", "--as", "zeek-p", "--severity", "bad"), 2, "E908"),
        (("publish", "a"), 2, "E908"),
        (("publish", "a", "--as", "nobody"), 1, "E904"),
        (("subscribe", "a..b", "--as", "analyst-m"), 2, "E107"),
        (("act", "obliterate", NET, "--to", "all", "--as", "soar-hq"), 2, "E706"),
        (("act", "deny", NET, "--to", "role=", "--as", "soar-hq"), 2, "E705"),
        (("act", "deny", NET, "--to", "", "--as", "soar-hq"), 4, "E703"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_is_typed_wrong(house, args, code, error):
    done = house.cli("explain", *args, "--json").expect(code)
    assert done.error["code"] == error and done.error["next"] and done.out == ""
