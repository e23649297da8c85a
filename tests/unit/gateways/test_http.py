"""The gateway on a real socket of this machine, with an intake that remembers."""

import gzip
import http.client
import json
import socket
import ssl
import subprocess
import threading
import zlib
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.http.settings import read_settings
from relays.gateways.http.source import SOURCE
from relays.gateways.kinds import Place
from relays.gateways.mapping import Unfit, read_mapping
from relays.gateways.options import Options
from tests.integration.harness import wait_for
from tests.unit.gateways.stream_support import Fed
from tests.unit.gateways.support import at_work

SECRETS = {"HTTP_A": "a" * 32, "HTTP_B": "b" * 32}
TOKENS = [
    {"name": "a", "secret": {"env": "HTTP_A"}, "topics": ["detections.>"]},
    {"name": "b", "secret": {"env": "HTTP_B"}, "topics": ["detections.b.*"], "rate": 3},
]
A = {"Authorization": f"Bearer {SECRETS['HTTP_A']}"}
B = {"Authorization": f"bearer {SECRETS['HTTP_B']}"}
JSON, LINES = {"Content-Type": "application/json"}, {"Content-Type": "application/x-ndjson"}


class Remembering:
    """An intake. `busy`: how many records it takes before it takes no more; `stuck`: none of them gets durable."""

    def __init__(self):
        grants = SimpleNamespace(
            publish=[SimpleNamespace(pattern="detections.>")], request=[SimpleNamespace(action="deny *")],
            subscribe=["detections.>"],
        )
        self.identity = SimpleNamespace(
            id="api-1", credential=SimpleNamespace(grants=grants, clearance=Label.AMBER)
        )
        self.mapping = read_mapping(Options({"topic": "detections.app", "drop": ["secret"]}))
        self.published, self.rejected, self.notes = [], [], []
        self.positions = {}
        self.busy, self.stuck, self.full = None, False, False
        self.lock = threading.Lock()
        self.fed = Fed()
        self.feed, self.read_by = self.fed.feed, self.fed.read_by

    def mapped(self, record, *, topic="", severity=None, checked=False):
        found = (self.mapping.on(topic) if topic else self.mapping).apply(record, checked=checked)
        return Unfit(FabricError(Code.UNMAPPED, "n: bad"), "n") if record.get("n") == "bad" else found

    def publish_many(self, given, mapped, wait_s):
        if self.full:
            raise FabricError(Code.SOURCE_AWAY, "no room")
        outcomes = []
        with self.lock:
            for each, whole in zip(given, mapped, strict=True):
                assert each.by and each.where.startswith(f"{each.by} ")
                if self.stuck or self.busy is not None and len(self.published) >= self.busy:
                    outcomes.append(FabricError(Code.BUSY))
                    continue
                self.published.append((whole.topic, whole.content))
                self.positions.update([each.position] if each.position else [])
                refused = FabricError(Code.BAD_INPUT, "n") if each.record.get("n") == "refused" else None
                outcomes.append(refused or f"id.{len(self.published)}")
        return outcomes

    def position_of(self, name):
        return self.positions.get(name)

    def reject(self, raw, error, where, position=None, waits=True, by=""):
        assert not waits and by and where.startswith(f"{by} ")
        if self.full or error.code is Code.UNMAPPED and raw.get("x") == "full":
            raise FabricError(Code.SOURCE_AWAY, "no room")
        self.rejected.append((raw, error.code, where))

    def waits(self, why):
        self.state = why

    def note(self, words):
        self.notes.append(words)


@contextmanager
def running(monkeypatch, tmp_path, **given):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    options = Options({"listen": "127.0.0.1:0", "tokens": TOKENS, "busy_time": "200ms", **given})
    settings = read_settings(options)
    assert not options.faults, options.faults
    source, intake = SOURCE.open(settings, Place("i", "api", tmp_path, None)), Remembering()
    with at_work(source, intake, lambda: source.address):
        yield source, intake


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch, running(
        monkeypatch, tmp_path_factory.mktemp("http"), body_max="100KB", records_max=100, connections=20
    ) as (source, intake):
        yield source, intake


def post(source, body, headers, path="/v1/events", method="POST"):
    connection = http.client.HTTPConnection(*source.address, timeout=20)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    document = json.loads(data)
    assert data.endswith(b"\n"), "a terminal's prompt comes next"
    if answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert document["status"] == answer.status and document["code"].startswith("E") and document["next"]
    return answer, document


def test_what_is_taken_is_answered_with_its_ids(gateway):
    source, intake = gateway
    before = len(intake.published)
    answer, said = post(source, b'{"n": 9007199254740993, "secret": 1}', {**A, **JSON})
    assert (answer.status, said["accepted"], len(said["ids"])) == (202, 1, 1)
    assert intake.published[-1] == ("detections.app", {"n": 9007199254740993})
    answer, said = post(source, b'\xef\xbb\xbf[{"n": 1}, {"n": 2}]', {**A, **JSON}, "/v1/events?topic=detections.b.x")
    assert (answer.status, said["accepted"]) == (202, 2) and intake.published[-1] == ("detections.b.x", {"n": 2})
    lines = gzip.compress(b'{"n": 3}\r\n\r\n') + gzip.compress(b'{"n": 4}')
    answer, said = post(source, lines, {**A, **LINES, "Content-Encoding": "gzip"})
    assert (answer.status, said["accepted"]) == (202, 2)
    answer, said = post(source, zlib.compress(b"[]"), {**A, **JSON, "Content-Encoding": "deflate"})
    assert (answer.status, said) == (202, {"accepted": 0, "ids": []})
    assert len(intake.published) == before + 5 and not intake.rejected
    assert post(source, None, {}, "/v1/health", "GET")[0].status == 200


def test_cloudevents_in_each_mode_are_the_same_record(gateway):
    source, intake = gateway
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "datacontenttype": "application/json",
             "data": {"sev": "high"}}
    structured = {**A, "Content-Type": "application/cloudevents+json; charset=utf-8"}
    binary = {**A, **JSON, "ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
    batch = {**A, "Content-Type": "application/cloudevents-batch+json"}
    for body, headers in (
        (json.dumps(event), structured), (json.dumps(event["data"]), binary), (json.dumps([event]), batch),
    ):
        assert post(source, body, headers)[0].status == 202
        assert intake.published[-1][1] == event
    post(source, b"\x00\xff", {**binary, "Content-Type": "image/x", "ce-subject": "%C3%A4"})
    assert intake.published[-1][1]["data_base64"] == "AP8=" and intake.published[-1][1]["subject"] == "ä"
    for wrong in ({"id": ""}, {"specversion": "0.3"}, {"A": "x"}, {"ext": {}}, {"data_base64": ""}, {"type": None}):
        answer, said = post(source, json.dumps({**event, **wrong}), structured)
        assert (answer.status, said["code"]) == (400, Code.BAD_INPUT.label), wrong
    assert post(source, json.dumps([event]), structured)[0].status == 400
    assert post(source, json.dumps(event), batch)[0].status == 400
    assert post(source, "{}", {**A, **JSON, "ce-id": "1"})[0].status == 400


@pytest.mark.parametrize(("body", "said"), [
    (b'{"n": NaN}', "a number"), (b'{"n": -Infinity}', "a number"), (b'{"n": 1' + b"0" * 5_000 + b"}", "a number"),
    (b'{"n": 18446744073709551616}', "integer beyond 64 bits"), (b'{"n": 1e999}', "no finite number"),
    (b'{"n": "\\ud800"}', "lone surrogate"), (b'{"n": 1, "n": 2}', "twice"), (b'{"a": {"n": 1, "n": 2}}', "twice"),
    (b'{"n": 1', "not JSON"), (b"", "not JSON"), (b"[" * 5_000, "not JSON"), (b'{"n": "\xff"}', "not UTF-8"),
    ('{"n": 1}'.encode("utf-16"), "not UTF-8"), (b"7", "no JSON object"), (b'{"a":' * 200 + b"1" + b"}" * 200, "deep"),
    (b'{"n": "bad"}', "n: bad"),
])
def test_a_body_that_is_no_record_is_refused_with_why(gateway, body, said):
    source, intake = gateway
    before = len(intake.published)
    answer, document = post(source, body, {**A, **JSON})
    assert answer.status == 400 and said in document["detail"] and len(intake.published) == before


def test_of_many_the_good_ones_are_taken_and_the_others_named_and_kept(gateway):
    source, intake = gateway
    intake.rejected.clear()
    lines = b'{"n": 1}\nno\n{"n": 2, "n": 2}\n{"n": "\xff"}\n7\n{"n": "bad"}\n{"n": 3}'
    answer, said = post(source, lines, {**A, **LINES})
    assert (answer.status, said["accepted"], said["rejected_count"]) == (207, 2, 5)
    assert [bool(id_) for id_ in said["ids"]] == [True, False, False, False, False, False, True]
    assert [each["record"] for each in said["rejected"]] == [2, 3, 4, 5, 6]
    assert [raw for raw, _, _ in intake.rejected] == [b"no", b'{"n": 2, "n": 2}', b'{"n": "\xff"}', b"7", {"n": "bad"}]
    assert intake.rejected[0][2] == "a 127.0.0.1 record 2"
    answer, said = post(source, b'[{"n": 1}, 7, {"n": 1e999}]', {**A, **JSON})
    assert answer.status == 207 and [each["record"] for each in said["rejected"]] == [2, 3]
    answer, said = post(source, b"no\nno", {**A, **LINES})
    assert (answer.status, said["accepted"], said["rejected_count"]) == (400, 0, 2)


def test_who_may_what(gateway):
    source, intake = gateway
    before = len(intake.published)
    for given in ("", "Bearer ", "Bearer x", A["Authorization"][:-1], "Basic " + SECRETS["HTTP_A"], "Bearer \xff"):
        answer, said = post(source, b"{}", {"Authorization": given, **JSON})
        assert (answer.status, said["code"], answer.headers["www-authenticate"]) == (401, "E769", "Bearer")
    assert any("E769" in note for note in intake.notes) and not any(SECRETS["HTTP_A"] in note for note in intake.notes)
    assert post(source, b"{}", {**B, **JSON})[1]["code"] == "E770"
    for topic, status in (
        ("detections.b.x.y", 403), ("detections.b.*", 400), ("detections.b..x", 400), ("../detections.b.x", 400),
        ("detections.b.x%00", 400), ("detections.b.x/../../y", 400), ("", 400), ("intel.x", 403), ("%2e%2e", 400),
        ("detections.b.x&topic=detections.b.y", 400), ("detections.b.x&topics=1", 400),
    ):
        assert post(source, b"{}", {**B, **JSON}, f"/v1/events?topic={topic}")[0].status == status, topic
    assert len(intake.published) == before
    assert post(source, b"[{},{},{},{},{},{}]", {**B, **JSON}, "/v1/events?topic=detections.b.x")[0].status == 202
    answer, said = post(source, b"{}", {**B, **JSON}, "/v1/events?topic=detections.b.x")
    assert (answer.status, said["code"]) == (429, "E771") and 1 <= int(answer.headers["retry-after"]) <= 2
    assert post(source, b"{}", {**A, **JSON})[0].status == 202


@pytest.mark.parametrize(("headers", "body", "status"), [
    ({}, b"{}", 415), ({"Content-Type": "application/x-www-form-urlencoded"}, b"{}", 415),
    ({"Content-Type": "application/json; charset=latin-1"}, b"{}", 415),
    ({**JSON, "Content-Encoding": "br"}, b"{}", 400), ({**JSON, "Content-Encoding": "gzip"}, b"{}", 400),
    ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b"{}", mtime=0)[:-4], 400),
    ({**JSON, "Content-Encoding": "gzip"}, gzip.compress(b"[" + b"0," * 10_000_000, mtime=0), 413),
    (JSON, b"[" + b"0," * 60_000, 413), (JSON, b"[" + b"0," * 100 + b"0]", 413), (LINES, b"{}\n" * 101, 413),
])
def test_what_cannot_be_read_or_is_too_much(gateway, headers, body, status):
    source, intake = gateway
    before = len(intake.published)
    assert post(source, body, {**A, **headers})[0].status == status and len(intake.published) == before


def test_no_other_path_and_no_other_method(gateway):
    source, _ = gateway
    assert post(source, None, A, "/", "GET")[0].status == 404
    assert post(source, None, A, "/v1/../v1/events", "POST")[0].status == 404
    answer, _ = post(source, None, A, "/v1/events", "GET")
    assert answer.status == 405 and answer.headers["allow"] == "POST"


def test_where_no_more_is_taken_it_says_what_was(monkeypatch, tmp_path):
    with running(monkeypatch, tmp_path) as (source, intake):
        intake.busy = 0
        answer, said = post(source, b"{}", {**A, **JSON})
        assert (answer.status, said["code"], said["accepted"], answer.headers["retry-after"]) == (503, "E775", 0, "2")
        intake.busy = 2
        answer, said = post(source, b"[{},{},{}]", {**A, **JSON})
        assert (answer.status, said["accepted"], said["ids"]) == (503, 2, ["id.1", "id.2", None])
        intake.busy, intake.stuck = None, True
        answer, said = post(source, b"[{},{}]", {**A, **JSON})
        assert (answer.status, said["accepted"]) == (503, 0)


def test_what_is_refused_is_named_and_where_dead_letters_have_no_room_it_says_what_was_taken(monkeypatch, tmp_path):
    with running(monkeypatch, tmp_path) as (source, intake):
        answer, said = post(source, b'[{}, {"n": "refused"}, {"n": "bad"}]', {**A, **JSON})
        assert (answer.status, said["ids"]) == (207, ["id.1", None, None])
        assert sorted(each["record"] for each in said["rejected"]) == [2, 3] and len(intake.rejected) == 1
        key = {**A, **JSON, "Idempotency-Key": "k"}
        answer, said = post(source, b'[{}, {"n": "bad", "x": "full"}, {"n": "refused"}]', key)
        assert (answer.status, said["code"], said["detail"]) == (503, "E775", "no room")
        assert (said["ids"], [each["record"] for each in said["rejected"]]) == (["id.3", None, None], [3])
        intake.full = True
        answer, said = post(source, b"{}", {**A, **JSON})
        assert (answer.status, said["accepted"]) == (503, 0) and len(intake.published) == 4


def test_who_is_slow_or_has_too_many_connections_is_let_go(monkeypatch, tmp_path):
    from relays.gateways.http import connections

    monkeypatch.setattr(connections, "_HEADERS_S", 0.3)
    with running(monkeypatch, tmp_path, connections=2, body_time="1s") as (source, _):
        head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\n"
        slow = socket.create_connection(source.address, 5)
        slow.sendall(head)
        body = socket.create_connection(source.address, 5)
        body.sendall(head + b"Content-Type: application/json\r\nContent-Length: 9\r\nAuthorization: "
                     + A["Authorization"].encode() + b"\r\n\r\n{")
        third = socket.create_connection(source.address, 5)
        third.settimeout(5)
        assert third.recv(1) == b""
        slow.settimeout(5)
        assert slow.recv(10) == b""
        body.settimeout(5)
        assert body.recv(4_096).startswith(b"HTTP/1.1 408")
        for each in (slow, body, third):
            each.close()
        wait_for(lambda: post(source, b"{}", {**A, **JSON})[0].status == 202, "another connection")


def test_the_same_key_again_is_the_same_answer_also_in_another_run(monkeypatch, tmp_path):
    one, other = {**A, **LINES, "Idempotency-Key": "k-1"}, {**A, **JSON, "Idempotency-Key": "k-2"}
    with running(monkeypatch, tmp_path) as (source, intake):
        first = post(source, b'{"n": 1}\nno\n{"n": 2}', one)
        assert first[0].status == 207 and len(intake.published) == 2 and len(intake.rejected) == 1
        assert post(source, b'{"n": 1}\nno\n{"n": 2}', one)[1] == first[1]
        answer, said = post(source, b'{"n": 3}', one)
        assert (answer.status, said["code"]) == (422, "E774")
        assert post(source, b'{"n": 3}', {**one, "Idempotency-Key": "k" * 256})[0].status == 422
        assert post(source, b"{", other)[0].status == 400
        intake.busy = 4
        answer, said = post(source, b"[{},{},{}]", other)
        assert (answer.status, said["accepted"]) == (503, 2) and len(intake.published) == 4
    with running(monkeypatch, tmp_path) as (source, intake):
        assert post(source, b'{"n": 1}\nno\n{"n": 2}', one)[1] == first[1]
        answer, said = post(source, b"[{},{},{}]", other)
        assert (answer.status, said["ids"], len(intake.published)) == (202, ["id.3", "id.4", "id.1"], 1)


def test_what_the_outbox_has_of_a_request_that_was_killed_is_not_given_again(monkeypatch, tmp_path):
    key = {**A, **JSON, "Idempotency-Key": "k"}
    with running(monkeypatch, tmp_path) as (source, intake):
        post(source, b"[{},{},{}]", key)
        (slot, position), = intake.positions.items()
    (log,) = tmp_path.rglob("keys.log")
    log.write_bytes(b"half a li")  # of a process that was killed when it had two
    monkeypatch.setattr(Remembering, "position_of", lambda self, name: position[:-1] + "2" if name == slot else None)
    with running(monkeypatch, tmp_path) as (source, intake):
        answer, said = post(source, b"[{},{},{}]", key)
        assert (answer.status, said["ids"], len(intake.published)) == (202, ["unknown", "unknown", "id.1"], 1)


def faults_of(**given):
    options = Options({"listen": "127.0.0.1:0", "tokens": TOKENS, **given})
    SOURCE.read(options)
    return [(fault.key, fault.code) for fault in options.faults], str(options.faults)


@pytest.mark.parametrize(("given", "key"), [
    ({"listen": "0.0.0.0:80"}, "listen"), ({"listen": "localhost:80"}, "listen"),
    ({"listen": "127.0.0.1:99999"}, "listen"),
    ({"listen": "127.0.0.999:1"}, "listen"), ({"certificate": "/x"}, "key"), ({"key": "/x"}, "certificate"),
    ({"tokens": []}, "tokens"), ({"tokens": [{}]}, "tokens.1.name"),
    ({"tokens": [*TOKENS, TOKENS[0]]}, "tokens.3.name"),
    ({"tokens": [{**TOKENS[0], "topics": ["a..b"]}]}, "tokens.1.topics"),
    ({"tokens": [{**TOKENS[0], "tpics": ["a"]}]}, "tokens.1.tpics"), ({"body_max": "9GB"}, "body_max"),
])
def test_every_fault_has_its_key(given, key):
    assert key in [found for found, _ in faults_of(**given)[0]]


def test_a_secret_that_is_written_there_is_not_said_again():
    found, words = faults_of(tokens=[{**TOKENS[0], "secret": "hunter2hunter2hunter2"}])
    assert found == [("tokens.1.secret", Code.SECRET_INLINE)] and "hunter2" not in words


@pytest.mark.parametrize(("change", "code"), [
    ({"topics": ["intel.>"]}, Code.HTTP_TOKEN), ({"secret": {"env": "HTTP_SHORT"}}, Code.HTTP_TOKEN),
    ({"secret": {"env": "HTTP_B"}}, Code.HTTP_TOKEN), ({"secret": {"file": "/nowhere"}}, Code.NO_SECRET),
])
def test_a_token_that_cannot_be_used_ends_the_source(monkeypatch, tmp_path, change, code):
    monkeypatch.setenv("HTTP_A", SECRETS["HTTP_A"])
    monkeypatch.setenv("HTTP_B", SECRETS["HTTP_B"])
    monkeypatch.setenv("HTTP_SHORT", "short")
    options = Options({"listen": "127.0.0.1:0", "tokens": [TOKENS[1], {**TOKENS[0], **change}]})
    source = SOURCE.open(SOURCE.read(options), Place("i", "api", tmp_path, None))
    with pytest.raises(FabricError) as raised:
        source.run(Remembering(), threading.Event())
    assert raised.value.code is code and "short" not in raised.value.detail.replace("shorter", "")


def certificate_in(folder):
    """Of 127.0.0.1, and its key."""
    certificate, key = folder / "c.pem", folder / "k.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key,
         "-out", certificate, "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )
    return certificate, key


def test_over_tls(monkeypatch, tmp_path):
    certificate, key = certificate_in(tmp_path)
    with running(monkeypatch, tmp_path, certificate=str(certificate), key=str(key)) as (source, _):
        connection = http.client.HTTPSConnection(
            *source.address, timeout=20, context=ssl.create_default_context(cafile=str(certificate))
        )
        connection.request("POST", "/v1/events", b"{}", {**A, **JSON})
        assert connection.getresponse().status == 202
        connection.close()
    key.write_text("no key")
    monkeypatch.setattr("relays.gateways.http.serving._LOOK_S", 0.01)
    options = Options({"listen": "127.0.0.1:0", "tokens": TOKENS, "certificate": str(certificate), "key": str(key)})
    with pytest.raises(FabricError) as raised:
        SOURCE.open(SOURCE.read(options), Place("i", "api", tmp_path, None)).run(Remembering(), threading.Event())
    assert raised.value.code is Code.HTTP_LISTEN
