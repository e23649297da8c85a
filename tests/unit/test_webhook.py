"""The handler `webhook`: tried again while it makes sense, once for the other side, and nothing secret is shown."""

import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fabric.edge.control import Control
from fabric.protocol.base.errors import Code, FabricError
from relays.handlers import webhook
from relays.handlers.kinds import Options
from relays.handlers.webhook import KIND, make, pairs
from tests.handling import action_for, end_of, place_in


class Server(HTTPServer):
    """It answers with what it was told, in turn, the last again and again."""

    def __init__(self, *answers):
        self.answers, self.came = list(answers), []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.server.came.append((self.path, dict(self.headers), body))
                status, headers, content = self.server.answers[0]
                if len(self.server.answers) > 1:
                    self.server.answers.pop(0)
                if status is None:
                    self.close_connection = True
                    return
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    def __enter__(self):
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.thread.join()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook?key=s3cret"


OK = (200, {}, b'{"ticket": 7}')
BUSY = (503, {}, b"")


@pytest.fixture
def hook(tmp_path, monkeypatch):
    monkeypatch.setattr(webhook, "_PAUSE_S", 0.01)

    def made(server, **options):
        given = {name.replace("_", "-"): [value] for name, value in options.items()}
        handler = make(Options("webhook", {"url": [server.url], **given}), place_in(tmp_path))
        handler._pause_s = 0.01
        return handler

    return made


def deny(**more):
    return action_for("deny", "ipv4_net", "203.0.113.9", **more)


def test_the_action_is_posted_and_its_answer_is_the_result(hook):
    with Server(OK) as server:
        action = deny(args={"x": 1})
        answer = hook(server)(action)
    assert end_of(answer) == ("completed", "") and answer.result == {"ticket": 7}
    ((path, headers, body),) = server.came
    assert path == "/hook?key=s3cret" and headers["Idempotency-Key"] == action.id
    assert json.loads(body) == {**action.to_json(), "phase": "execute", "target_id": "fw-7"}
    assert "Authorization" not in headers and "X-Fabric-Signature" not in headers


def test_a_revert_is_another_message(hook):
    with Server(OK) as server:
        action = deny()
        assert end_of(hook(server).revert(action))[0] == "completed"
    ((_, headers, body),) = server.came
    assert headers["Idempotency-Key"] == f"{action.id}-revert" and json.loads(body)["phase"] == "revert"


def test_it_is_signed_and_says_who_it_is(hook, tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("pepper\n")
    monkeypatch.setenv("HOOK_TOKEN", "t0ken")
    with Server(OK) as server:
        hook(server, secret_file=str(tmp_path / "secret"), token_env="HOOK_TOKEN")(deny())
    ((_, headers, body),) = server.came
    stamp, _, digest = headers["X-Fabric-Signature"].partition(",v1=")
    at = stamp.removeprefix("t=")
    assert hmac.new(b"pepper", f"{at}.".encode() + body, hashlib.sha256).hexdigest() == digest
    assert abs(int(at) - time.time()) < 60 and headers["Authorization"] == "Bearer t0ken"


@pytest.mark.parametrize(
    "first", [BUSY, (500, {}, b"x"), (429, {"Retry-After": "0"}, b""), (408, {}, b""), (None, {}, b"")]
)
def test_what_may_go_better_is_tried_again_as_the_same(hook, first):
    with Server(first, first, OK) as server:
        answer = hook(server)(deny())
    assert end_of(answer) == ("completed", "") and len(server.came) == 3
    assert len({headers["Idempotency-Key"] for _, headers, _ in server.came}) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 422, 501, 301, 302, 308])
def test_what_will_not_is_not_and_no_redirect_is_followed(hook, status):
    with Server((status, {"Location": "http://127.0.0.1:1/"}, b'{"secret": "s3cret"}'), OK) as server:
        answer = hook(server)(deny())
    assert end_of(answer) == ("failed", "E952") and answer.result == {"http_status": status} and len(server.came) == 1
    assert f"HTTP {status}" in answer.reason and "s3cret" not in answer.reason


@pytest.mark.parametrize(("body", "code"), [(b"", ""), (b" \n", ""), (b"{}", ""), (b"ok", "E715"), (b"[1]", "E715"),
                                            (b'{"a": NaN}', "E715"), (b"\xff", "E715"), (b"[" * 5_000, "E715")])
def test_what_was_done_is_completed_whatever_it_says_of_it(hook, body, code):
    with Server((202, {}, body)) as server:
        assert end_of(hook(server)(deny())) == ("completed", code)


def test_it_ends_at_the_deadline_and_with_what_it_was_told(hook):
    with Server(BUSY) as server:
        began = time.monotonic()
        answers = [hook(server)(deny(ttl_s=0.3)), hook(server, **{"for": "300ms"})(deny())]
        answers += [hook(server)(deny(ttl_s=-1_000))]  # a clock that is wrong
    assert [end_of(answer) for answer in answers] == [("failed", "E952")] * 3 and time.monotonic() - began < 5
    assert "HTTP 503, 1 attempt" in answers[2].reason


def test_a_pause_that_is_longer_than_the_time_left_is_not_waited_for(hook):
    with Server((429, {"Retry-After": "3000"}, b"")) as server:
        began = time.monotonic()
        assert end_of(hook(server)(deny())) == ("failed", "E952") and time.monotonic() - began < 3


@pytest.mark.parametrize("how", ["cancelled", "stopped"])
def test_who_waits_ends_at_once_when_it_is_told_to(hook, how):
    control = Control()
    with Server((503, {"Retry-After": "30"}, b"")) as server:
        handler = hook(server)
        timer = threading.Timer(0.2, control.cancel if how == "cancelled" else handler.stop)
        timer.start()
        began = time.monotonic()
        answer = handler(deny(control=control))
        assert end_of(answer) == ("failed", "E723" if how == "cancelled" else "E709") and time.monotonic() - began < 10
        if how == "stopped":
            assert end_of(handler(deny()))[0] == "failed" and len(server.came) == 1


@pytest.mark.parametrize(
    ("options", "code", "detail"),
    [({}, Code.USAGE, "no URL"), ({"url": "http://soc.example/s3cret"}, Code.USAGE, "this machine only"),
     ({"url": "https://a/", "url-env": "X"}, Code.USAGE, "more than once"),
     ({"url-env": "NO_SUCH"}, Code.HANDLER_UNFIT, "NO_SUCH is not in the environment"),
     ({"url": "https://a/", "secret-file": "/nonesuch"}, Code.HANDLER_UNFIT, "No such file"),
     ({"url": "https://a/", "secret-file": "/dev/null"}, Code.HANDLER_UNFIT, "not a regular file"),
     ({"url": "https://a/", "token-file": "/proc/self/exe"}, Code.HANDLER_UNFIT, "no text"),
     ({"url": "https://a/", "ca-file": "/dev/null"}, Code.HANDLER_UNFIT, "no certificates"),
     ({"url": "https://a/", "timeout": "soon"}, Code.USAGE, "timeout=soon"),
     ({"url": "https://a/", "for": "0s"}, Code.USAGE, "for=0s")],
)
def test_options_that_cannot_be(tmp_path, options, code, detail):
    given = Options("webhook", {name: [value] for name, value in options.items()})
    with pytest.raises(FabricError) as raised:
        make(given, place_in(tmp_path))
    assert raised.value.code is code and detail in raised.value.detail
    assert "s3cret" not in f"{raised.value.detail}{raised.value.next_step}"
    (need,) = KIND.needs(given)
    assert need.next_step and bool(need.problem) == bool(options)


def test_what_it_takes_is_what_it_was_told():
    assert [pair.text for pair in pairs(Options("webhook"))] == ["* *"]
    some = pairs(Options("webhook", {"on": ["deny ipv4_net", "scan *"], "reverts": ["yes"]}))
    assert [(pair.text, pair.reverts) for pair in some] == [("deny ipv4_net", True), ("scan *", True)]
    with pytest.raises(FabricError):
        pairs(Options("webhook", {"on": ["obliterate it"]}))
