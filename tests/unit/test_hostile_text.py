"""Hostile text through every command's output: on a terminal, in a pipe, and as JSON.

Whoever wrote it (a peer, a file's name, a topology, another process) gets it shown as it is, and moves, hides, colours
and forges nothing. What a command gets from the fabric is put in its place; everything after that is the command's own.
"""

import io
import json
import os
import queue
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from fabric.edge import Action
from fabric.edge.identity.identity import Defaults
from fabric.edge.messages import Message, Outcome
from fabric.edge.receiving.notices import Ended, Notice
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.openc2 import End
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from relays import terminal
from relays.authority import Delegation, delegate, init_authority, keep_list, make_identities, revoke
from relays.cli.actions import asking
from relays.cli.app import app
from relays.cli.edge import handling, serving
from relays.cli.looking import nearest
from relays.cli.members import joining, revoking
from relays.cli.messages import notices, points, sending
from relays.cli.shared import exits, holdups, reaching
from relays.cli.tree import running
from relays.demo.book import Book, Check
from relays.demo.show import Show, targets_table
from relays.issuing import Issuer, Register, TokenTerms, register_path
from relays.last_words import CANNOT_RUN
from relays.process.drain import Draining, drain_path, write_draining
from relays.terminal import Screen
from relays.topology.loader import load
from relays.topology.problems import Problem, TopologyErrors
from tests.support import entropy

# Each does something else to a terminal, to rich, or to whoever reads lines.
DOES = {
    "title": "\x1b]0;PWNED\x07", "screen": "\x1b[2J\x1b[H", "colour": "\x1b[38;5;99m", "c1": "\x9b38;5;99m\x90q\x9c",
    "delete": "gone\x7f\x08\x08", "line": "a\r\nerror E000 forged\n", "unicode line": "a\u2028b\x85c\x0bd",
    "bidi": "\u202efdp.exe\u2066", "invisible": "ad\u200bmin\ufeff", "link": "\x1b]8;;http://evil\x1b\\here",
    "closing": "[/x] [/red]", "markup": "app[prod].log [red]x[/red] [::1]:31931 [input] [link=x]y[/link]",
    "emoji": ":smile: :warning:", "surrogate": "\udcff", "null": "\x00", "percent": "%s {0} {x}",
}
ALL = " ".join(DOES.values())
# Shown whole, as data.
AS_IT_IS = ("[/x] [/red]", "app[prod].log [red]x[/red] [::1]:31931 [input] [link=x]y[/link]", ":smile: :warning:")
# What this program itself sends to a terminal: colours, and what draws a table in one place.
OWN = re.compile(r"\x1b\[(?!38;5;99m)[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[12]?[AK]|\r(?=\x1b)")

TOPOLOGY = """
fabric = "small"
organisation = "acme"
[relays]
hq      = { clearance = "red",   listen = "127.0.0.1:7700" }
plant-1 = { clearance = "amber", listen = "[::1]:31931", parent = "hq", serves = ["::1/128"] }
[roles]
sensor = { publish = ["detections.>"] }
soar   = { request = [{ action = "deny *", to = "all" }] }
[points]
zeek-1 = { relay = "plant-1", role = "sensor", clearance = "amber" }
soar-1 = { relay = "hq", role = "soar", clearance = "red" }
laptop = { role = "sensor", clearance = "amber" }
"""


class Stream(io.TextIOWrapper):
    """A program's output, that is a terminal or is none."""

    def __init__(self, is_a_terminal):
        super().__init__(io.BytesIO(), encoding="utf-8", write_through=True)
        self._is_a_terminal = is_a_terminal

    def isatty(self):
        return self._is_a_terminal

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode()


@pytest.fixture(params=["terminal", "pipe"])
def seen(request, monkeypatch):
    """What is shown of what runs in it: checked, and returned without this program's own colours."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "4000")
    monkeypatch.setenv("LINES", "100")
    for name in ("NO_COLOR", "FORCE_COLOR", "FABRIC_AS"):
        monkeypatch.delenv(name, raising=False)

    def run(function, *args, shows=AS_IT_IS):
        on_a_terminal = request.param == "terminal"
        streams = Stream(on_a_terminal), Stream(on_a_terminal)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", streams[0])
            patched.setattr(sys, "stderr", streams[1])
            terminal.set_up()
            function(*args)
            text = "".join(stream.text() for stream in streams)
        structlog.reset_defaults()
        return tame(text, shows)

    return run


def tame(text, shows=AS_IT_IS):
    plain = OWN.sub("", text)
    assert "E000" not in plain or not re.search(r"^\W*error E000", plain, re.MULTILINE), "no line is forged"
    wild = [char for char in plain if not (char.isprintable() or char == "\n")]
    assert not wild, f"{wild!r} in {ascii(plain)[:2_000]}"
    for words in shows:
        assert words in plain, f"{words!r} was read as something else:\n{plain[:2_000]}"
    return plain


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("FABRIC_HOME", str(tmp_path / "home"))
    (tmp_path / "small.toml").write_text(TOPOLOGY)
    topology, authority = load(tmp_path / "small.toml"), init_authority("small")
    make_identities(topology, authority)
    keep_list(authority)
    return tmp_path / "home"


def fabric(*argv, code=0):
    """A command line to its end."""

    def run():
        before, sys.argv = sys.argv, ["fabric", *argv]
        try:
            with pytest.raises(SystemExit) as ended:
                exits.run(app)
        finally:
            sys.argv = before
        assert ended.value.code == code, (argv, ended.value.code)

    return run


# -- what the module itself promises --------------------------------------------------------------------------


@pytest.mark.parametrize("what", DOES)
def test_every_kind_in_every_form(seen, what):
    text = DOES[what]
    shown = (text,) if text.isprintable() else ()

    def show():
        screen = Screen()
        terminal.say(text, f"x {text}")
        terminal.say(text, error=True)
        screen.say(text, terminal.Cell(text, "bold red"))
        screen.json({text: [text]} if what != "surrogate" else [text])
        screen.title(text)
        table = terminal.Table(text, "b", title=text, folded=("b",))
        table.row(text, terminal.Cell(text, "green"))
        table.foot(text)
        screen.table(table)
        screen.frame(text, text, table)
        with screen.moving() as moving:
            moving.update(table)
        with screen.busy(text):
            pass
        with screen.progress() as begin:
            begin(text, 7).update(3)

    seen(show, shows=shown)


# -- peers ----------------------------------------------------------------------------------------------------


def message(**fields):
    said = {
        "id": "00.0", "topic": "detections.x", "kind": "event", "origin": "zeek-1", "severity": Severity.LOW,
        "phase": Phase.NONE, "label": Label.GREEN, "issued_at_ms": 0, "ttl_ms": 1, "age_ms": 0, "path": ("hq",),
        "content": {"a": 1}, "labels": {}, "withheld": {},
    }
    return Message(**{**said, **fields})


HOSTILE_MESSAGE = {
    "topic": ALL, "origin": ALL, "path": (ALL, "[/x]"), "labels": {ALL: Label.AMBER}, "withheld": {Label.RED: 2},
    "content": {ALL: [ALL, {"deep": ALL}], "b": b"\x00\xff", "n": 1e999},
}


class Point:
    """A control point to which a fabric says what it likes."""

    put_off = None
    waiting = 1

    held_up = FabricError(Code.UNREACHABLE, ALL, ALL)

    def __init__(self, *_args, **_options):
        self.identity = SimpleNamespace(id=ALL, relay=SimpleNamespace(id=ALL), defaults=Defaults(Label.AMBER, {}))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def on_notice(self, handler):
        handler(NOTICE)

    def on_end(self, handler):
        self.end = handler

    def on_refused(self, handler):
        handler("id", 1, FabricError(Code.REVOKED, ALL))

    def drain(self, _seconds):
        return False

    def position_of(self, _source):
        return None

    def publish_later(self, _topic, content, **_options):
        if content.get("fails"):
            raise FabricError(Code.BAD_INPUT, ALL)
        return SimpleNamespace(result=lambda _=None: self._refuse(), done=lambda: True)

    def _refuse(self):
        raise FabricError(Code.PUBLISH_DENIED, ALL)

    def subscribe(self, _pattern, **_options):
        return Messages([message(**HOSTILE_MESSAGE), message(kind="gap", content={}),
                         message(kind="gap", content={"lost": ALL})])

    def forget(self, _pattern):
        pass

    def wait_ready(self):
        pass

    def request(self, *_args, watch, **_options):
        request = Request("00")
        request.targets = (ALL, "fw-2", "fw-3")
        for target in (ALL, "fw-2"):
            request.outcomes[target] = OUTCOME
            watch(request)
            yield OUTCOME


class Messages(list):
    in_force = True

    def close(self):
        pass


OUTCOME = Outcome(ALL, End.COMPLETED, ALL, 200, ALL, ALL, {"msg": "x [/red]", ALL: ALL, "b": b"\xff"}, Label.GREEN, 7)
NOTICE = Notice(ALL, 0, Label.GREEN, (Ended("E501", ALL, "event", ALL, "up", 1, 1),))


@pytest.fixture
def stub(monkeypatch):
    for module in (points, sending, asking, reaching):
        monkeypatch.setattr(module, "ControlPoint", Point)


def test_subscribe(seen, stub):
    text = seen(fabric("subscribe", ALL.replace("\x00", ""), "--as", "analyst-1", "--count", "3"))
    assert "gap: some message(s)" in text and "withheld: all that is TLP:RED" in text and '{"base64": "AP8="}' in text


def test_subscribe_as_json(seen, stub):
    text = seen(fabric("subscribe", "x.>", "--as", "analyst-1", "--count", "3", "--json"), shows=())
    content = json.loads(text.splitlines()[0])["content"]
    assert content[ALL][0] == ALL and content["b"] == {"base64": "AP8="} and content["n"] is None, "it is exact"


def test_act(seen, stub, home):
    text = seen(fabric("act", "deny", f"file={ALL}".replace("\x00", ""), "--to", "all", "--as", "soar-1"))
    assert "x [/red]" in text


def test_act_as_json(seen, stub, home):
    text = seen(fabric("act", "deny", "file=x", "--to", "all", "--as", "soar-1", "--json"), shows=())
    assert json.loads(text.splitlines()[0])["result"][ALL] == ALL


def test_publish_that_is_refused(seen, stub):
    seen(fabric("publish", "d.x", '{"a": 1}', "--as", "x", code=5))
    seen(fabric("publish", "d.x", '{"a": 1}', "--as", "x", "--json", code=5), shows=())


def test_send(seen, stub, tmp_path):
    file = tmp_path / ALL.replace("/", "|").replace("\x00", "")[:80]
    file.write_text('{"a": 1}\n\x1b[2J\n{"a": 2}\n')
    text = seen(fabric("send", str(file), "--topic", "d.x", "--as", "x", code=5), shows=())
    assert "line 2: E907" in text
    seen(fabric("send", str(file), "--topic", "d.x", "--as", "x", "--json", code=5), shows=())


def test_send_shows_how_far_a_file_is_by_its_whole_name(seen, stub, tmp_path, monkeypatch):
    monkeypatch.setattr(Point, "_refuse", lambda _self: "00.0")
    monkeypatch.setattr(Point, "on_refused", lambda _self, _handler: None)
    (tmp_path / "app[prod].log").write_text('{"a": 1}\n')
    text = seen(fabric("send", str(tmp_path / "app[prod].log"), "--topic", "d.x", "--as", "x"), shows=())
    assert "1 record(s) held by " in text and ("━" not in text or "sending app[prod].log" in text)


def test_send_names_a_file_that_is_not_there(seen, tmp_path):
    seen(fabric("send", str(tmp_path / ALL.replace("\x00", "")), "--topic", "d.x", "--as", "x", code=2))


def test_what_waits_in_an_outbox(seen, stub, tmp_path, monkeypatch):
    monkeypatch.setattr(Point, "_refuse", lambda _self: "00.0")
    monkeypatch.setattr(Point, "on_refused", lambda _self, _handler: None)
    seen(fabric("publish", "d.x", '{"a": 1}', "--as", "x", "--outbox", str(tmp_path / ALL.replace("\x00", ""))))


def test_notices(seen, stub):
    seen(fabric("notices", "--as", "x", "--count", "1"))
    seen(fabric("notices", "--as", "x", "--count", "1", "--json"), shows=())
    seen(lambda: notices.tell_notice(NOTICE, Screen(error=True), False))


def test_what_is_waited_for(seen):
    def tell(as_json):
        watch = holdups.Holdups(lambda: Point.held_up, lambda: 0, lambda: (ALL, 1), Screen(error=True), as_json)
        watch.look(0.0)
        watch.look(1e9)

    text = seen(tell, False)
    assert "waiting: E901" in text and "next: " in text
    assert json.loads(seen(tell, True, shows=()))["waiting"]["detail"] == ALL


def test_notices_that_end_with_an_error(seen, stub, monkeypatch):
    ended = queue.SimpleQueue()
    ended.put(FabricError(Code.REVOKED, ALL))
    monkeypatch.setattr(notices.queue, "SimpleQueue", lambda: ended)
    seen(fabric("notices", "--as", "x", "--count", "1", code=5))


@pytest.mark.parametrize("as_json", [False, True])
def test_edge_run_says_what_it_executes(seen, as_json):
    target = SimpleNamespace(type=ALL, text=ALL, to_json=lambda: {ALL: ALL})
    action = Action("00", ALL, target, {}, ALL, Severity.LOW, Label.GREEN, 0, 0, (ALL,))
    handler = serving.Told(handling.CommandHandler(["true"], 5.0), as_json)
    seen(lambda: handler(action), shows=() if as_json else AS_IT_IS)


def test_a_refusal_of_a_peer(seen):
    """The detail of a REJECT becomes an error of a command."""
    command = exits.command(lambda **_: (_ for _ in ()).throw(FabricError(Code.REVOKED, ALL, ALL)))

    def run(as_json):
        with pytest.raises(exits.typer.Exit):
            command(as_json=as_json)

    seen(run, False)
    text = seen(run, True, shows=())
    assert json.loads(text)["error"]["detail"] == ALL


def test_joining_says_what_it_was_told(seen, monkeypatch):
    def refuse(_read, _id, _timeout, progress):
        progress(ALL)
        raise FabricError(Code.BAD_TOKEN, ALL)

    token = SimpleNamespace(relay=ALL, relay_key=b"r" * 32, fabric=ALL, authority_key=b"a" * 32)
    monkeypatch.setattr(joining, "read_token", lambda _: token)
    monkeypatch.setattr(joining, "join_fabric", refuse)
    seen(fabric("join", "mf1-x", code=5))


# -- this machine ---------------------------------------------------------------------------------------------


def hostile_state(**fields):
    return {
        "relay": "hq", "pid": 7, "at_ms": time.time_ns() // 1_000_000, "ready": True, "state": "up", "clearance": ALL,
        "parent": ALL, "parent_now": ALL, "parent_link": "up", "children": [ALL], "points": [ALL],
        "vouched_for": {ALL: ALL}, "queue": {"urgent": 1}, "counters": {f"refused:{ALL}": 1}, "why": ALL,
        "waiting": [{"for": ALL, "kind": ALL, "away": True, "messages": 1, "bytes": 1, "since_ms": 0}], **fields,
    }


def test_status_from_a_file_that_somebody_else_wrote(seen, home):
    (home / "small" / "run").mkdir()
    (home / "small" / "run" / "hq.json").write_text(json.dumps(hostile_state()))
    log = home / "small" / "run" / "plant-1.log"
    log.write_text(json.dumps({"event": CANNOT_RUN, "level": "error", "code": ALL, "detail": ALL}) + "\n")
    (home / "small" / "run" / "plant-1.json").write_text(json.dumps(hostile_state(relay="plant-1")))
    seen(fabric("status", "small", code=3))
    seen(fabric("status", "small", "--json", code=3), shows=())
    seen(running._line_printer("small", ["hq", "plant-1"], False))
    seen(running._line_printer("small", ["hq", "plant-1"], True), shows=())


def test_a_fabric_that_does_not_run(seen, home):
    seen(fabric("status", ALL.replace("\x00", ""), code=2))
    seen(fabric("down", ALL.replace("\x00", ""), code=2), shows=())


def test_drain_says_who_was_left(seen, home, monkeypatch):
    write_draining(drain_path("small", "hq"), Draining(1, True, (ALL,), 3))
    monkeypatch.setattr("relays.cli.tree.drain.write_draining", lambda *_: None)
    seen(fabric("drain", "hq", "--fabric", "small", code=3))
    seen(fabric("drain", "hq", "--fabric", "small", "--json", code=3), shows=())


def test_drain_back(seen, home):
    write_draining(drain_path("small", "hq"), Draining())
    seen(fabric("drain", "hq", "--fabric", "small", "--back"), shows=())


def test_nearest(seen):
    rows = [{
        "place": 1, "relay": ALL, "segment": ALL, "address": "[::1]:31931", "network": ALL, "round_trip_ms": 1.0,
        "clearance": ALL, "cleared_for_less": True, "left_out": None,
    }]
    seen(nearest._draw, rows, shows=(*AS_IT_IS, "[::1]:31931"))


def test_nearest_of_an_identity_of_this_machine(seen, home, monkeypatch):
    monkeypatch.setattr(nearest, "measure", lambda candidates: dict.fromkeys(candidates, 1.0))
    assert "[::1]:31931" in seen(fabric("nearest", "--as", "laptop"), shows=())
    seen(fabric("nearest", "--as", ALL.replace("\x00", ""), code=1))


def test_credentials(seen, home, monkeypatch):
    (home / "small" / "ids" / ALL.replace("/", "|").replace("\x00", "")[:60]).mkdir()
    (home / "small" / "ids" / "broken").mkdir()
    (home / "small" / "ids" / "broken" / "identity.json").write_text("{")
    assert "zeek-1" in seen(fabric("credential", "list", "small", code=3), shows=())
    seen(fabric("credential", "list", "small", "--json", code=3), shows=())
    said = {"tags": {"vendor": ALL}, "grants": [[ALL]]}
    monkeypatch.setattr("relays.cli.members.credential.description", lambda _: said)
    seen(fabric("credential", "show", "small/zeek-1"))
    seen(fabric("credential", "show", "small/zeek-1", "--json"), shows=())
    for as_json in ((), ("--json",)):
        seen(fabric("credential", "needs-renewal", ALL.replace("\x00", ""), *as_json, code=2), shows=())


def test_the_authority_and_why_somebody_was_revoked(seen, home):
    why = ALL.replace("\udcff", "").replace("\x00", "")
    revoke(init_authority("small"), ["zeek-1"], why=why)
    assert "zeek-1: " in seen(fabric("authority", "show", "small"))
    text = seen(fabric("authority", "show", "small", "--json"), shows=())
    assert json.loads(text)["revocations"]["revoked"]["zeek-1"] == why
    seen(fabric("authority", "show", ALL.replace("\x00", ""), code=2))
    seen(fabric("authority", "backup", "small", "-o", "/tmp/" + ALL.replace("\x00", ""), code=2), shows=())
    seen(lambda: revoking._tell(ALL, SimpleNamespace(version=1, issued_at_ms=0), 5, False))
    seen(lambda: revoking._tell(ALL, SimpleNamespace(version=1, issued_at_ms=0), None, True), shows=())


def test_tokens(seen, home, tmp_path):
    topology = load(tmp_path / "small.toml")
    delegate(topology, Delegation("issuer-1", "plant-1", ("sensor",), tags=(("vendor", "*"),)), init_authority("small"))
    issuer = joining.find_identity("small/issuer-1")
    with Register(register_path(issuer.folder)) as register:
        terms = TokenTerms("sensor", "plant-1", "acme", Label.GREEN)
        Issuer(issuer, register, entropy("x")).issue_token(terms, 1, 60_000, time.time_ns() // 1_000_000)
        register._db.execute("UPDATE tokens SET terms = replace(terms, '\"sensor\"', ?)", (json.dumps(ALL),))
    seen(fabric("token", "list", "--as", "small/issuer-1"))
    seen(fabric("token", "list", "--as", "small/issuer-1", "--json"), shows=())
    seen(fabric("token", "withdraw", ALL.replace("\x00", ""), "--as", "small/issuer-1", code=2))
    seen(fabric("token", "issue", "--role", ALL.replace("\x00", ""), code=2))


@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_explain(seen, home, tmp_path, as_json):
    shows = () if as_json else AS_IT_IS
    hostile = ALL.replace("\x00", "")
    seen(fabric("explain", "publish", "detections.x", "--as", "small/zeek-1", "--field-label", f"{hostile}=amber",
                *as_json, code=0), shows=())
    seen(fabric("explain", "act", "deny", f"file={AS_IT_IS[1]}", "--to", "all", "--as", "small/soar-1", *as_json,
                code=4), shows=() if as_json else AS_IT_IS[1:2])
    seen(fabric("explain", "subscribe", hostile, "--as", "small/zeek-1", *as_json, code=2), shows=())
    seen(fabric("explain", "publish", "x", "--as", hostile, *as_json, code=1), shows=shows)


def test_a_topology_file(seen, tmp_path):
    file = tmp_path / "app[prod].toml"
    file.write_text(TOPOLOGY.replace('"acme"', json.dumps("app[prod] \u202e [/x]"))
                    + '[relays."[/red] \u202e\u009b"]\nlisten = "\\u001b[2J [/x]"\nnope = 1\n')
    for as_json in ((), ("--json",)):
        text = seen(fabric("topology", "lint", str(file), *as_json, code=1), shows=("[/x]",))
    assert "[/red]" in text
    seen(fabric("up", "--dev", str(file), code=1), shows=("[/x]",))
    problems = [Problem(Code.TOPOLOGY_INVALID, ALL, ALL, ALL, line=1)]
    error = TopologyErrors(Path(ALL), problems)
    seen(lambda: pytest.raises(exits.typer.Exit, exits.fail, error, False))
    seen(lambda: pytest.raises(exits.typer.Exit, exits.fail, error, True), shows=())


def test_a_topology_s_picture(seen, tmp_path):
    (tmp_path / "small.toml").write_text(TOPOLOGY)
    for kind in ((), ("--mermaid",), ("--json",)):
        assert "[::1]:31931" in seen(fabric("topology", "graph", str(tmp_path / "small.toml"), *kind), shows=())


@pytest.mark.parametrize("argv", [
    ("topology", "lint", "/nowhere/{}"), ("{}",), ("status", "--{}"), ("up", "{}"), ("act", "deny"),
    ("publish", "x", "{{}}", "--{}=1"), ("bundle", "x", "{}", "-o", "y"),
])
def test_what_is_wrong_with_a_command_line(seen, argv):
    """A shell puts names of files there that others have chosen."""
    hostile = ALL.replace("\x00", "")
    text = seen(fabric(*[arg.format(hostile) for arg in argv], code=2), shows=())
    assert "error E908 " in text


def test_a_bundle_that_is_somewhere_else(seen, home, tmp_path):
    output = tmp_path / "app[prod] [/x]\x1b[2J"
    seen(fabric("bundle", "plant-1", str(tmp_path / "small.toml"), "-o", str(output)), shows=("app[prod] [/x]",))
    seen(fabric("bundle", "plant-1", str(tmp_path / "small.toml"), "-o", str(output), code=2), shows=("[/x]",))


def test_an_error_of_the_machine_names_its_file(seen):
    def fail(**_):
        raise FileNotFoundError(2, "No such file", os.fsdecode(os.fsencode(ALL)))

    def run():
        with pytest.raises(exits.typer.Exit):
            exits.command(fail)()

    seen(run)


# -- the demo -------------------------------------------------------------------------------------------------


def test_the_demo(seen):
    def show():
        show = Show(Screen(), 0.0)
        show.title(ALL)
        show.say(ALL)
        show.check(Check(1, ALL, ALL, ALL, False))
        show.check(Check(1, ALL, ALL, ALL, True))
        show.code(ALL)
        show.sees(ALL, message(**{**HOSTILE_MESSAGE, "labels": {}}))
        with show.waiting(ALL), show.progress(ALL, 3) as bar:
            bar.update(1)
        request = Request("00")
        request.targets, request.outcomes = (ALL, "fw-2"), {ALL: OUTCOME}
        with show.targets() as live:
            live.update(targets_table(request, {ALL: ALL}))
        Screen().table(Book({"x": Check(1, ALL, ALL, ALL)}).table())

    seen(show)


# -- the test of the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["title", "screen", "colour", "c1", "delete", "line", "bidi", "invisible", "link"])
def test_what_a_terminal_would_do_is_noticed(what):
    with pytest.raises(AssertionError):
        tame(f"x {DOES[what]}", shows=())
