"""I have a relay, and I changed its program. Its keys are the real ones, and so is every other process here.

The relay is where actions turn, on their way to another relay, and where one of their executors is connected. Whatever
it makes of an action with its own hands, nobody executes it, and whoever it was handed says by name what was wrong.
"""

import json
import queue
import threading
from collections import Counter
from contextlib import ExitStack, suppress

import pytest

from fabric.audit.segments import segments
from fabric.protocol.audit import kinds
from fabric.protocol.audit.chain import decode_entry
from fabric.protocol.audit.records import read_records
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import seal
from fabric.protocol.vocabulary.severity import Severity
from tests.integration import turned
from tests.integration.harness import house_in, wait_for
from tests.integration.intruder import header_of, now_ms

TOPOLOGY = """
fabric = "turned"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq   = { segment = "hq",   clearance = "red", listen = "127.0.0.1:PORT-hq" }
mid  = { segment = "mid",  clearance = "red", listen = "127.0.0.1:PORT-mid",  parent = "hq" }
leaf = { segment = "leaf", clearance = "red", listen = "127.0.0.1:PORT-leaf", parent = "mid" }

[roles]
wall  = { execute = ["deny domain_name", "contain domain_name"] }
other = { execute = ["deny domain_name", "contain domain_name"] }
lead  = { approve = [{ class = "contain", to = "all" }] }
soar  = { request = [{ action = "deny *", to = "role=wall" }, { action = "contain *", to = "role=wall" }] }

[roles.soar-mid]
request = [
    { action = "deny *", to = "role=wall", scope = "mid" }, { action = "contain *", to = "role=wall", scope = "mid" },
]

[points]
fw-m    = { relay = "mid",  role = "wall",     clearance = "red" }
fw-l    = { relay = "leaf", role = "wall",     clearance = "red" }
other-m = { relay = "mid",  role = "other",    clearance = "red" }
other-l = { relay = "leaf", role = "other",    clearance = "red" }
soar-hq = { relay = "hq",   role = "soar",     clearance = "red" }
soar-l  = { relay = "leaf", role = "soar-mid", clearance = "red" }
lead-1  = { relay = "leaf", role = "lead",     clearance = "red", principal = "anna" }
lead-2  = { relay = "leaf", role = "lead",     clearance = "red", principal = "ben" }
lead-3  = { relay = "leaf", role = "lead",     clearance = "red", principal = "anna" }

[[approval]]
when = { action = "deny domain_name", to = "all" }
require = 0

[[approval]]
when = { action = "contain domain_name", to = "all" }
from = ["lead"]
within = "2m"
require = 1
"""
# Several run at a time, for one file: each line is one write.
HANDLER = '#!/bin/sh\nprintf "%s\\n" "$(cat)" >> "{}"\n'
ON = ("--on", "deny domain_name", "--on", "contain domain_name")


class Stage:
    """The tree, who is in it, and the journal of the relay that was turned."""

    def __init__(self, house, folder, stack):
        self.house = house
        self.journal, self.kept, self._ran = folder / "journal", folder / "kept", folder / "ran"
        self._script = folder / "handler"
        self._script.write_text(HANDLER.format(self._ran))
        self._script.chmod(0o755)
        self._stack = stack
        self._points = {}

    def begin(self):
        house, file = self.house, self.house.file
        beginning = house.start("up", "-d", "--dev", "--json", "--only", "hq", "--only", "leaf", str(file))
        wait_for(lambda: house.state("hq").get("ready"), "hq")
        self.keep_one_of_an_hour_ago()
        house.start(
            str(house.folder / "ids" / "mid"), str(self.journal), str(self.kept), program=turned.PROGRAM
        )
        beginning.wait().expect(0)
        first = house.state("hq")["policies"]
        assert first
        file.write_text(file.read_text().replace("require = 1", "require = 2"))
        house.cli("authority", "policies", str(file)).expect(0)
        self.walls = {id_: self.wall(id_) for id_ in ("fw-m", "fw-l")}
        for id_ in ("other-m", "other-l"):
            for verb in ("deny", "contain"):
                self.point(id_).on_action(verb, "domain_name")(self._executed)
        for id_ in ("other-m", "other-l"):
            self.point(id_).wait_ready()
        for wall in self.walls.values():
            wall.wait_line('"ready"')
        wait_for(lambda: house.state("hq").get("routes", 0) >= 4, "who executes")
        wait_for(lambda: all(house.state(one)["policies"] > first for one in house.relays), "the newer policies")

    def wall(self, id_):
        return self.house.start("edge", "run", "--as", id_, *ON, "--exec", str(self._script), "--json")

    def point(self, id_):
        if id_ not in self._points:
            self._points[id_] = self._stack.enter_context(self.house.point(id_))
        return self._points[id_]

    def _executed(self, action):
        with self._ran.open("a") as ran:
            ran.write(json.dumps(action.to_json()) + "\n")

    def keep_one_of_an_hour_ago(self):
        """What the relay has kept for an hour: signed then, by who may."""
        soar = self.house.identity("soar-hq")
        record = {"action": "deny", "target": {"domain_name": "late.example"}, "args": {}}
        header, parts = header_of(
            soar, record, kind=Kind.ACTION, topic="deny.domain_name", to="role=wall", severity=Severity.HIGH,
            ttl_ms=30_000, issued_at_ms=now_ms() - 30_000 - SKEW_MS - 1_000,
        )
        self.kept.write_bytes(seal([(header, parts)], soar.credential.digest, soar.signer)[0])

    # -- what people do ---------------------------------------------------------------------------------

    def ask(self, deed, by="soar-hq", verb="deny", to="role=wall"):
        """In a thread of its own; the request, which learns how it goes on. What nobody answers is unknown soon."""
        asked = queue.Queue()

        def asking():
            with suppress(FabricError):  # closed at the end, while it is held
                list(self.point(by).request(
                    verb, f"domain_name={deed}.example", to=to, severity="high", watch=asked.put, wait_ms=1_000
                ))

        self.point(by)
        threading.Thread(target=asking, daemon=True).start()
        return asked.get(timeout=20)

    def decide(self, deed, *leads, denies=()):
        for lead in leads:
            point = self.point(lead)
            request = next(each for each in point.approvals(timeout_s=20) if f"{deed}.example" in each.text)
            if lead in denies:
                point.deny(request, why="not here")
            else:
                point.approve(request)

    # -- what came of it --------------------------------------------------------------------------------

    def notes(self, deed=None):
        lines = self.journal.read_text().splitlines() if self.journal.exists() else ()
        return [note for note in map(json.loads, lines) if deed in (None, note["deed"])]

    def told(self, deed, *expected):
        """What those said whom it handed something, each once: who, and the number of the error; None: taken. Nobody
        executed it."""

        def answers():
            found = [(note["by"], note["code"]) for note in self.notes(deed) if "code" in note]
            return found if len(found) >= len(expected) else None

        found = wait_for(answers, f"{len(expected)} answers to {deed}")
        assert Counter(found) == Counter((who, code.label if code else "") for who, code in expected)
        assert self.ran(deed) == 0

    def ran(self, deed):
        """How often it was executed, at whichever executor."""
        lines = self._ran.read_text().splitlines() if self._ran.exists() else ()
        return sum(json.loads(line)["target"] == {"domain_name": f"{deed}.example"} for line in lines if line)

    def audited(self, who):
        """Entries of its log, as they are on the disk."""
        folder = self.house.folder / ("audit" if who in self.house.relays else "ids") / who
        folder = folder if who in self.house.relays else folder / "audit"
        return [decode_entry(each.entry) for found in segments(folder) for each in read_records(found.read())]

    def refusals(self, who):
        """By code, as its log has them: some written, the others counted."""
        found = Counter()
        for entry in self.audited(who):
            if entry.kind == kinds.MESSAGE_REFUSED:
                found[entry.fields["code"]] += 1
            elif entry.kind == kinds.LOG_REPEATED and entry.fields["of"] == kinds.MESSAGE_REFUSED:
                found[entry.fields["code"]] += entry.fields["times"]
        return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("turned")
    with house_in(folder, TOPOLOGY) as house, ExitStack() as stack:
        stage = Stage(house, folder, stack)
        stage.begin()
        # Two that it lets pass, of which it keeps what it can use. To rewrite its log takes a while: it begins now.
        stage.ask("honest", by="soar-l", verb="contain")
        stage.decide("honest", "lead-1", "lead-2")
        stage.ask("replay", to="id=fw-m")
        stage.ask("log", to="id=fw-m")
        wait_for(lambda: (stage.ran("honest"), stage.ran("replay")) == (2, 1), "what is whole is executed")
        yield stage


# -- "Actions turn at my relay" -------------------------------------------------------------------------------------

NO, YES = "lead-2", ("lead-1", "lead-2")
HELD = {
    "unapproved": ((), (), Code.APPROVAL_DUE),
    "own": ((), (), Code.APPROVE_DENIED),
    "forged": ((), (), Code.BAD_SIGNATURE),
    "swapped": ((), (), Code.BAD_APPROVAL),
    "one": (("lead-1",), (), Code.APPROVAL_DUE),
    "twice": (("lead-1",), (), Code.SAME_PRINCIPAL),
    "principal": (("lead-1", "lead-3"), (), Code.SAME_PRINCIPAL),
    "denied": (YES, (NO,), Code.ACTION_DENIED),
    "yes-of-no": (YES, (NO,), Code.BAD_DIGEST),
}


@pytest.mark.parametrize("deed", HELD)
def test_i_hand_on_what_waits_for_two_approvals(stage, deed):
    """With none, my own, some in others' names, those of another action, one, one twice, two of one person, with a
    denial counted as well, and with one that I wrote anew."""
    leads, denies, code = HELD[deed]
    stage.ask(deed, by="soar-l", verb="contain")
    stage.decide(deed, *leads, denies=denies)
    stage.told(deed, ("fw-m", code), ("leaf", code))


def test_i_add_targets_to_what_was_approved(stage):
    stage.ask("wider", by="soar-l", verb="contain")
    stage.decide("wider", *YES)
    other = Code.OTHER_TARGETS
    stage.told("wider", ("fw-m", other), ("leaf", other), ("other-m", Code.EXECUTE_DENIED))


def test_i_say_downwards_that_it_was_done(stage):
    """The next relay does not pass it on, and its requester hears of no end."""
    asked = stage.ask("claimed", by="soar-l", to="id=fw-m")
    wrong = Code.NOT_A_TARGET
    stage.told("claimed", ("leaf", wrong), ("leaf", wrong), ("leaf", Code.BAD_SIGNATURE))
    assert not asked.outcomes


# -- "Actions come by my relay, and one of their executors is connected to it" ----------------------------------------


@pytest.mark.parametrize("deed", ["strip", "older"])
def test_i_take_away_its_approvals(stage, deed):
    """As it is, and together with the policies of the day before, which wanted fewer."""
    stage.ask(deed, verb="contain")
    stage.decide(deed, *YES)
    stage.told(deed, ("fw-m", Code.APPROVAL_DUE), ("leaf", Code.APPROVAL_DUE))


EDITED = {
    "arguments": [("fw-m", Code.BAD_DIGEST), ("leaf", Code.BAD_DIGEST)],
    "selector": [(who, Code.BAD_SIGNATURE) for who in ("fw-m", "leaf", "other-m")],
    "late": [("fw-m", Code.EXPIRED), ("leaf", Code.EXPIRED)],
    "mine": [(who, code) for who in ("fw-m", "leaf") for code in (Code.REQUEST_DENIED, Code.BAD_SIGNATURE)],
}


@pytest.mark.parametrize("deed", EDITED)
def test_i_hand_on_another_action_than_came(stage, deed):
    """One with other arguments, for everybody, of an hour ago and as if it were new, and some that I made up."""
    stage.ask(deed)
    stage.told(deed, *EDITED[deed])


def test_i_hand_it_to_others_than_it_is_for(stage):
    stage.ask("elsewhere", to="id=fw-m")
    stage.told("elsewhere", ("other-m", Code.EXECUTE_DENIED), ("leaf", None))

    def said():
        ended = [entry for entry in stage.audited("leaf") if entry.kind == kinds.ACTION_ENDED]
        return {name for entry in ended for name in entry.fields["targets"]} >= {"fw-l", "other-l"}

    wait_for(said, "the relay there hands it to none of its own, and says so")
    assert stage.ran("elsewhere") == 0


def test_i_say_upwards_how_it_ended(stage):
    """That it was done, that it is at work, in my name and its target's; of one that it is not for; and all of it."""
    asked, wrong = stage.ask("ended", to="id=fw-m"), ("hq", Code.NOT_A_TARGET)
    stage.told("ended", *[wrong] * 5, ("hq", Code.BAD_SIGNATURE))
    assert not asked.outcomes


def test_i_withhold_it_and_hand_it_on_when_it_was_cancelled(stage):
    asked = stage.ask("withheld", to="id=fw-m")
    (note,) = wait_for(lambda: stage.notes("withheld"), "it is withheld")
    (cancelled,) = stage.point("soar-hq").cancel(note["leaf"], wait_ms=5_000)
    assert cancelled.result == {"was": "not at work"}
    wait_for(lambda: asked.outcomes.get("fw-m"), "how it ended")
    stage.told("withheld", ("fw-m", None))
    assert (str(asked.outcomes["fw-m"].end), asked.outcomes["fw-m"].code) == ("refused", Code.CANCELLED.label)


def test_i_send_again_what_was_executed(stage):
    """To who executed it, which begins anew, and to all others."""
    stage.walls["fw-m"].stop().expect(0)
    stage.walls["fw-m"] = again = stage.wall("fw-m")
    again.wait_line('"ready"')
    denied, taken = Code.EXECUTE_DENIED, None
    stage.told("again", *[("fw-m", taken), ("leaf", taken), ("other-m", denied)] * 2)
    assert (stage.ran("honest"), stage.ran("replay")) == (2, 1)
    repeated = [entry for entry in stage.audited("fw-m") if entry.kind == kinds.ACTION_REPEATED]
    assert [(each.fields["who"], each.fields["link"]) for each in repeated] == [("soar-l", "mid"), ("soar-hq", "mid")]


def test_i_rewrite_my_log(stage):
    rewritten = wait_for(lambda: stage.house.state("hq").get("rewritten"), "the relay above says so")
    assert [*rewritten] == ["mid"]
    refused = [entry for entry in stage.audited("hq") if entry.kind == kinds.HEAD_REFUSED]
    assert {(entry.fields["who"], entry.fields["code"]) for entry in refused} == {("mid", Code.FORKED_LOG.label)}


def test_all_of_it_was_noticed(stage):
    """Last. In the logs of those whom I handed it are as many refusals as they told me of, and each names my relay."""
    stage.walls["fw-m"].stop().expect(0)
    told = {who: Counter() for who in ("fw-m", "leaf", "hq")}
    for note in stage.notes():
        if note.get("code") and note["by"] in told:
            told[note["by"]][note["code"]] += 1
    counters = {who: stage.house.fresh_state(who)["counters"] for who in ("leaf", "hq")}
    for who, counted in counters.items():
        for label, times in told[who].items():
            reason = next(code.reason for code in Code if code.label == label)
            assert counted[f"refused:{reason}"] >= times, (who, label)
    assert counters["leaf"][f"refused:{Code.STALE_POLICIES.reason}"] == 1
    for who in told:
        refused = [entry for entry in stage.audited(who) if entry.kind == kinds.MESSAGE_REFUSED]
        assert {entry.fields["link"] for entry in refused} == {"mid"}
    found = stage.refusals("fw-m")
    assert found.total() == told["fw-m"].total() and found.keys() <= told["fw-m"].keys() | {""}
