"""What a node may not have is nowhere at it: not in its files, not in what it says, not in its memory, whatever happens
to a message: it passes, ends, waits, is refused, and its relay dies. Real processes, in the trees of `topologies/`.
"""

import base64
import gzip
import json
import re
import signal
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from fabric.edge.blocking import ControlPoint
from fabric.edge.requesting.request import Request
from fabric.protocol.base.errors import FabricError
from tests.integration.canaries import ENCODED, LABELS, REMNANT, Canaries, Node, Nodes, may_have, memory
from tests.integration.harness import ROOT, House, Running, house_in, wait_for

# Whose files and processes are those of no node: nobody tells them anything.
NOBODY = Node("", "", "clear", "")
# So much that its parts are compressed.
FILLER = "compressed " * 60


class Trial:
    """One tree, what is sent in it, and where it is found."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house, self.folder = house, folder
        self.nodes = Nodes(house.file)
        self.canaries = Canaries()
        self.open = ExitStack()
        self.readers: dict[str, Running] = {}
        self.said: list[tuple[Node, str]] = []  # what commands print: who has it then
        # Where something has to be found, or the search is none: in files of this node.
        self.must: list[tuple[str, str]] = []

    # -- who is there -------------------------------------------------------------------------------------

    def point(self, id_: str) -> ControlPoint:
        return self.open.enter_context(self.house.point(id_))

    def outbox(self, id_: str) -> Path:
        folder = self.folder / "outbox" / id_
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "outbox"

    def read(self, id_: str, pattern: str) -> list[Any]:
        came: list[Any] = []
        self.point(id_).on_message(pattern, came.append)
        return came

    def read_in_a_process(self, id_: str, pattern: str) -> None:
        reader = self.house.start("subscribe", pattern, "--as", id_, "--json")
        reader.wait_line('"subscribed"')
        self.readers[id_] = reader

    def read_and_leave(self, id_: str, *patterns: str) -> None:
        """A durable reader, which is away from here on: its relay holds what is for it."""
        with self.house.point(id_, self.outbox(id_)) as point:
            point.subscribe(patterns[0], durable=True, also=patterns[1:])

    def execute(self, id_: str, action: str, target_type: str, label: str, requester: str) -> None:
        """It answers with something of the label of the actions that it is to get. A result is for whom the action is:
        its requester's organisation (SPEC 8.2)."""
        result = self.canaries.new(f"result, {label} from {id_}", label, [self.nodes[requester].organisation])
        point = self.point(id_)
        point.on_action(action, target_type)(lambda _: {"note": result, "filler": FILLER})
        point.wait_ready()
        self.must.append((id_, result))

    # -- what is sent -------------------------------------------------------------------------------------

    def new(self, by: str, what: str, label: str, audience: Mapping[str, Sequence[str]] | None = None) -> str:
        said = audience or {}
        recipients = said.get("recipients", ())
        return self.canaries.new(
            f"{what}, {label} from {by} for {dict(said) or 'its own'}", label,
            [self.nodes[by].organisation, *said.get("organisations", ())], said.get("communities", ()),
            [by, *recipients] if recipients else (),
        )

    def publish(self, by: str, topic: str, audiences: Sequence[Mapping[str, Sequence[str]]], *away: str) -> None:
        """One of each label and audience, as a topic, a content, a field. `away`: who is, and wants it."""
        cleared = LABELS[: LABELS.index(self.nodes[by].clearance) + 1]
        with self.house.point(by) as point:
            futures = []
            for audience in audiences:
                # Recipients are named for what is red, and for that alone (E608, E609).
                labels = [label for label in cleared if label != "red" or "recipients" in audience]
                for label in ("red",) if "recipients" in audience else labels:
                    name, content = (self.new(by, what, label, audience) for what in ("topic", "content"))
                    options: dict[str, Any] = {"label": label, "audience": audience or None}
                    futures.append(point.publish_later(f"{topic}.{name}", {"text": content}, **options))
                    self._must(by, away, [name] if label == "red" else [name, content])
                fields = {label: self.new(by, "field", label, audience) for label in labels}
                record = {f"of-{n}": {"text": text, "filler": FILLER} for n, text in enumerate(fields.values())}
                field_labels = {f"of-{n}": label for n, label in enumerate(fields)}
                futures.append(point.publish_later(
                    f"{topic}.fields", record, label="clear", labels=field_labels, audience=audience or None
                ))
                self._must(by, away, [text for label, text in fields.items() if label != "red"])
            for future in futures:
                future.result(30)

    def _must(self, by: str, away: Sequence[str], texts: Sequence[str]) -> None:
        """Who is away finds it at its relay where everybody on the way may have it; what is red lies there sealed."""
        for reader in away:
            way = [self.nodes[relay] for relay in self.nodes.way(self.nodes[by].relay, self.nodes[reader].relay)]
            for text in texts:
                canary = self.canaries.called(text)
                if all(may_have(node, canary) for node in [*way, self.nodes[reader]]):
                    self.must.append((way[-1].id, text))

    def refuse(self, by: str, topic: str, **options: Any) -> None:
        """What it may not publish, or what its relay may not have: nobody keeps it."""
        text = self.canaries.new(f"refused of {by}", nobody=True)
        with self.house.point(by) as point, pytest.raises(FabricError) as refused:
            point.publish(topic, {"text": text}, **options)
        assert text not in str(refused.value) + repr(refused.value)

    def ask(
        self, soar: ControlPoint, action: str, target_type: str, label: str, to: str,
        approvers: Sequence[ControlPoint] = (),
    ) -> list[str]:
        """How it ended at whom. The account of it is read, and what its approvers are shown."""
        by, ids, due = soar.identity.id, [], list(approvers)
        target, argument = self.new(by, "target", label), self.new(by, "argument", label)

        def watch(request: Request) -> None:
            ids.append(request.action_id)
            while due and request.approval is not None:
                approver = due.pop()
                self.say(approver.identity.id, "approvals", "--as", approver.identity.id, "--json")
                approver.approve(request.action_id)

        value = {"device": {"hostname": target}, "domain_name": f"{target}.example", "ipv4_net": "203.0.113.9"}
        outcomes = list(soar.request(
            action, {target_type: value[target_type]}, to=to, args={"x-note": {"text": argument, "more": target}},
            label=label, watch=watch,
        ))
        self.must += [(by, argument), (by, target)]
        # What has no key is written down together with others, a moment later.
        wait_for(lambda: self.house.cli("action", ids[0], "--as", by, "--json").out, "the action in the book")
        self.say(by, "action", ids[0], "--as", by, "--json")
        return sorted(f"{outcome.target} {outcome.end} {outcome.reason}".strip() for outcome in outcomes)

    def leave_in_outbox(self, by: str, topic: str, label: str) -> None:
        """What it publishes while its relay hangs, which is then killed."""
        relay = self.nodes[by].relay
        text = self.new(by, "outbox", label)
        pid = self.house.pid(relay)
        with self.house.frozen(pid):
            with self.house.point(by, self.outbox(by)) as point:
                point.publish(f"{topic}.{text}", {"text": text}, label=label)
            self.must.append((by, text))
            killed = self.house.kill_relay(relay)
        self.house.wait_restarted(relay, killed)

    @contextmanager
    def noticed(self, id_: str) -> Iterator[None]:
        """It is told meanwhile of something that ended."""
        notices = self.house.start("notices", "--as", id_, "--count", "1", "--json")
        self.house.wait_connected(self.nodes[id_].relay, id_)
        yield
        self.said.append((self.nodes[id_], notices.wait().expect(0).out))

    # -- what is found ------------------------------------------------------------------------------------

    def say(self, id_: str, *args: str) -> None:
        """A command, whose output is for this node."""
        done = self.house.cli(*args)
        assert "Traceback" not in done.out + done.err and done.out, done
        self.said.append((self.nodes[id_], done.out + done.err))

    def look_around(self, topic: str, by: str, logs: Sequence[str]) -> None:
        """By the commands that show how a fabric is, and what was in it."""
        for relay, state in self.house.states().items():
            self.said.append((self.nodes[relay], json.dumps(state)))
        for id_ in logs:
            self.say(id_, "audit", "show", "--as", f"{self.house.fabric}/{id_}", "--json")
        self.say(logs[0], "audit", "export", "--as", f"{self.house.fabric}/{logs[0]}")
        self.say(by, "explain", "publish", topic, "--as", by, "--label", "amber")

    def _files(self) -> Iterator[tuple[Node, str, bytes]]:
        for path in sorted(self.folder.rglob("*")):
            # What is written anew has another name until it is whole, and then it is read under its own.
            with suppress(FileNotFoundError, IsADirectoryError):
                data = path.read_bytes()
                of = path.relative_to(self.folder)
                # home/FABRIC/ids/ID/..., audit/ID/..., spool/ID.db, run/ID.log, and outbox/ID/...
                name = of.parts[1] if of.parts[0] == "outbox" else of.parts[3] if len(of.parts) > 3 else ""
                node = self.nodes.by_id.get(name) or self.nodes.by_id.get(name.partition(".")[0], NOBODY)
                yield node, str(of), data

    def _processes(self) -> Iterator[tuple[Node, int]]:
        of = {self.house.pid(relay): relay for relay in self.house.relays}
        of |= {reader.process.pid: id_ for id_, reader in self.readers.items()}
        for pid in sorted(set(self.house.processes())):
            yield self.nodes[of.pop(pid)] if pid in of else NOBODY, pid
        assert not of, "a process was not looked into"

    def search(self) -> dict[tuple[str, str], set[str]]:
        """What is where, by node and place."""
        found = {(node.id, place): self.canaries.within(data) for node, place, data in self._files()}
        for n, (node, text) in enumerate(self.said):
            found[node.id, f"output {n}"] = self.canaries.within(text.encode())
        for id_, reader in self.readers.items():
            found[id_, "output"] = self.canaries.within("\n".join([*reader.out, *reader.err]).encode())
        for node, pid in self._processes():
            with self.house.frozen(pid):
                found[node.id, f"memory of {pid}"] = {
                    text for piece in memory(pid) for text in self.canaries.within(piece)
                }
        return found

    def leaks(self, found: Mapping[tuple[str, str], set[str]]) -> list[str]:
        """Each thing that is where it may not be. A remnant tells nothing; but of nobody's there is nothing at all."""

        def may_be(id_: str, text: str) -> bool:
            node = self.nodes.by_id.get(id_)
            if node is None or text == ENCODED:
                return False
            return text == REMNANT or may_have(node, self.canaries.called(text))

        return [
            f"{self.canaries.what(text)}: at {id_ or 'nobody'}, {place}"
            for (id_, place), texts in found.items() for text in sorted(texts) if not may_be(id_, text)
        ]

    def check(self, blind: str) -> None:
        """`blind`: a relay that may not have all, where a fault is planted."""
        found = self.search()
        assert not self.leaks(found)
        in_files: dict[str, set[str]] = {}
        in_memory: dict[str, set[str]] = {}
        for (id_, place), texts in found.items():
            (in_memory if place.startswith("memory") else in_files).setdefault(id_, set()).update(texts)
        missed = [
            f"{self.canaries.what(text)}: at {id_}" for id_, text in self.must if text not in in_files[id_]
        ]
        assert not missed, "the search does not find what is there"
        everywhere = set().union(*in_files.values(), *in_memory.values())
        lost = [
            each.what for each in self.canaries.all
            if not each.nobody and each.text not in everywhere and not (each.label == "red" and each.recipients)
        ]
        assert not lost, "the search does not find what is there"
        assert in_memory["hq"], "the search finds nothing in the memory of a relay that everything passed"
        secret = next(each for each in self.canaries.all if not may_have(self.nodes[blind], each) and not each.nobody)
        log = self.house.folder / "run" / f"{blind}.log"
        log.write_text(log.read_text() + secret.text + "\n")
        planted = self.leaks({(blind, "log"): self.canaries.within(log.read_bytes())})
        assert planted == [f"{secret.what}: at {blind}, log"]


def on_free_ports(name: str) -> str:
    return re.sub(
        r'listen = "127\.0\.0\.1:\d+"', lambda found: f'listen = "127.0.0.1:PORT-{found[0][-5:-1]}"',
        (ROOT / "topologies" / f"{name}.toml").read_text(),
    )


def test_the_search_sees_what_is_there_however_it_is_written() -> None:
    canaries = Canaries()
    texts = [canaries.new(str(n)) for n in range(12)]
    for text in texts:
        for data in (text.encode(), zlib.compress((text + FILLER).encode(), 1), gzip.compress(text.encode())):
            assert canaries.within(b"\0" + data + b"x\x01") == {text}
        assert canaries.within(text.encode()[4:]) == canaries.within(text.encode()[:16]) == {text}
        assert canaries.within(text.encode()[4:16]) == {REMNANT}
        for around in ("", "a", "ab"):
            written = (around + text + around).encode()
            for data in (base64.b64encode(written), written.hex().encode(), text.encode("utf-16-le")):
                assert canaries.within(data) == {ENCODED}
    assert canaries.within(" ".join(texts).encode()) == set(texts) and not canaries.within(bytes(99))


@pytest.fixture
def trial(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Trial]:
    with house_in(tmp_path, on_free_ports(request.param)) as house:
        house.up()
        house.wait_whole()
        trial = Trial(house, tmp_path)
        with trial.open:
            yield trial
            for reader in trial.readers.values():
                reader.stop(signal.SIGINT)


@pytest.mark.parametrize("trial", ["enterprise"], indirect=True)
def test_nothing_is_above_the_clearance_of_who_has_it(trial: Trial) -> None:
    for away in ("analyst-1", "analyst-p1"):
        trial.read_and_leave(away, "detections.>")
    trial.read_in_a_process("auditor-1", "detections.>")
    for reader in ("fw-dmz", "fw-p1"):
        trial.read(reader, "intel.ipv4.>")
    trial.execute("edr-office", "scan", "device", "amber", "soar-1")
    trial.execute("edr-p1", "scan", "device", "green", "soar-1")
    trial.execute("fw-office", "deny", "domain_name", "amber", "soar-1")
    leads = [trial.point(lead) for lead in ("lead-1", "lead-2")]
    soar = trial.point("soar-1")

    with trial.noticed("zeek-p1"):
        trial.publish("zeek-p1", "detections.x", [{}], "analyst-1", "analyst-p1")
        for by in ("sensor-east", "sensor-p2", "sensor-cell"):
            trial.publish(by, "detections.x", [{}], "analyst-1")
        for by in ("edr-office", "edr-cloud"):
            trial.publish(by, "detections.edr", [{}], "analyst-1")
        trial.publish("feed-1", "intel.ipv4", [{}])
    trial.refuse("zeek-p1", "detections.x", label="red")

    office, plant = "edr-office completed", "edr-p1 completed"
    ended = trial.ask(soar, "scan", "device", "amber", "id=edr-office or id=edr-p1")
    assert ended == [office, "edr-p1 refused withheld"]
    assert trial.ask(soar, "scan", "device", "green", "id=edr-p1") == [plant]
    assert trial.ask(soar, "scan", "device", "red", "id=edr-office") == ["edr-office refused withheld"]
    assert trial.ask(soar, "deny", "domain_name", "amber", "id=fw-office", leads) == ["fw-office completed"]

    trial.leave_in_outbox("zeek-p1", "detections.x", "amber")
    trial.look_around("detections.x", "zeek-p1", ["hq", "dmz", "plant-1", "edr-p1", "soar-1"])
    trial.check(blind="dmz")


@pytest.mark.parametrize("trial", ["partners"], indirect=True)
def test_nothing_is_with_an_organisation_that_it_is_not_for(trial: Trial) -> None:
    for away in ("acme", "guard", "mill", "bank"):
        trial.read_and_leave(f"analyst-{away}", "intel.>", "detections.>")
    trial.read_in_a_process("analyst-barn", "intel.>")
    trial.read("analyst-dairy", "intel.>")
    for wall in ("fw-mill", "fw-dairy"):
        trial.execute(wall, "deny", "ipv4_net", "amber", "soar-guard")
    soar = trial.point("soar-guard")

    wide = {"organisations": ["guard"], "communities": ["isac"]}
    person = {"recipients": ["hq", "analyst-acme"]}
    trial.publish(
        "feed-1", "intel.x", [{}, {"organisations": ["guard"]}, {"communities": ["isac"]}, wide, person],
        "analyst-acme", "analyst-guard", "analyst-mill", "analyst-bank",
    )
    with trial.noticed("sensor-mill"):
        trial.publish(
            "sensor-mill", "detections.x", [{}, {"organisations": ["guard"]}], "analyst-mill", "analyst-guard",
            "analyst-acme",
        )
    trial.refuse("feed-1", "intel.x", label="red", audience={"recipients": ["analyst-mill"]})
    trial.refuse("sensor-mill", "detections.x", label="amber", audience={"organisations": ["dairy"]})

    ended = trial.ask(soar, "deny", "ipv4_net", "amber", "role=firewall")
    assert ended == ["fw-dairy completed", "fw-mill completed"]
    trial.leave_in_outbox("sensor-mill", "detections.x", "amber+strict")
    trial.look_around("detections.x", "sensor-mill", ["hq", "soc", "barn", "fw-mill", "soar-guard"])
    trial.check(blind="barn")
