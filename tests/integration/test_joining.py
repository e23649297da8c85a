"""From an authority to a member on another machine and out again, with real processes.

Machines are folders here: what is in one home is never read from another.
"""

import json
import os
import threading
import time
from contextlib import suppress

import pytest

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.identity import load_identity
from fabric.protocol.base.errors import Code, FabricError
from tests.integration.harness import House, Running, house_in, wait_for

TOPOLOGY = """
fabric = "joins"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq     = { segment = "hq",     clearance = "red",   listen = "127.0.0.1:PORT-hq" }
region = { segment = "region", clearance = "amber", listen = "127.0.0.1:PORT-region", parent = "hq" }
plant  = { segment = "plant",  clearance = "amber", listen = "127.0.0.1:PORT-plant", parent = "region" }
cell   = { segment = "cell",   clearance = "amber", listen = "127.0.0.1:PORT-cell", parent = "plant" }
line   = { segment = "line",   clearance = "amber", listen = "127.0.0.1:PORT-line", parent = "cell" }

[roles]
sensor  = { publish = ["detections.>"] }
analyst = { subscribe = ["detections.>"] }

[points]
analyst = { relay = "hq", role = "analyst", clearance = "red", kind = "operator" }
"""
PHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """An authority with a passphrase, five relays in a row, and an issuer at the plant for it and all below."""
    with house_in(tmp_path_factory.mktemp("joins"), TOPOLOGY) as house:
        phrase = house.work / "passphrase"
        phrase.write_text(PHRASE + "\n")
        house.cli("authority", "init", "joins", "--passphrase-file", str(phrase)).expect(0)
        house.cli("up", "-d", "--json", str(house.file), "--passphrase-file", str(phrase), timeout_s=45).expect(0)
        for issuer, relay in (("plant-issuer", "plant"), ("line-issuer", "line")):
            house.cli(
                "authority", "delegate", issuer, str(house.file), "--relay", relay, "--role", "sensor",
                "--segment", "plant", "--segment", "line", "--ids", f"{relay}-*", "--passphrase-file", str(phrase),
            ).expect(0)
        house.wait_whole()
        yield house


@pytest.fixture(scope="module")
def issuer(house):
    running = house.start("issuer", "run", "--as", "plant-issuer", "--json")
    running.wait_line("issuer started")
    yield running
    running.stop().expect(0)


class Machine:
    """Another machine of the same fabric: nothing on it but what came by token."""

    def __init__(self, house: House, name: str) -> None:
        self._house = house
        self.home = house.work / f"machine-{name}"

    def start(self, *args: str) -> Running:
        return self._house.start(*args, home=self.home)

    def cli(self, *args: str):
        return self.start(*args).wait()

    def ids(self) -> list[str]:
        folder = self.home / "joins" / "ids"
        return sorted(os.listdir(folder)) if folder.is_dir() else []

    def point(self, id_: str, **options) -> ControlPoint:
        return ControlPoint(load_identity(self.home / "joins" / "ids" / id_), **options)


@pytest.fixture
def machine(house, request):
    return Machine(house, request.node.name[:40])


def token(house, *options: str, issuer: str = "plant-issuer") -> str:
    args = ("token", "issue", "--role", "sensor", "--as", issuer, "--json", *options)
    return house.cli(*args).expect(0).lines[0]["token"]


def test_a_new_machine_joins_with_one_command(house, issuer, machine):
    said = house.cli("token", "issue", "--role", "sensor", "--segment", "plant", "--as", "plant-issuer").expect(0)
    assert PHRASE not in said.out + said.err
    command = said.out.split()
    assert command[:2] == ["fabric", "join"]
    joined = machine.cli(*command[1:]).expect(0)
    fingerprint = house.cli("authority", "show", "joins", "--json").expect(0).lines[0]["fingerprint"]
    assert fingerprint in joined.err, "to compare by eye"
    (id_,) = machine.ids()
    assert id_.startswith("plant-sensor-") and f"joined joins as {id_}" in joined.out
    with house.point("analyst") as analyst:
        messages = analyst.subscribe("detections.>", timeout_s=20)
        with machine.point(id_) as sensor:
            sensor.publish("detections.joined", {"n": 1})
            assert next(messages).content == {"n": 1}
            house.wait_connected("plant", id_)
    vouched = wait_for(lambda: house.state("plant").get("vouched_for"), "who vouches")
    assert vouched.get(id_) in ("plant-issuer", None)
    house.assert_logs_clean()


def test_nothing_private_leaves_the_new_machine(house, issuer, machine):
    machine.cli("join", token(house)).expect(0)
    (id_,) = machine.ids()
    secret = json.loads((machine.home / "joins" / "ids" / id_ / "secret.json").read_text())
    for path in house.home.rglob("*"):
        if path.is_file():
            held = path.read_bytes()
            for half in secret.values():
                assert bytes.fromhex(half) not in held and half.encode() not in held, path


def test_a_used_a_late_an_altered_and_a_cut_token_say_so(house, issuer, machine):
    used = token(house)
    machine.cli("join", used).expect(0)
    assert machine.cli("join", used, "--json").expect(5).error["code"] == "E219"
    late = token(house, "--ttl", "1s")
    time.sleep(1.1)  # the token's own second
    assert machine.cli("join", late, "--json").expect(5).error["code"] == "E220"
    assert machine.cli("join", used[:-4], "--json").expect(5).error["code"] == "E218"
    assert machine.cli("join", "mf1-" + used[5:], "--json").expect(5).error["code"] == "E218"
    withdrawn = token(house)
    listed = house.cli("token", "list", "--as", "plant-issuer", "--json").expect(0).lines
    newest = next(each for each in listed if each["state"] == "open")
    house.cli("token", "withdraw", newest["id"], "--as", "plant-issuer").expect(0)
    assert machine.cli("join", withdrawn, "--json").expect(5).error["code"] == "E219"
    assert len(machine.ids()) == 1


def test_two_machines_at_once_with_one_token(house, issuer):
    once = token(house)
    machines = [Machine(house, f"race-{n}") for n in range(4)]
    running = [machine.start("join", once, "--json") for machine in machines]
    codes = sorted(each.wait().code for each in running)
    assert codes == [0, 5, 5, 5]
    assert sum(len(machine.ids()) for machine in machines) == 1


def test_while_the_issuer_is_away_nothing_is_used_up_and_it_can_be_asked_again(house, machine):
    early = token(house, "--id", "line-first", "--segment", "line", issuer="line-issuer")
    refused = machine.cli("join", early, "--timeout", "5s", "--json").expect(5)
    assert refused.error["code"] == "E221" and "fabric issuer run" in refused.error["next"]
    running = house.start("issuer", "run", "--as", "line-issuer", "--json")
    running.wait_line("issuer started")
    try:
        machine.cli("join", early).expect(0)
        assert machine.ids() == ["line-first"]
    finally:
        running.stop().expect(0)


def test_below_the_issuer_a_question_climbs_to_it(house, issuer, machine):
    """The token's relay is the issuer's own; a renewal comes from wherever the member is: four levels below hq."""
    machine.cli("join", token(house, "--id", "plant-climber", "--segment", "line")).expect(0)
    folder = machine.home / "joins" / "ids" / "plant-climber"
    document = json.loads((folder / "identity.json").read_text())
    line = house.identity("line")
    address = next(dial for dial in house.identity("line-issuer").dials).address
    document["relay"] = {"id": "line", "address": address, "curve_key": line.credential.curve_key.hex()}
    (folder / "identity.json").write_text(json.dumps(document))
    before = load_identity(folder).credential
    machine.cli("credential", "renew", "plant-climber").expect(0)
    after = load_identity(folder).credential
    assert after.serial > before.serial and after.issuers == ("plant-issuer",)


def links_lost(house, id_):
    lines = [line for text in house.logs().values() for line in text.splitlines()]
    return sum(id_ in line and '"link lost"' in line for line in lines)


def test_a_member_renews_itself_under_load_without_losing_its_link(house, issuer, machine):
    machine.cli("join", token(house, "--id", "plant-short", "--life", "12s")).expect(0)
    folder = machine.home / "joins" / "ids" / "plant-short"
    first = load_identity(folder).credential
    before = links_lost(house, "plant-short")
    with house.point("analyst") as analyst:
        messages = analyst.subscribe("detections.short", timeout_s=40)
        seen: list[int] = []

        def read():
            with suppress(FabricError):  # closed at the end, as a program's would be
                for message in messages:
                    seen.append(message.content["n"])

        threading.Thread(target=read, daemon=True).start()
        with machine.point("plant-short") as sensor:
            house.wait_connected("plant", "plant-short")
            began = time.monotonic()
            sent = 0
            # Beyond the end of its first credential, and the skew that it is given.
            while time.monotonic() - began < 16 or load_identity(folder).credential.serial == first.serial:
                sensor.publish("detections.short", {"n": sent})
                sent += 1
                time.sleep(0.01)  # a load, and not all that this machine can do
                assert time.monotonic() - began < 60, "it was not renewed"
        wait_for(lambda: len(seen) >= sent, "all that was published")
    assert seen == list(range(sent))
    wait_for(lambda: links_lost(house, "plant-short") == before + 1, "its one link to end, when it left")
    assert load_identity(folder).credential.not_after_ms > first.not_after_ms


def test_who_joined_is_known_to_lint(house, issuer, machine):
    machine.cli("join", token(house, "--id", "plant-twice")).expect(0)
    clean = house.cli("topology", "lint", str(house.file)).expect(0)
    assert "plant-twice" not in clean.out
    clash = house.work / "clash.toml"
    clash.write_text(house.file.read_text().replace(
        "[points]", '[points]\nplant-twice = { relay = "plant", role = "sensor", clearance = "amber" }'
    ))
    assert "E216" in house.cli("topology", "lint", str(clash)).expect(1).out


def test_a_revoked_member_is_cut_while_it_publishes(house, issuer, machine):
    machine.cli("join", token(house, "--id", "plant-gone")).expect(0)
    with machine.point("plant-gone") as sensor:
        sensor.publish("detections.gone", {"n": 0})
        phrase = str(house.work / "passphrase")
        house.cli("revoke", "plant-gone", "--fabric", "joins", "--passphrase-file", phrase).expect(0)
        with pytest.raises(FabricError) as caught:
            for n in range(1, 2_000):
                sensor.publish("detections.gone", {"n": n})
                time.sleep(0.01)
        assert caught.value.code in (Code.REVOKED, Code.CLOSED)
    refused = machine.cli("publish", "detections.gone", "{}", "--as", "plant-gone", "--json").expect(5)
    assert refused.error["code"] == "E205"
    assert machine.cli("credential", "renew", "plant-gone", "--json").expect(5).error["code"] == "E205"


def test_without_the_passphrase_nothing_is_signed(house):
    refused = house.cli("revoke", "line", "--fabric", "joins", "--json").expect(5)
    assert refused.error["code"] == "E941" and "--passphrase-file" in refused.error["next"]
    wrong = house.work / "wrong"
    wrong.write_text("not the right one\n")
    refused = house.cli("revoke", "line", "--fabric", "joins", "--passphrase-file", str(wrong), "--json").expect(5)
    assert refused.error["code"] == "E918" and "not the right one" not in refused.err


def test_the_whole_story(house, issuer, capsys):
    """Two members of the plant's issuer: one is revoked while it publishes, the other is renewed under load."""
    machines = {name: Machine(house, f"story-{name}") for name in ("plant-good", "plant-bad")}
    for name, machine in machines.items():
        machine.cli("join", token(house, "--id", name, "--segment", "line")).expect(0)
    seen: list[int] = []
    stop = threading.Event()
    sent = 0
    with house.point("analyst") as analyst:
        messages = analyst.subscribe("detections.story.>", timeout_s=60)

        def read():
            with suppress(FabricError):
                for message in messages:
                    if message.topic.endswith("good"):
                        seen.append(message.content["n"])

        threading.Thread(target=read, daemon=True).start()
        bad = machines["plant-bad"].point("plant-bad")
        bad.connect()
        cut_ms: list[int] = []

        def publish_until_cut():
            try:
                while True:
                    bad.publish("detections.story.bad", {"n": 0})
                    time.sleep(0.005)
            except FabricError as error:
                assert error.code is Code.REVOKED
                cut_ms.append(time.time_ns() // 1_000_000)

        thread = threading.Thread(target=publish_until_cut, daemon=True)
        thread.start()
        with machines["plant-good"].point("plant-good") as good:
            before = good.identity.credential.serial
            renewed = threading.Thread(target=lambda: (good.renew(), stop.set()), daemon=True)
            phrase = str(house.work / "passphrase")
            revoking = house.start(
                "revoke", "plant-bad", "--fabric", "joins", "--wait", "20s", "--json", "--passphrase-file", phrase
            )
            while thread.is_alive() or not stop.is_set() or sent < 500:
                good.publish("detections.story.good", {"n": sent})
                sent += 1
                if sent == 50:
                    renewed.start()
                assert sent < 60_000
                time.sleep(0.002)
        said = revoking.wait().expect(0).lines
        wait_for(lambda: len(seen) >= sent, "all of the good one's")
    assert seen == list(range(sent)), "each once, in order, none lost over the renewal"
    folder = machines["plant-good"].home / "joins" / "ids" / "plant-good"
    assert load_identity(folder).credential.serial > before
    slowest = max(line["after_ms"] for line in said[1:])
    with capsys.disabled():
        issued_ms = said[0]["until_ms"] - 30 * 86_400_000
        print(f"\nrevoked: in force at all relays after {slowest} ms, the member knew after {cut_ms[0] - issued_ms} ms")
    with suppress(FabricError):
        bad.close()
