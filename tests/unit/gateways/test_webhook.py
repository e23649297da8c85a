"""What is posted is posted until it is taken: in order, signed, and under ids by which a receiver knows it again."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.handing import trying
from relays.gateways.options import Options, checked
from relays.gateways.secret import Secret
from relays.gateways.webhook import sink as module
from relays.gateways.webhook.signing import key_of, signature_headers
from relays.gateways.webhook.sink import SINK, WebhookSink
from relays.handlers.posting import Endpoint
from tests.unit.gateways.support import Outtake as Groups
from tests.unit.gateways.support import message
from tests.unit.test_posting import answer, certificate, says, server  # noqa: F401 - a fixture

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Identity:
    fabric = "posts"


class Outtake(Groups):
    identity = Identity()


def read(**more):
    options = Options({"url": "https://soc.example/hook", **more})
    settings = checked(SINK.read, options, [option.name for option in SINK.options])
    return settings, {fault.key: fault for fault in options.faults}


class Receiver:
    """What came, as HTTP servers get it. `says`: the answer to each, (status, headers) by what came."""

    def __init__(self, says=lambda _bodies: (204, {})):
        self.came, self.says = [], says
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.came.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                status, headers = receiver.says(receiver.bodies)
                self.send_response(status)
                for name, value in {"content-length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?key=s3cret"

    def serve_with(self, context):
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")

    @property
    def bodies(self):
        return [json.loads(body) for _, _, body in self.came]

    @contextmanager
    def open(self):
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join(20)
            self._server.server_close()


def request_of(connection):
    """A request, to its end."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += connection.recv(65_536)
    head, _, body = came.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
    while len(body) < length:
        body += connection.recv(65_536)
    return body


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(trying, "FIRST_S", 0.001)


def run(receiver, groups, stop=None, **more):
    settings, faults = read(**{"url": receiver.url, **more})
    assert not faults
    outtake = Outtake(*groups)
    with receiver.open():
        WebhookSink(settings, lambda: 1_614_265_330_999, 0.0).run(outtake, stop or threading.Event())
    return outtake


def numbers(bodies):
    return [[each["content"]["n"] for each in body] if isinstance(body, list) else body["content"]["n"]
            for body in bodies]


# -- what is posted ---------------------------------------------------------------------------------------------


def test_each_message_is_posted_on_its_own_under_its_id():
    receiver = Receiver()
    outtake = run(receiver, [[1, 2], [3]])
    assert outtake.acknowledged == [1, 2, 3] and numbers(receiver.bodies) == [1, 2, 3] and outtake.waited == []
    path, headers, body = receiver.came[0]
    assert path == "/hook?key=s3cret" and json.loads(body) == message(1).to_json()
    assert headers["webhook-id"] == message(1).id and headers["content-type"] == "application/json"
    assert headers["webhook-timestamp"] == "1614265330" and "webhook-signature" not in headers


def test_many_are_an_array_whose_id_is_that_of_no_other_messages():
    receiver = Receiver()
    run(receiver, [[1, 2, 3], [1, 2], [4], [1, 2, 3]], batch=10)
    assert numbers(receiver.bodies) == [[1, 2, 3], [1, 2], [4], [1, 2, 3]]
    ids = [headers["webhook-id"] for _, headers, _ in receiver.came]
    assert ids[0] == ids[3] and len(set(ids)) == 3


def test_a_cloud_event_has_the_whole_message_and_what_a_receiver_routes_by():
    receiver = Receiver()
    run(receiver, [[1]], format="cloudevents")
    (event,) = receiver.bodies
    assert receiver.came[0][1]["content-type"] == "application/cloudevents+json"
    assert event.pop("data") == message(1).to_json()
    assert event == {
        "specversion": "1.0", "id": message(1).id, "source": "urn:message-fabric:posts:s", "type": "detections.x",
        "time": "1970-01-01T00:00:00.001Z", "datacontenttype": "application/json", "kind": "event", "severity": "low",
        "tlp": "amber",
    }
    assert all(name.isascii() and name.isalnum() and name.islower() and len(name) <= 20 for name in event), "CE 3.1"
    run(again := Receiver(), [[1, 2]], format="cloudevents", batch=2)
    assert again.came[0][1]["content-type"] == "application/cloudevents-batch+json" and len(again.bodies[0]) == 2


def test_a_body_is_signed_as_standard_webhooks_has_it(monkeypatch):
    """The reference implementations' own vector, then a change of secrets."""
    key = key_of(Secret("env", "HOOK"), {"HOOK": SECRET})
    headers = signature_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    other = base64.b64encode(b"n" * 32).decode()
    monkeypatch.setenv("HOOK", SECRET)
    monkeypatch.setenv("NEW", other)
    receiver = Receiver()
    run(receiver, [[1]], secret={"env": "NEW"}, previous_secret={"env": "HOOK"})
    _, headers, body = receiver.came[0]
    signed = f"{message(1).id}.1614265330.".encode() + body
    assert headers["webhook-signature"].split() == [
        "v1," + base64.b64encode(hmac.new(each, signed, hashlib.sha256).digest()).decode() for each in (b"n" * 32, key)
    ]


@pytest.mark.parametrize("text", ["hunter2", "whsec_", "whsec_" + "A" * 20, "whsec_!!!", "A" * 200])
def test_what_is_no_secret_is_said_without_saying_it(text):
    with pytest.raises(FabricError) as raised:
        key_of(Secret("env", "HOOK"), {"HOOK": text})
    assert raised.value.code is Code.NO_SECRET and text not in f"{raised.value}{raised.value.next_step}".replace(
        "whsec_ and", "").replace("echo whsec_$", "")


def test_secrets_and_a_url_that_is_one_are_read_where_they_are(tmp_path):
    receiver = Receiver()
    (tmp_path / "url").write_text(f"{receiver.url}\n")
    (tmp_path / "token").write_text("t0ken\n")
    run(receiver, [[1]], url={"file": str(tmp_path / "url")}, token={"file": str(tmp_path / "token")})
    assert receiver.came[0][1]["authorization"] == "Bearer t0ken"
    (tmp_path / "url").write_text("https://user:s3cret@soc.example/")
    with pytest.raises(FabricError) as raised:
        run(Receiver(), [[1]], url={"file": str(tmp_path / "url")})
    assert raised.value.code is Code.NO_SECRET and "s3cret" not in str(raised.value)


# -- until it is taken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [101, 408, 425, 429, 500, 502, 503, 599, 301, 307, 401, 403, 404, 405, 410])
def test_what_is_not_taken_now_is_posted_again_and_nothing_before_it(status):
    """Also where a secret or the url is wrong: no message is to blame for that."""
    receiver = Receiver(lambda bodies: (204 if len(bodies) > 3 else status, {"location": "http://127.0.0.1:1/"}))
    outtake = run(receiver, [[1, 2]])
    assert numbers(receiver.bodies) == [1, 1, 1, 1, 2] and outtake.rejected == [] and outtake.acknowledged == [1, 2]
    first, *_, last = outtake.waited
    assert f"answered {status}" in first and "s3cret" not in first and last is None
    assert len({headers["webhook-id"] for _, headers, _ in receiver.came[:4]}) == 1


def test_it_waits_as_long_as_the_receiver_asks_for_and_the_pauses_grow():
    paused = []

    class Stop(threading.Event):
        def wait(self, timeout=None):
            paused.append(timeout)

    retry_after = iter(["7", "99999999", "x"])
    receiver = Receiver(lambda bodies: (204, {}) if len(bodies) > 3 else (503, {"retry-after": next(retry_after)}))
    run(receiver, [[1]], stop=Stop())
    assert paused[:2] == [7.0, 3_600.0] and paused[2] < 0.1


def test_one_that_is_refused_is_alone_in_the_dead_letters():
    def says(bodies):
        return (422 if 3 in numbers(bodies)[-1] else 200), {}

    receiver = Receiver(says)
    outtake = run(receiver, [list(range(1, 9))], batch=8)
    assert outtake.rejected == [(message(3).id, Code.SINK_REFUSED)]
    taken = [n for body in numbers(receiver.bodies) if 3 not in body for n in body]
    assert taken == [1, 2, 4, 5, 6, 7, 8] and outtake.acknowledged == list(range(1, 9))


def test_a_body_that_is_too_large_is_halved_and_the_next_ones_are_no_larger():
    receiver = Receiver(lambda bodies: (413 if len(bodies[-1]) > 3 else 200, {}))
    outtake = run(receiver, [list(range(8)), list(range(8, 16))], batch=8)
    assert [len(body) for body in receiver.bodies] == [8, 4, 2, 2, 4, 2, 2, 2, 2, 2, 2]
    assert outtake.rejected == []
    alone = run(Receiver(lambda _bodies: (413, {})), [[1]])
    assert [code for _, code in alone.rejected] == [Code.TOO_LARGE]


def test_what_no_body_may_hold_is_not_posted():
    receiver = Receiver()
    outtake = run(receiver, [[1, message(2, {"n": "x" * 2_000})], [3]], body_max="1KB", batch=2)
    assert numbers(receiver.bodies) == [[1], [3]] and [code for _, code in outtake.rejected] == [Code.TOO_LARGE]


def test_where_all_is_refused_it_waits_and_what_is_taken_then_is_no_dead_letter():
    many = module.REFUSED_MAX
    receiver = Receiver(lambda bodies: (400 if len(bodies) <= many + 1 else 200, {}))
    outtake = run(receiver, [list(range(many + 3))])
    assert len(outtake.rejected) == many, "the next one was tried again after a pause, and taken"
    assert "one message after another" in outtake.waited[0] and outtake.waited[-1] is None
    assert numbers(receiver.bodies)[-3:] == [many, many + 1, many + 2]
    worse = run(Receiver(lambda _bodies: (400, {})), [list(range(many + 3))])
    assert len(worse.rejected) == many + 3, "it goes on all the same, a pause for each"


@pytest.mark.parametrize(("talk", "words"), [
    (lambda _connection, _came: threading.Event().wait(0.5), "no answer in time"),
    (says(b""), "closed"), (says(b"nonsense\r\n\r\n"), "HTTP"),
    (says(*[b"H", b"T", b"T", b"P", b"/", b"1", b".", b"1", b" ", b"2"], pause_s=0.06), "in time"),
    (says(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000_000 + b"\r\n\r\n"), "HTTP"),
    (says(*[b"HTTP/1.1 103 x\r\n\r\n"] * 200), "HTTP"),
])
def test_a_receiver_that_does_not_answer_as_http_does_is_waited_for(talk, words, monkeypatch):
    monkeypatch.setattr(trying, "FIRST_S", 60.0)
    stop = threading.Event()

    class Told(Outtake):
        def waits(self, why):
            super().waits(why)
            stop.set()

    outtake = Told([1])
    with server(talk, read=request_of) as endpoint, pytest.raises(FabricError) as raised:
        settings = read(url=f"http://127.0.0.1:{endpoint.port}/", timeout="300ms")[0]
        WebhookSink(settings).run(outtake, stop)
    assert raised.value.code is Code.SINK_AWAY and words in raised.value.detail and outtake.acknowledged == []


@pytest.mark.parametrize("talk", [
    says(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx"),  # and it is gone
    says(answer(b"200 OK", b"x" * 3_000_000)),
    says(b"HTTP/1.1 202 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    says(b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"204 OK")),
])
def test_what_follows_the_status_of_an_answer_does_not_matter(talk):
    outtake = Outtake([1], [2])
    with server(talk, read=request_of) as endpoint:
        settings = read(url=f"http://127.0.0.1:{endpoint.port}/")[0]
        WebhookSink(settings).run(outtake, threading.Event())
    assert outtake.acknowledged == [1, 2] and outtake.waited == []


def test_an_answer_that_comes_before_the_body_went_counts():
    """As many answer 413: what is sent after that is not read any more."""
    with server(says(answer(b"413 x")), read=lambda connection: connection.recv(100)) as endpoint:
        settings = read(url=f"http://127.0.0.1:{endpoint.port}/", body_max="16MB")[0]
        outtake = Outtake([message(1, {"n": "x" * 8_000_000})])
        WebhookSink(settings).run(outtake, threading.Event())
    assert [code for _, code in outtake.rejected] == [Code.TOO_LARGE]


@pytest.mark.parametrize("trusted", [True, False])
def test_the_certificate_of_a_receiver_is_verified(request, trusted):
    folder = request.getfixturevalue("certificate")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    receiver, stop = Receiver(), threading.Event()
    receiver.serve_with(context)

    class Told(Outtake):
        def waits(self, why):
            super().waits(why)
            stop.set()

    outtake = Told([1])
    settings = read(url=receiver.url, **({"ca": str(folder / "cert")} if trusted else {}))[0]
    with receiver.open(), suppress(FabricError):
        WebhookSink(settings).run(outtake, stop)
    assert outtake.acknowledged == ([1] if trusted else [])
    assert trusted or "certificate is not accepted" in outtake.waited[0]


# -- what is declared -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("key", "value", "words"), [
    ("url", "http://soc.example/", "this machine only"), ("url", "https://u:p@soc.example/", "token"),
    ("url", {"file": "relative"}, "depends"), ("format", "xml", "not known"), ("batch", 0, "no such number"),
    ("batch", 1001, "no such number"), ("secret", SECRET, "stands here itself"), ("token", "hunter2", "stands here"),
    ("timeout", "1h", "cannot be used"), ("certificate", "/x.pem", "'key' is missing"), ("ca", "x.pem", "depends"),
])
def test_faults_of_a_declaration(key, value, words):
    faults = read(**{key: value})[1]
    assert any(words in fault.cause for fault in faults.values()), faults
    assert SECRET not in str(faults) and "hunter2" not in str(faults)


def test_a_second_secret_alone_is_none():
    assert read(previous_secret={"env": "OLD"})[1].keys() == {"secret"}


def test_what_it_needs_is_named(monkeypatch):
    monkeypatch.setenv("THERE", "x")
    needs = SINK.needs(read(secret={"env": "THERE"}, token={"env": "AWAY"}, ca="/nowhere/ca.pem")[0])
    assert [(need.what, bool(need.problem)) for need in needs] == [
        ("the variable THERE", False), ("the variable AWAY", True), ("/nowhere/ca.pem", True)
    ]


def test_where_it_posts_is_shown_without_what_may_be_secret():
    settings = read(url="https://soc.example/hook?key=s3cret")[0]
    assert "s3cret" not in repr(settings) and isinstance(settings.url, Endpoint)
