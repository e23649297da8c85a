"""One POST: bounded, cut off at any moment, and told in words that show nothing."""

import shutil
import socket
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relays.handlers.posting import ANSWER_BYTES_MAX, Cut, Endpoint, NoReplyError, endpoint_of, post


@pytest.mark.parametrize(
    ("url", "shown", "path"),
    [("https://soc.example/hook?key=s3cret", "https://soc.example:443", "/hook?key=s3cret"),
     ("https://SOC.example:8443", "https://soc.example:8443", "/"),
     ("http://127.0.0.1:80/x#part", "http://127.0.0.1:80", "/x"),
     ("http://localhost/", "http://localhost:80", "/"), ("https://[2001:db8::1]/", "https://[2001:db8::1]:443", "/")],
)
def test_a_url(url, shown, path):
    endpoint = endpoint_of(url)
    assert (str(endpoint), endpoint.path) == (shown, path) and "s3cret" not in f"{endpoint}{endpoint!r}"


@pytest.mark.parametrize(
    "url", ["", "soc.example", "ftp://soc.example/", "https://", "https:///x", "http://soc.example/", "http://10.0.0.1/",
            "https://user:s3cret@soc.example/", "https://s3cret@soc.example/", "https://soc.example:x/s3cret",
            "https://soc.example:99999/", "https://soc.example/s3cret\r\nX: y", "https://soc.example/ s3cret",
            "https://söc.example/", "https://soc.example/" + "x" * 5_000, "https://[::1/",
            "https://[s3cret]/", "https://a:s3cret/", "https://a:0/"],
)
def test_what_is_none_is_refused_without_being_said(url):
    with pytest.raises(ValueError) as raised:
        endpoint_of(url)
    assert "s3cret" not in str(raised.value)


def whole(connection):
    """A request, to its end: who closes with something unread resets the connection."""
    came = b""
    while not came.endswith(b"\r\n\r\n{}") and (more := connection.recv(65_536)):
        came += more
    return came


@given(st.text() | st.text("https:/[]@%?#\\.:0a", max_size=30).map(lambda rest: f"https://{rest}"))
def test_whatever_it_is_it_is_one_or_a_value_error(url):
    with suppress(ValueError):
        endpoint = endpoint_of(url)
        assert endpoint.tls and endpoint.host and 0 < endpoint.port < 65_536 and endpoint.path.startswith(("/", "?"))


@contextmanager
def server(talk, read=whole):
    """It talks to each that connects, on a thread; `talk` gets the connection and what came."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(10)
                    with suppress(OSError):
                        talk(connection, read(connection))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield Endpoint(False, "127.0.0.1", listener.getsockname()[1], "/hook?key=s3cret")
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def says(*pieces, pause_s=0.0):
    def talk(connection, _came):
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_s)
    return talk


def answer(head, body=b""):
    return b"HTTP/1.1 " + head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def posted(talk, timeout_s=5.0, cut=None):
    with server(talk) as endpoint:
        return post(endpoint, b"{}", {"X-A": "b"}, timeout_s, cut or Cut())


@pytest.mark.parametrize(
    ("said", "status", "body", "after"),
    [(answer(b"200 OK", b'{"a": 1}'), 200, b'{"a": 1}', None), (answer(b"503 Busy\r\nRetry-After: 7"), 503, b"", 7.0),
     (answer(b"429 Slow\r\nRetry-After: 99999999"), 429, b"", 3600.0),
     (answer(b"429 Slow\r\nRetry-After: -1"), 429, b"", None),
     (answer(b"503 x\r\nDate: Sun, 29 Nov 2026 03:00:00 GMT\r\nRetry-After: Sun, 29 Nov 2026 03:00:09 GMT"), 503,
      b"", 9.0),
     (answer(b"503 x\r\nRetry-After: Sun, 99 Nov 2026"), 503, b"", None),
     (answer(b"200 OK\r\nRetry-After: \xb2", b"{}"), 200, b"{}", None),  # a digit, as Unicode has it
     (b"HTTP/1.1 102 x\r\n\r\nHTTP/1.1 103 y\r\nLink: z\r\n\r\n" + answer(b"201 OK", b"{}"), 201, b"{}", None),
     (answer(b"302 x\r\nLocation: /y"), 302, b"", None),
     (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200, b"{}", None),
     (b"HTTP/1.0 200 OK\r\n\r\n{}", 200, b"{}", None),
     (answer(b"200 OK", b"x" * (ANSWER_BYTES_MAX + 1)), 200, None, None)],
)
def test_answers(said, status, body, after):
    assert posted(says(said)) == (status, body, after)


@pytest.mark.parametrize(
    "said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx", b"HTTP/1.1 xyz\r\n\r\n",
             b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
             b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)
def test_what_is_no_answer_may_have_come_all_the_same(said):
    with pytest.raises(NoReplyError) as raised:
        posted(says(said))
    assert raised.value.may_have_come and "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "said", [[b"HTTP/1.1 100 Continue\r\n\r\n"] * 40, [b"H"] * 40,
             [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *[b"x"] * 40]],
    ids=["goes on", "a letter at a time", "a body's letter at a time"],
)
def test_who_speaks_slowly_gets_no_more_than_the_time_of_an_attempt(said):
    began = time.monotonic()
    with pytest.raises(NoReplyError):
        posted(says(*said, pause_s=0.05), timeout_s=0.4)
    assert time.monotonic() - began < 3


def test_nor_does_who_is_slow_at_the_handshake():
    began = time.monotonic()
    hello = says(b"\x16\x03\x03\x40\x00", *[b"x"] * 80, pause_s=0.05)
    with server(hello, lambda connection: connection.recv(65_536)) as plain, pytest.raises(NoReplyError) as raised:
        post(plain._replace(tls=True), b"{}", {}, 0.4, Cut())
    assert time.monotonic() - began < 3 and not raised.value.may_have_come


def test_it_is_cut_while_it_waits():
    cut = Cut()
    threading.Timer(0.1, cut.cut).start()
    with pytest.raises(NoReplyError):
        posted(lambda connection, _came: connection.recv(1), timeout_s=20.0, cut=cut)


def test_where_nobody_listens_nothing_has_come():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint(False, "127.0.0.1", listener.getsockname()[1], "/")
    with pytest.raises(NoReplyError) as raised:
        post(endpoint, b"{}", {}, 5.0, Cut())
    assert not raised.value.may_have_come and "refused" in str(raised.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("no program openssl")
    folder = tmp_path_factory.mktemp("tls")
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-days", "2", "-subj", "/CN=hook", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", folder / "key", "-out", folder / "cert"],
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_is_verified(certificate, trusted):
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate / "cert", certificate / "key")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def serve():
            connection, _ = listener.accept()
            try:
                with ours.wrap_socket(connection, server_side=True) as secure:
                    whole(secure)
                    secure.sendall(answer(b"200 OK", b"{}"))
            except OSError:
                connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        endpoint = Endpoint(True, "127.0.0.1", listener.getsockname()[1], "/")
        theirs = lambda: ssl.create_default_context(cafile=str(certificate / "cert") if trusted else None)  # noqa: E731
        try:
            if trusted:
                assert post(endpoint, b"{}", {}, 5.0, Cut(), theirs).status == 200
            else:
                with pytest.raises(NoReplyError) as raised:
                    post(endpoint, b"{}", {}, 5.0, Cut(), theirs)
                assert "certificate" in str(raised.value) and not (raised.value.may_have_come or raised.value.again)
        finally:
            thread.join(10)


def test_an_answer_that_is_cut_for_its_time_is_late_however_soon_the_reader_hears_of_it():
    class Slow(Cut):
        def shut(self):
            super().shut()
            time.sleep(0.3)  # who cuts sleeps on, while the reader has half a line

    with server(says(b"HTTP/1.1", b" 2", pause_s=1.0)) as endpoint, pytest.raises(NoReplyError, match="in time"):
        post(endpoint, b"{}", {}, 0.2, Slow())
