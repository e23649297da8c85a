"""Asking a server: what it may do to who asks is little, and no secret goes to anybody else."""

import gzip
import logging
import socket
import ssl
import subprocess
import threading
import time
import zlib

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.pulling.asking import Asking, Request, with_params
from tests.unit.gateways.pull_server import how, serving

JSON = {"Content-Type": "application/json"}


def ask(declared, request=None, stop=None):
    with Asking(declared, stop or threading.Event()) as asking:
        return asking(request or Request(declared.url))


def fault(declared, request=None):
    with pytest.raises(FabricError) as raised:
        ask(declared, request)
    return raised.value


def test_headers_params_and_secrets_go_where_they_are_declared(monkeypatch, caplog):
    monkeypatch.setenv("FEED_TOKEN", "s3cret-token")
    monkeypatch.setenv("FEED_KEY", "s3cret&key=")
    seen = []

    def answer(path, headers, body):
        seen.append((path, dict(headers)))
        return 200, JSON, {"ok": True}

    with serving(answer) as server, caplog.at_level(logging.DEBUG):
        declared = how(f"{server.url}?limit=5&x=1", token={"env": "FEED_TOKEN"}, headers={"X-Tenant": "acme"},
                       params={"limit": "100", "apikey": {"env": "FEED_KEY"}})
        assert ask(declared).body == b'{"ok": true}'
    ((path, headers),) = seen
    assert path == "/v1/items?x=1&limit=100&apikey=s3cret%26key%3D"
    assert (headers["Authorization"], headers["X-Tenant"]) == ("Bearer s3cret-token", "acme")
    assert "s3cret" not in caplog.text and "s3cret" not in repr(declared)


def test_a_password_is_basic_authentication(monkeypatch):
    monkeypatch.setenv("FEED_PASSWORD", "pass:word")
    with serving(lambda path, headers, body: (200, JSON, headers["Authorization"])) as server:
        answer = ask(how(server.url, user="me", password={"env": "FEED_PASSWORD"}))
    assert answer.body == b'"Basic bWU6cGFzczp3b3Jk"'


def test_a_secret_that_is_not_there_is_said_before_anybody_is_asked(tmp_path):
    with serving(lambda *_: (200, JSON, [])) as server:
        with pytest.raises(FabricError) as raised:
            ask(how(server.url, token={"file": str(tmp_path / "none")}))
        assert raised.value.code is Code.NO_SECRET and not server.asked


@pytest.mark.parametrize(("status", "words"), [(401, "secret"), (403, "secret"), (404, "url"), (503, "by itself")])
def test_what_it_refuses_is_named_with_what_to_check(status, words, monkeypatch):
    monkeypatch.setenv("FEED_TOKEN", "s3cret")
    with serving(lambda *_: (status, {"Retry-After": "120"}, {"token": "s3cret was wrong"})) as server:
        error = fault(how(server.url, token={"env": "FEED_TOKEN"}))
    assert error.detail == f"http://127.0.0.1:{server.port}: HTTP {status}" and words in error.next_step
    assert error.code is error.at_first().code is (Code.SOURCE_REFUSED if status < 404 else Code.SOURCE_AWAY)
    assert (error.status, error.retry_after_s) == (status, 120.0) and "s3cret" not in f"{error} {error.next_step}"


def test_a_redirect_is_followed_where_it_stays_and_nowhere_else():
    def answer(path, headers, body):
        if path == "/v1/items":
            return 302, {"Location": "/v2/items"}, b""
        if path == "/loop":
            return 307, {"Location": "/loop"}, b""
        if path == "/other":
            return 308, {"Location": f"http://127.0.0.1:{other.port}/v1/items"}, b""
        return (303, {"Location": "/v1"}, b"") if path == "/see" else (200, JSON, {"at": path})

    with serving(answer) as server, serving(lambda *_: (200, JSON, {})) as other:
        declared = how(server.url)
        assert ask(declared).body == b'{"at": "/v2/items"}'
        base = server.url.removesuffix("/v1/items")
        assert "again and again" in fault(declared, Request(f"{base}/loop")).detail
        error = fault(declared, Request(f"{base}/other"))
        assert f"another place, http://127.0.0.1:{other.port}" in error.detail and not other.asked
        assert "posted" in fault(declared, Request(f"{base}/see", "POST", body=b"{}")).detail


@pytest.mark.parametrize("coding", ["gzip", "gzip, gzip", "br", "deflate"])
def test_what_is_inflated_has_a_bound(coding):
    inner = gzip.compress(b"[" + b" " * 5_000_000 + b"]")
    bodies = {"gzip, gzip": gzip.compress(inner), "deflate": zlib.compress(b" " * 5_000_000)}
    with serving(lambda *_: (200, {"Content-Encoding": coding}, bodies.get(coding, inner))) as server:
        detail = fault(how(server.url, answer_max="1MB")).detail
    assert ("Content-Encoding is not known" if coding in ("gzip, gzip", "br") else "more than 1,048,576") in detail


def test_what_is_compressed_is_read_and_what_is_too_long_is_not():
    with serving(lambda *_: (200, {"Content-Encoding": "gzip"}, gzip.compress(b"[1]"))) as server:
        assert ask(how(server.url)).body == b"[1]"
        server.answer = lambda *_: (200, {}, b"x" * 2_000_000)
        error = fault(how(server.url, answer_max="1MB"))
        assert "more than 1,048,576" in error.detail and "answer_max" in error.next_step
        server.answer = lambda *_: (200, {"Content-Length": "100"}, b"[1]")


def slowly(head, piece):
    """Writes without an end, until whoever reads is gone."""

    def write(file):
        file.write(head)
        while True:
            file.write(piece)
            file.flush()
            time.sleep(0.05)  # the pace of who sends; nobody waits for it

    return write


@pytest.mark.parametrize("head", [
    b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"HTTP/1.1 103 Early\r\n\r\n",
])
def test_an_answer_that_comes_slowly_is_over_in_time(head):
    piece = head if b"103" in head else b"x"
    with serving(lambda *_: slowly(head, piece)) as server:
        began_s = time.monotonic()
        assert "within 0.4 s" in fault(how(server.url, timeout="400ms")).detail
        assert time.monotonic() - began_s < 10


def test_nothing_waits_for_an_answer_once_it_is_to_stop():
    stop, failed = threading.Event(), []
    with serving(lambda *_: slowly(b"HTTP/1.1 200 OK\r\nX: ", b"x")) as server:

        def run():
            with pytest.raises(FabricError) as raised:
                ask(how(server.url, timeout="1h"), stop=stop)
            failed.append(raised.value.code)

        thread = threading.Thread(target=run)
        thread.start()
        while not server.asked:
            time.sleep(0.01)
        stop.set()
        thread.join(20)
    assert failed == [Code.CLOSED]


@pytest.mark.parametrize(("raw", "words"), [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nxx", "no HTTP, or has no end"), (b"", "no HTTP, or has no end"),
    (b"SSH-2.0-x\r\n", "no HTTP"), (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n", "no HTTP"),
    (b"HTTP/1.1 999 \xff\r\nContent-Length: 0\r\n\r\n", "HTTP 999"),
])
def test_what_is_no_answer_is_said_in_our_own_words(raw, words):
    with serving(lambda *_: lambda file: file.write(raw)) as server:
        assert words in fault(how(server.url)).detail


def test_a_proxy_is_the_one_that_is_declared_and_none_of_the_environment(monkeypatch):
    with serving(lambda *_: (200, JSON, {})) as server, serving(lambda *_: (200, JSON, {})) as other:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{other.port}")
        proxy = f"http://127.0.0.1:{server.port}"
        assert ask(how("http://127.0.0.1:1/items", proxy=proxy)).status == 200
        assert server.asked == ["http://127.0.0.1:1/items"] and not other.asked
        assert "refused" in fault(how("http://127.0.0.1:1/items")).detail


def test_nobody_there_and_nothing_known_of_the_name(monkeypatch):
    assert "refused" in fault(how("http://127.0.0.1:1/x")).detail

    def unknown(*_args, **_more):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert "name is not known" in fault(how("https://feed.invalid/x")).detail


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A server's that is its own authority, and one of a client."""
    folder = tmp_path_factory.mktemp("tls")
    for name, more in (("server", ["-addext", "subjectAltName=IP:127.0.0.1"]), ("client", [])):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
             "2", "-subj", f"/CN={name}", "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem", *more],
            check=True, capture_output=True,
        )
    return folder


def test_certificates_are_verified_and_shown(certificates):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "client.pem")
    context.verify_mode = ssl.CERT_OPTIONAL
    with serving(lambda *_: (200, JSON, [])) as plain, serving(lambda *_: (200, JSON, []), context) as server:
        assert "certificate is not accepted" in fault(how(server.url)).detail and not server.asked
        ca = str(certificates / "server.pem")
        assert ask(how(server.url, ca=ca)).status == 200
        own = {"certificate": str(certificates / "client.pem"), "key": str(certificates / "client.key")}
        context.verify_mode = ssl.CERT_REQUIRED
        assert ask(how(server.url, ca=ca, **own)).status == 200
        assert "TLS" in fault(how(server.url, ca=ca)).detail or server.asked
        assert "TLS" in fault(how(plain.url.replace("http", "https"))).detail
        own["key"] = own["certificate"]
        assert "no certificate and its key" in fault(how(server.url, ca=ca, **own)).detail
        assert "holds no certificates" in fault(how(server.url, ca=str(certificates / "client.key"))).detail


def test_a_parameter_takes_the_place_of_that_of_its_name():
    assert with_params("http://h/p?a=1&b=&a=2#f", {"a": "x y", "c": "ü"}) == "http://h/p?b=&a=x+y&c=%C3%BC#f"
    assert with_params("http://h/p?a=1", {}) == "http://h/p?a=1"
