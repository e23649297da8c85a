"""Messages as syslog: each field readable again by who reads RFC 5424, and sent again where it may not have come."""

import json
import os
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.field_labels import label_fields
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.gateways.addresses import Address
from relays.gateways.handing import trying
from relays.gateways.handing.trying import NotNowError
from relays.gateways.options import Options, checked
from relays.gateways.syslog.framing import Frames
from relays.gateways.syslog.priority import SEVERITIES, number_of
from relays.gateways.syslog.reading import How, read_message
from relays.gateways.syslog.sending.channel import Channel
from relays.gateways.syslog.sending.sink import SINK, SyslogSink
from relays.gateways.syslog.sending.writing import text_of
from relays.gateways.webhook.bodies import item_of
from relays.gateways.webhook.settings import CLOUDEVENTS
from relays.terminal import json_text
from tests.integration.harness import wait_for
from tests.unit.gateways.support import Outtake, message
from tests.unit.gateways.test_syslog_source import certificates  # noqa: F401 - a fixture

HOW = How(datetime(2026, 11, 29, tzinfo=UTC))


def read(**more):
    options = Options({"to": "tcp://127.0.0.1:6514", **more})
    known = [option.name for option in SINK.options]
    settings = checked(SINK.read, options, [*known, "max_label"])
    return settings, {fault.key: fault for fault in options.faults}


def written(one, **more):
    """As the reader of RFC 5424 of the fabric's own source has it."""
    settings, faults = read(**more)
    assert not faults
    raw = text_of(one, settings)
    assert len(raw) <= settings.message_max and b"\n" not in raw and b"\0" not in raw
    record = read_message(raw, HOW)
    assert record["format"] == "rfc5424" and "flags" not in record, record
    return record


# -- one message ------------------------------------------------------------------------------------------------


def test_a_message_is_its_json_with_what_a_receiver_routes_by():
    one = replace(message(1), withheld={Label.RED: 1}, severity=Severity.HIGH)
    record = written(one)
    assert (record["facility"], record["severity"], record["host"], record["app"], record["msg_id"]) == (
        "local0", "high", "s", "message-fabric", "event"
    )
    assert record["time"].startswith("1970-01-01T00:00:00.001")
    assert record["structured_data"] == {"fabric@32473": {
        "id": one.id, "topic": "detections.x", "kind": "event", "severity": "high", "phase": "none",
        "label": "TLP:GREEN", "tlp": "TLP:AMBER", "withheld": "TLP:RED",
    }}
    assert json.loads(record["message"]) == one.to_json()


def test_its_fields_are_structured_data_where_that_is_declared():
    one = replace(message(1), content={"a": {"b": 'x"]\\\n', "c": [1, {"d": 2}]}, "no name": 1, "t": True, "z": None},
                  labels={"a.b": Label.AMBER, "a.c": Label.GREEN, "no name": Label.RED, "t": Label.GREEN})
    data = written(one, format="fields", enterprise=1)["structured_data"]
    assert data["content@1"] == {"a.b": 'x"]\\\\u000a', "a.c": '[1, {"d": 2}]', "t": "true", "z": "null"}
    assert data["labels@1"] == {"a.b": "TLP:AMBER"} and data["fabric@1"]["tlp"] == "TLP:RED"
    rest = json.loads(written(one, format="fields")["message"])
    assert rest == {"content": {"no name": 1}, "labels": {"no name": "red"}}


def test_each_field_above_the_message_is_marked_whatever_its_name_is():
    long = "name_of_a_field_that_is_longer_than_32"
    content = {"hosts": [{"my ip": "10.1.0.7"}, {"port": 22}], "src": "10.1.0.8", "rule": "scan", long: "x",
               "a b": {"c": 1}}
    one = replace(message(1), content=content, labels={
        "hosts.my ip": Label.AMBER, "hosts.port": Label.GREEN, "src": Label.AMBER_STRICT, "rule": Label.GREEN,
        long: Label.RED, "a b.c": Label.AMBER,
    })
    record = written(one, format="fields")
    data = record["structured_data"]
    assert data["fabric@32473"]["label"] == "TLP:GREEN" and data["fabric@32473"]["tlp"] == "TLP:RED"
    assert data["labels@32473"] == {"hosts": "TLP:AMBER", "src": "TLP:AMBER+STRICT"}
    assert json.loads(record["message"]) == {
        "content": {long: "x", "a b.c": 1}, "labels": {long: "red", "a b.c": "amber"},
    }


def test_whom_a_message_is_for_goes_with_it():
    """What a label allows depends on that: amber is for the organisations that are named, and their clients."""
    one = replace(message(1), audience=Audience(("acme", "guard"), ("isac",)))
    said = {"organisations": ["acme", "guard"], "communities": ["isac"]}
    assert json.loads(written(one)["message"])["audience"] == said
    stamp = written(one, format="fields")["structured_data"]["fabric@32473"]
    assert {name: stamp.get(name) for name in ("organisations", "communities", "recipients")} == {
        "organisations": "acme, guard", "communities": "isac", "recipients": None,
    }


def test_a_field_keeps_its_marking_where_another_of_its_name_was_cut():
    labels = {"id.orig_h": Label.AMBER, "rule": Label.GREEN}
    for content in ({"id": {"orig_h": "x" * 4_000}, "id.orig_h": "10.1.0.7", "rule": "scan"},
                    {"id": {"orig_h": "10.1.0.7"}, "id.orig_h": "x" * 4_000, "rule": "scan"}):
        record = written(replace(message(1), content=content, labels=labels), message_max="4KB")
        said = json.loads(record["message"])
        assert said["labels"] == {"id.orig_h": "amber", "rule": "green"} and said["highest_label"] == "amber"
        assert record["structured_data"]["fabric@32473"]["tlp"] == "TLP:AMBER"


def test_two_fields_of_one_name_are_both_there():
    one = replace(message(1), content={"a.b": 1, "a": {"b": 2}, "x y": 3, "a.b (again)": 4})
    record = written(one, format="fields")
    assert record["structured_data"]["content@32473"] == {"a.b": "1"}
    assert json.loads(record["message"])["content"] == {"a.b (again)": 2, "x y": 3, "a.b (again) (again)": 4}


def test_two_fields_of_one_name_are_both_marked():
    one = replace(message(1), content={"a.b": 1, "a": {"b": 2}}, labels={"a.b": Label.AMBER})
    record = written(one, format="fields")
    assert record["structured_data"]["labels@32473"] == {"a.b": "TLP:AMBER"}
    assert json.loads(record["message"])["labels"] == {"a.b (again)": "amber"}


@pytest.mark.parametrize("at_ms", [253_402_300_800_000, 2**53, 2**63 - 1])
def test_a_time_that_no_calendar_has_ends_no_sink(at_ms):
    one = replace(message(1), issued_at_ms=at_ms)
    assert " - s message-fabric " in text_of(one, read()[0]).decode()
    assert json.loads(written(one)["message"])["issued_at"] == at_ms
    event = json.loads(item_of(one, CLOUDEVENTS, "f").text)
    assert "time" not in event and event["data"]["issued_at"] == at_ms


def test_a_receiver_that_talks_without_end_holds_up_nothing():
    said = []

    class Talker(socket.socket):
        def recv(self, size):
            said.append(size)
            assert len(said) < 1_000
            return b"x" * size

    with socket.create_server(("127.0.0.1", 0)) as server:
        channel = Channel(Address("tcp", *server.getsockname()), lambda: None, 5.0)
        channel.open()
        plain, channel._socket = channel._socket, Talker(fileno=os.dup(channel._socket.fileno()))
        channel.look()
        channel.send([b"hello"])
        channel.close()
        plain.close()
        assert said and server.accept()[0].recv(100) == b"5 hello"


def test_severities_are_read_again_as_they_were():
    assert [SEVERITIES[number_of(severity)] for severity in Severity if severity] == list(Severity)[1:]
    assert number_of(Severity.UNKNOWN) == number_of(Severity.INFORMATIONAL)


def test_of_what_is_too_long_the_largest_fields_are_left_out_and_named():
    one = replace(message(1), content={"small": 1, "large": "x" * 3_000, "larger": {"deep": "y" * 4_000}},
                  labels={"small": Label.GREEN, "large": Label.AMBER, "larger.deep": Label.RED})
    record = written(one, message_max="4KB")
    said = json.loads(record["message"])
    assert said["content"].keys() == {"small", "large"} and record["structured_data"]["fabric@32473"]["cut"] == "larger"
    assert record["structured_data"]["fabric@32473"]["tlp"] == "TLP:AMBER", "of what is in it"
    assert "larger.deep" not in said["labels"]
    assert written(one, message_max="1KB")["structured_data"]["fabric@32473"]["cut"] == "larger, large"
    with pytest.raises(FabricError) as raised:
        text_of(replace(one, origin="o" * 2_000), read(message_max="1KB")[0])
    assert raised.value.code is Code.TOO_LARGE


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6,
)


@given(content=st.dictionaries(st.text(max_size=40) | st.integers(0, 9), VALUES, max_size=5),
       label=st.sampled_from(list(Label)), form=st.sampled_from(["json", "fields"]))
def test_whatever_is_in_a_message_is_one_message_of_syslog(content, label, form):
    labels = {}
    label_fields(content, label, labels)
    one = replace(message(1), content=content, labels=labels)
    record = written(one, format=form, message_max="8KB")
    stamp = record["structured_data"]["fabric@32473"]
    assert stamp["id"] == one.id and stamp["tlp"] == max(Label.GREEN, label if labels else Label.GREEN).spelling
    if form == "json" and "cut" not in stamp:
        assert json.loads(record["message"]) == json.loads(json_text(one.to_json()))
    for mark in ("content@32473", "labels@32473"):
        assert form == "fields" or mark not in record["structured_data"]


# -- over the network -------------------------------------------------------------------------------------------


class Receiver:
    """Of TCP, one connection after another: what came in each, as messages. `after`: it closes when it has so many."""

    def __init__(self, after=(), context=None, reads=True):
        self.came, self._after, self._context, self._reads, self.ended = [], list(after), context, reads, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @contextmanager
    def open(self):
        self._thread.start()
        try:
            yield self
        finally:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._thread.join(20)

    def _serve(self):
        while True:
            try:
                made, _ = self._listener.accept()
            except OSError:
                return
            with suppress(OSError):
                if self._context is not None:
                    made = self._context.wrap_socket(made, server_side=True)
                with made:
                    self._one(made)
            self.ended += 1

    def _one(self, made):
        frames, mine = Frames(), []
        self.came.append(mine)
        most = self._after.pop(0) if self._after else None
        made.settimeout(20)
        while self._reads and (most is None or len(mine) < most):
            data = made.recv(65_536)
            if not data:
                return
            mine += [read_message(frame.raw, HOW) for frame in frames.feed(data)]
        while not self._reads and not self.came[0]:
            threading.Event().wait(0.01)

    @property
    def numbers(self):
        return [[json.loads(each["message"])["content"]["n"] for each in mine] for mine in self.came]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(trying, "FIRST_S", 0.001)


def run(settings, groups, *, stop_when=lambda _why: False):
    stop = threading.Event()

    class Told(Outtake):
        def waits(self, why):
            super().waits(why)
            if stop_when(why):
                stop.set()

    outtake = Told(*groups)
    with suppress(FabricError):
        SyslogSink(settings).run(outtake, stop)
    return outtake


def test_messages_are_counted_in_one_connection_and_there_when_they_are_acknowledged():
    with Receiver().open() as receiver:
        outtake = run(read(to=f"tcp://127.0.0.1:{receiver.port}")[0], [[1, 2], [3]])
        assert outtake.acknowledged == [1, 2, 3] and outtake.waited == []
    assert receiver.numbers == [[1, 2, 3]]


def test_after_a_connection_that_was_closed_the_group_before_is_sent_again():
    """Its receiver may have had it in its memory only."""
    with Receiver(after=[2]).open() as receiver:
        class Slow(Outtake):
            def groups(self, records_max):
                for group in super().groups(records_max):
                    yield group
                    wait_for(lambda: receiver.ended, "the first connection is closed")

        outtake = Slow([1, 2], [3], [4])
        SyslogSink(read(to=f"tcp://127.0.0.1:{receiver.port}")[0]).run(outtake, threading.Event())
    assert receiver.numbers == [[1, 2], [1, 2, 3, 4]] and outtake.acknowledged == [1, 2, 3, 4]
    assert "connection was closed" in outtake.waited[0] and outtake.waited[-1] is None


def test_a_receiver_that_is_away_or_takes_nothing_is_waited_for():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    outtake = run(read(to=f"tcp://127.0.0.1:{port}")[0], [[1]], stop_when=bool)
    assert "refused" in outtake.waited[0] and outtake.acknowledged == []
    outtake = run(read(to="tcp://nowhere.invalid:6514", max_label="red")[0], [[1]], stop_when=bool)
    assert "name is not known" in outtake.waited[0]
    large = [message(n, {"n": "x" * 900_000}) for n in range(12)]
    with Receiver(reads=False).open() as receiver:
        settings = read(to=f"tcp://127.0.0.1:{receiver.port}", message_max="1MB", timeout="300ms")[0]
        outtake = run(settings, [large], stop_when=bool)
        receiver.came[0].append("enough")
    assert "in time" in outtake.waited[0] and outtake.acknowledged == []


def test_a_datagram_has_one_message_and_nobody_there_is_noticed_as_far_as_that_can_be():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        to = f"udp://127.0.0.1:{receiver.getsockname()[1]}"
        large = message(3, {"n": 3, "text": "x" * 5_000})
        assert run(read(to=to)[0], [[1, 2], [large]]).acknowledged == [1, 2, large]
        came = [read_message(receiver.recv(65_536), HOW) for _ in range(3)]
        assert [json.loads(each["message"])["content"]["n"] for each in came] == [1, 2, 3]
        assert came[2]["structured_data"]["fabric@32473"]["cut"] == "text"
    outtake = run(read(to=to)[0], [[1], [2]], stop_when=bool)
    assert "refused" in outtake.waited[0] and outtake.acknowledged == [1], "the first one's loss nobody is told"


@pytest.mark.parametrize("is_tls", [True, False])
def test_a_receiver_that_takes_a_little_now_and_then_is_not_waited_for(request, is_tls):
    """Each of its reads is within the time; for all of them it has no more than that."""
    folder = request.getfixturevalue("certificates")
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(folder / "host.pem", folder / "host.key")
    client_side, over = ssl.create_default_context(cafile=folder / "ca.pem"), threading.Event()

    def dribble(server):
        peer, _ = server.accept()
        with peer, suppress(OSError), (server_side.wrap_socket(peer, server_side=True) if is_tls else peer) as reader:
            while not over.wait(0.05):
                reader.recv(5_000)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        thread = threading.Thread(target=dribble, args=(server,), daemon=True)
        thread.start()
        to = Address("tls" if is_tls else "tcp", *server.getsockname())
        channel = Channel(to, lambda: client_side, 0.5)
        channel.open()
        channel._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        began_s = time.monotonic()
        with pytest.raises(NotNowError) as raised:
            channel.send([b"x" * 60_000] * 200)
        assert time.monotonic() - began_s < 10 and "in time" in raised.value.detail and not channel.is_open
        over.set()
        thread.join(20)


@pytest.mark.parametrize(("trusted", "shows"), [(True, True), (True, False), (False, True)])
def test_tls_is_verified_on_both_sides(request, trusted, shows):
    folder = request.getfixturevalue("certificates")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "host.pem", folder / "host.key")
    context.load_verify_locations(folder / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    files = {"ca": str(folder / "ca.pem")} if trusted else {}
    files |= {"certificate": str(folder / "sender.pem"), "key": str(folder / "sender.key")} if shows else {}
    with Receiver(context=context).open() as receiver:
        to = f"tls://127.0.0.1:{receiver.port}"
        outtake = run(read(to=to, **files)[0], [[1], [2]], stop_when=bool)
    if trusted and shows:
        assert receiver.numbers == [[1, 2]] and outtake.acknowledged == [1, 2]
    else:
        assert outtake.acknowledged == [] and not any(receiver.numbers), "though TLS 1.3 lets us speak before it looks"
        assert trusted or "certificate is not accepted" in outtake.waited[0]


def test_who_lets_in_and_turns_away_at_once_gets_nothing_that_counts():
    """As a proxy does whose receiver is away."""
    with Receiver(after=[0, 0]).open() as receiver:
        outtake = run(read(to=f"tcp://127.0.0.1:{receiver.port}")[0], [[1]])
    assert receiver.numbers == [[], [], [1]] and outtake.acknowledged == [1]


# -- what is declared -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "key"), [
    ({"to": "siem"}, "to"), ({"to": "tcp://siem.example:0", "max_label": "red"}, "to"), ({"to": "udp://[::1"}, "to"),
    ({"to": "tcp://siem.example:601"}, "to"), ({"to": "tcp://siem.example:99999", "max_label": "red"}, "to"),
    ({"facility": "local9"}, "facility"), ({"format": "cef"}, "format"), ({"message_max": "400B"}, "message_max"),
    ({"to": "udp://127.0.0.1:514", "message_max": "1MB"}, "message_max"), ({"ca": "/x"}, "ca"),
    ({"to": "tls://siem.example:6514", "key": "/x"}, "certificate"), ({"enterprise": -1}, "enterprise"),
])
def test_faults_of_a_declaration(more, key):
    assert read(**more)[1].keys() == {key}


def test_what_crosses_a_network_in_the_clear_has_to_be_said():
    assert "in the clear" in read(to="udp://siem.example:514")[1]["to"].cause
    assert not read(to="udp://siem.example:514", max_label="green")[1]
    assert not read(to="tls://siem.example:6514")[1] and not read(to="udp://[::1]:514")[1]
