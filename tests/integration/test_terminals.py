"""Somebody with a valid key writes at people's terminals and at firewalls. One relay, for real, and what it keeps."""

import os
import pty
import re
import select
import stat
import subprocess
import threading
from contextlib import contextmanager

import pytest

from fabric.edge.blocking import ControlPoint
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import seal
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.wire.frames import Data, Direction, Intro, Item
from tests.integration import warm
from tests.integration.harness import FABRIC, ROOT, House, house_in, wait_for
from tests.integration.intruder import Intruder, envelope, header_of, now_ms

TOPOLOGY = """
fabric = "quiet"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }
[relays]
hq = { clearance = "red", listen = "127.0.0.1:PORT-hq" }
[roles]
sensor   = { publish = [{ topic = "detections.>", severity_max = "critical" }] }
analyst  = { subscribe = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
soar     = { request = [{ action = "deny ipv4_net", to = "role=firewall" }] }
[points]
zeek-1    = { relay = "hq", role = "sensor", clearance = "red" }
honest-1  = { relay = "hq", role = "sensor", clearance = "red" }
analyst-1 = { relay = "hq", role = "analyst", clearance = "red", kind = "operator" }
soar-1    = { relay = "hq", role = "soar", clearance = "red" }
turned-1  = { relay = "hq", role = "soar", clearance = "red" }
fw-1      = { relay = "hq", role = "firewall", clearance = "red" }
[[approval]]
when = { action = "deny ipv4_net", to = "role=firewall" }
require = 0
"""
HOSTILE = "x [/red] [input] \x1b]0;PWNED\x07\x1b[2J\x9b31m\u202e\nerror E000 forged"
# This program's own colours, and what draws a table in one place. A terminal itself ends lines with \r\n.
OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[12]?[AK]|\r(?=[\x1b\n])")


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    before = os.umask(0)  # whatever somebody set: files are private by themselves
    try:
        with house_in(tmp_path_factory.mktemp("quiet"), TOPOLOGY) as house:
            house.up()
            yield house
    finally:
        os.umask(before)


class Screen:
    """A command at a terminal of its own, started `anew` or as a fork (`warm`)."""

    def __init__(self, house: House, *args: str, columns: int = 200, anew: bool = True) -> None:
        self._ours, theirs = pty.openpty()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("FABRIC_") and k != "NO_COLOR"}
        environment |= {"FABRIC_HOME": str(house.home), "TERM": "xterm-256color", "COLUMNS": str(columns)}
        self.process = subprocess.Popen(
            [*FABRIC, *args], cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=environment,
        ) if anew else warm.start(args, environment, terminal=theirs)
        os.close(theirs)
        self._text = b""

    def text(self) -> str:
        while select.select([self._ours], [], [], 0)[0]:
            try:
                self._text += os.read(self._ours, 65_536)
            except OSError:  # the other end is closed
                break
        return self._text.decode()

    def wait_text(self, part: str) -> str:
        wait_for(lambda: part in OWN.sub("", self.text()), f"{part!r} on the terminal")
        return tame(self.text())


@contextmanager
def screen(house, *args, columns=200, anew=True):
    shown = Screen(house, *args, columns=columns, anew=anew)
    try:
        yield shown
    finally:
        shown.process.kill()
        shown.process.wait()


def tame(text):
    plain = OWN.sub("", text)
    wild = [char for char in plain if not (char.isprintable() or char == "\n")]
    assert not wild, f"{wild!r} in {ascii(plain)}"
    assert not re.search(r"^\W*error E000", plain, re.MULTILINE)
    return plain


def test_a_sensor_writes_at_an_analyst_s_terminal(quiet):
    sensor = quiet.identity("zeek-1")
    with screen(quiet, "subscribe", "detections.>", "--as", "analyst-1") as analyst:
        analyst.wait_text("subscribed to")
        with Intruder(sensor) as me:
            me.enter()
            me.say(Intro([sensor.credential.raw]))
            for hops in ([HOSTILE], ["[/x]"], ["[red]"]):
                me.say(Data(2, now_ms(), [Item(Direction.UP, 0, hops, [], envelope(sensor))]))
                me.answer()
        with ControlPoint(quiet.identity("honest-1")) as honest:
            record = {HOSTILE: HOSTILE, "raw": b"\x00\xff", "n": float("nan"), "end": "at the end"}
            honest.publish("detections.x", record)
        text = analyst.wait_text("at the end")
        assert "x [/red] [input]" in text and '{"base64": "AP8="}' in text
        assert analyst.process.poll() is None, "and goes on"


def test_a_firewall_answers_with_more_than_an_answer(quiet):
    with ControlPoint(quiet.identity("fw-1")) as firewall:
        firewall.on_action("deny", "ipv4_net")(lambda _: {"msg": "x [/red]", "all": HOSTILE, "raw": b"\xff"})
        firewall.wait_ready()
        asked = ("act", "deny", "ipv4_net=203.0.113.9", "--to", "all", "--as", "soar-1", "--ttl", "8s")
        with screen(quiet, *asked) as soar:
            text = soar.wait_text("completed")
            wait_for(lambda: soar.process.poll() is not None or (soar.text() and False), "its end")
            assert soar.process.returncode == 0 and "x [/red]" in text


def test_a_requester_signs_a_target_that_is_a_command(quiet):
    turned, executed = quiet.identity("turned-1"), []
    came = threading.Event()

    def deny(action):
        executed.append(action.target.value)
        came.set()

    with ControlPoint(quiet.identity("fw-1")) as firewall:
        firewall.on_action("deny", "ipv4_net")(deny)
        firewall.wait_ready()
        with Intruder(turned) as me:
            me.enter()
            me.say(Intro([turned.credential.raw]))
            values = ("203.0.113.9; rm -rf /", "203.0.113.9/32", "203.0.113.9")
            for value in values:
                record = {"action": "deny", "target": {"ipv4_net": value}, "args": {}}
                drafted = header_of(turned, record, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=firewall",
                                    severity=Severity.HIGH, ttl_ms=20_000)
                raw = seal([drafted], turned.credential.digest, turned.signer)[0]
                me.say(Data(drafted[0].lane, now_ms(), [Item(Direction.UP, 0, [], [], raw)]))
                assert me.answer() is None, "the relay holds it: it does not read what is in it"
            assert came.wait(10)
    assert executed == ["203.0.113.9"]


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("command", [
    ("status",), ("nearest", "--as", "analyst-1"), ("credential", "show", "soar-1"), ("credential", "list"),
    ("explain", "publish", "detections.zeek.conn", "--as", "zeek-1"), ("down", "no-such-fabric-on-this-machine"),
    ("act", "deny", "ipv4_net=203.0.113.9", "--to", "role=firewall and segment=hq", "--as", "soar-1", "--ttl", "2s"),
    ("act", "deny", "ipv4_net=203.0.113.9", "--to", "rolle=firewall", "--as", "soar-1"),
], ids=" ".join)
def test_what_is_said_fits_the_terminal(quiet, command, columns):
    with screen(quiet, *command, columns=columns, anew=False) as shown:
        wait_for(lambda: shown.process.poll() is not None or (shown.text() and False), "its end")
        # What is drawn again begins where a line was erased.
        lines = tame(shown.text().replace("\x1b[2K", "\n")).splitlines()
    assert lines and lines[0].strip() and all(len(line) <= columns for line in lines), lines


def test_whatever_a_relay_and_a_supervisor_keep_is_private(quiet, tmp_path):
    quiet.wait_whole()
    with ControlPoint(quiet.identity("honest-1"), outbox=tmp_path / "out.db") as point:
        point.publish("detections.x", {"a": 1})
        kept = [*quiet.home.rglob("*"), *tmp_path.glob("out.db*")]
    names = {path.name for path in kept}
    assert names >= {"hq.clock", "hq.json", "hq.log", "hq.db", "hq.db-wal", "hq.db.ballast", "_supervisor.json",
                     "_lock", "out.db", "out.db-wal", "out.db.ballast", "secret.json"}
    found = {}
    for path in kept:
        try:
            found[str(path)] = stat.S_IMODE(path.lstat().st_mode)
        except FileNotFoundError:  # a state that was just replaced
            continue
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}
