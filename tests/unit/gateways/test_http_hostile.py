"""What the gateway is sent by those who mean it ill, or whose library is broken; and that others go on."""

import gzip
import http.client
import json
import multiprocessing
import os
import resource
import socket
import ssl
import threading
import time
import zlib
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.http.bodies import MEMBERS_MAX, inflated
from relays.gateways.http.framing import PIECE_BYTES_MIN, PIECES_FREE
from relays.gateways.http.rates import WORKERS, Room
from relays.gateways.http.records import memory_of
from tests.integration.harness import wait_for
from tests.unit.gateways.test_http import JSON, LINES, A, B, certificate_in, post, running

EVENT = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        from relays.gateways.http import connections

        monkeypatch.setattr(connections, "_HEADERS_S", 0.3)
        with running(monkeypatch, tmp_path_factory.mktemp("http"), body_max="100KB") as (source, intake):
            yield source, intake


def said_to(source, data):
    """Everything that it says until it closes the connection."""
    with socket.create_connection(source.address, 10) as peer:
        peer.sendall(data)
        parts = []
        while part := peer.recv(65_536):
            parts.append(part)
        return b"".join(parts)


def head(**given):
    fields = {**A, **JSON, "Host": "x", **given}
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()


@pytest.mark.parametrize(("coding", "member"), [("gzip", gzip.compress(b"", mtime=0)), ("deflate", zlib.compress(b""))])
def test_many_compressed_members_are_as_much_work_as_their_bytes(coding, member):
    assert inflated(member * MEMBERS_MAX, coding, 10) == b""
    with pytest.raises(FabricError) as raised:
        inflated(member * 500_000, coding, 16 << 20)
    assert raised.value.code is Code.HTTP_SIZE


def test_members_come_out_whole_wherever_they_are_cut():
    texts = [bytes([65 + n % 26]) * (n * 997) for n in range(60)]
    body = b"".join(gzip.compress(text, n % 10) for n, text in enumerate(texts)) + b"\0" * 20_000
    whole = b"".join(texts)
    assert inflated(body, "gzip", len(whole)) == whole
    for bad, limit, code in (
        (body, len(whole) - 1, Code.HTTP_SIZE), (body[:-20_004], len(whole), Code.HTTP_BODY),
        (body + b"x", len(whole), Code.HTTP_BODY),
    ):
        with pytest.raises(FabricError) as raised:
            inflated(bad, "gzip", limit)
        assert raised.value.code is code


def test_what_is_read_of_a_small_body_has_room_for_what_it_becomes():
    assert memory_of(b"[" + b"{}," * 1_000 + b"{}]") > 1_000 * 72
    assert memory_of(b"\n" * 1_000) > 1_000 * 8
    room = Room(100)
    with room.held(1_000), pytest.raises(FabricError) as raised, room.held(1):
        pass
    assert raised.value.code is Code.HTTP_BUSY
    with room.held(60), room.held(40):
        pass


def test_large_bodies_keep_no_small_one_waiting():
    room = Room(64 * 1_024)
    with room.held(64 * 1_024), room.held(128), pytest.raises(FabricError), room.held(129):
        pass


@pytest.mark.parametrize("data", [
    b"GET /v1/health\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00" + b"\0" * 500,
    b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n",
    b"POST /v1/events HTTP/1.1\r\n" + head(**{"Transfer-Encoding": "chunked"}) + b"\r\n-7\r\n{}\r\n",
])
def test_what_is_no_http_is_told_so_as_everything_else_is(gateway, data):
    source, _ = gateway
    answer, _, body = said_to(source, data).partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400") and b"application/problem+json" in answer
    assert json.loads(body)["code"] == Code.HTTP_BODY.label


@pytest.mark.parametrize("twice", [
    "content-type: text/plain", "ce-type: u", "idempotency-key: a\r\nidempotency-key: b", "transfer-encoding: chunked",
    "authorization: Bearer x",
])
def test_a_header_that_says_two_things_says_none(gateway, twice):
    source, intake = gateway
    before = len(intake.published)
    body = b"2\r\n{}\r\n0\r\n\r\n" if twice.startswith("transfer") else b"{}"
    request = b"POST /v1/events HTTP/1.1\r\n" + head(**EVENT) + twice.encode() + b"\r\n"
    answer = said_to(source, request + f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
    assert answer.startswith(b"HTTP/1.1 400") and len(intake.published) == before


@pytest.mark.parametrize("wrong", [
    {"ce-subject": "%ff"}, {"ce-subject": "%ED%A0%80"}, {"ce-data": "x"}, {"ce-data_base64": "AA=="}, {"ce-": "x"},
])
def test_an_attribute_that_cannot_be_kept_as_it_was_sent_is_refused(gateway, wrong):
    source, intake = gateway
    before = len(intake.published)
    answer, said = post(source, b"{}", {**A, **JSON, **EVENT, **wrong})
    assert (answer.status, said["code"], len(intake.published)) == (400, Code.BAD_INPUT.label, before)


def test_a_key_is_of_the_event_that_it_came_with(gateway):
    source, intake = gateway
    key = {**A, **JSON, **EVENT, "Idempotency-Key": "e"}
    before = len(intake.published)
    assert post(source, b"{}", key)[1] == post(source, b"{}", key)[1] and len(intake.published) == before + 1
    assert post(source, b"{}", {**key, "ce-id": "2"})[0].status == 422
    assert post(source, b"{}", {**A, **JSON, "Idempotency-Key": ""})[0].status == 422


def test_whoever_was_answered_cannot_keep_the_connection_with_the_rest_of_a_body(gateway):
    source, _ = gateway
    data = said_to(source, b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
    assert data.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize("path", ["/v1/events", "/openc2", "/nowhere"])
@pytest.mark.parametrize(("version", "length"), [("1.1", "Content-Length: 60\r\n"), ("1.0", "")])
def test_nothing_is_read_behind_a_request_whose_end_is_said_twice(gateway, path, version, length):
    source, _ = gateway
    said = said_to(source, f"POST {path} HTTP/{version}\r\nHost: x\r\n{length}Transfer-Encoding: chunked\r\n\r\n"
                           "0\r\n\r\nGET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert said.startswith(b"HTTP/1.1 400 ") and b'"status": "ok"' not in said


def chunked(*pieces, **given):
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return (b"POST /v1/events HTTP/1.1\r\n" + head(**{"Transfer-Encoding": "chunked", "Connection": "close", **given})
            + b"\r\n" + body + b"0\r\n\r\n")


@pytest.mark.parametrize("token", [A["Authorization"], ""])
def test_a_body_in_crumbs_is_not_read_to_its_end(gateway, token):
    source, _ = gateway
    said = said_to(source, chunked(b"[", *[b" "] * (PIECES_FREE + 1), Authorization=token))
    assert said.startswith(b"HTTP/1.1 400 " if token else b"HTTP/1.1 401 ") and b"HTTP/1.1 200" not in said


def test_a_body_in_pieces_of_a_line_is_taken(gateway):
    source, _ = gateway
    lines = [b"[", *[b'{"message": "what a line of a log has at the least, and no more"}, '] * 90, b"{}", b"]"]
    few = [*[b" "] * (PIECES_FREE - 10), b"{}"]
    many = [b" " * PIECE_BYTES_MIN] * 1_000
    for pieces in (lines, few, [*many, b"{}"]):
        assert said_to(source, chunked(*pieces)).startswith(b"HTTP/1.1 202 ")


def test_of_a_room_nobody_has_more_than_is_left():
    room = Room(100)
    for who, most in (("a", 50), ("b", 25), ("c", 12)):
        with pytest.raises(FabricError):
            room.take(most + 1, who)
        room.take(most, who)
        with pytest.raises(FabricError):
            room.take(1, "a")
    room.give(50, "a")
    room.take(19, "b")
    room.take(9)  # nobody's


def test_a_token_that_is_full_keeps_no_other_one_waiting_and_what_its_senders_left_is_not_begun(monkeypatch, tmp_path):
    from relays.gateways.http import app

    monkeypatch.setattr(app, "_REQUESTS_MAX", 100)
    with running(monkeypatch, tmp_path, busy_time="20s") as (source, intake):
        asked, go_on, publish_many = [], threading.Event(), intake.publish_many

        def slow(given, mapped, wait_s):
            if given[0].where.startswith("a "):
                asked.append(given)
                go_on.wait(20)
            return publish_many(given, mapped, wait_s)

        monkeypatch.setattr(intake, "publish_many", slow)
        request = b"POST /v1/events HTTP/1.1\r\n" + head(**{"Content-Length": "2"}) + b"\r\n{}"
        with ExitStack() as peers:
            for _ in range(60):
                peers.enter_context(socket.create_connection(source.address, 5)).sendall(request)
            wait_for(lambda: len(asked) == WORKERS // 2, "what is at work for it")
            answer, said = post(source, b"{}", {**A, **JSON})
            assert (answer.status, said["code"]) == (503, Code.HTTP_BUSY.label)
            assert post(source, b"{}", {**B, **JSON}, "/v1/events?topic=detections.b.x")[0].status == 202
        wait_for(lambda: serves(source), "that they are gone")
        go_on.set()
        wait_for(lambda: post(source, b"{}", {**A, **JSON})[0].status == 202, "room for it")
        assert len(asked) == WORKERS // 2 + 1


def test_what_is_refused_costs_what_it_was_worth(gateway):
    source, _ = gateway
    assert post(source, b"[" + b"1," * 1_000, {**B, **JSON}, "/v1/events?topic=detections.b.x")[0].status == 400
    assert post(source, b"{}", {**B, **JSON}, "/v1/events?topic=detections.b.x")[0].status == 429


def test_no_other_path_is_named(gateway):
    source, _ = gateway
    assert post(source, b"{}", {**A, **LINES}, "/v1/events/")[0].status == 404


def serves(source, context=None):
    """Whether there is a place for one more connection."""
    with suppress(OSError, http.client.HTTPException):
        connection = (
            http.client.HTTPConnection(*source.address, timeout=5) if context is None
            else http.client.HTTPSConnection(*source.address, timeout=5, context=context)
        )
        connection.request("GET", "/v1/health")
        is_served = connection.getresponse().status == 200
        connection.close()
        return is_served
    return False


# Answered with more than a megabyte.
ASKS_MUCH = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 100


def deaf(source):
    """A peer whose kernel keeps next to nothing for it."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    peer.connect(source.address)
    return peer


def ask_and_read_nothing(source):
    """One that asks until nobody takes its questions any more."""
    peer = deaf(source)
    peer.settimeout(0.3)
    with suppress(OSError):
        while True:
            peer.sendall(ASKS_MUCH)
    return peer


def test_a_handshake_that_does_not_end_has_a_place_of_its_address_for_a_while(monkeypatch, tmp_path):
    from relays.gateways.http import accepting

    monkeypatch.setattr(accepting, "_HANDSHAKE_S", 1.0)
    certificate, key = certificate_in(tmp_path)
    context = ssl.create_default_context(cafile=str(certificate))
    with running(
        monkeypatch, tmp_path, connections=2, certificate=str(certificate), key=str(key)
    ) as (source, _), ExitStack() as peers:
        silent, half = [peers.enter_context(socket.create_connection(source.address, 5)) for _ in range(2)]
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert not serves(source, context)
        silent.settimeout(20)
        assert silent.recv(1) == b""
        wait_for(lambda: serves(source, context), "its place")
        plain = peers.enter_context(socket.create_connection(source.address, 5))
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
        plain.settimeout(20)
        with suppress(ConnectionResetError):
            while plain.recv(100):
                pass
        assert serves(source, context)


def test_a_peer_that_reads_nothing_is_cut(monkeypatch, tmp_path):
    from relays.gateways.http import connections

    monkeypatch.setattr(connections, "_READ_S", 0.5)
    monkeypatch.setattr(connections, "_HEADERS_S", 60.0)
    with running(monkeypatch, tmp_path, connections=1) as (source, _), ask_and_read_nothing(source):
        wait_for(lambda: serves(source), "its place")


def test_a_peer_that_does_not_read_the_last_it_is_sent_is_cut(monkeypatch, tmp_path):
    from relays.gateways.http import connections, serving

    made = connections.Guarded.connection_made

    def made_with_room(self, transport):
        made(self, transport)
        transport.set_write_buffer_limits(1 << 30)  # so that nothing tells that it does not read, but its end

    monkeypatch.setattr(connections.Guarded, "connection_made", made_with_room)
    monkeypatch.setattr(connections, "_READ_S", 0.3)
    monkeypatch.setattr(serving, "_KEEP_ALIVE_S", 0.2)
    with running(monkeypatch, tmp_path, connections=1) as (source, _), deaf(source) as peer:
        peer.sendall(ASKS_MUCH * 2)
        wait_for(lambda: serves(source), "its place")


def test_a_peer_that_reads_nothing_keeps_no_source_from_ending(monkeypatch, tmp_path):
    from relays.gateways.http import serving

    monkeypatch.setattr(serving, "_GRACE_S", 60)
    with running(monkeypatch, tmp_path, connections=1) as (source, _):
        peer = ask_and_read_nothing(source)
        assert not serves(source)
    peer.close()


def first_without(descriptors):
    """So many below it are free in this process."""
    used, limit, free = {int(each.name) for each in Path("/proc/self/fd").iterdir()}, 0, 0
    while free < descriptors:
        free += limit not in used
        limit += 1
    return limit


def test_where_there_are_no_more_descriptors_it_waits_and_goes_on(monkeypatch, tmp_path):
    from relays.gateways.http import accepting

    tries, begin = [], accepting.Accepting._begin

    def try_again(self):
        tries.append(time.monotonic())
        begin(self)

    monkeypatch.setattr(accepting, "_SHORT_S", 0.05)
    monkeypatch.setattr(accepting.Accepting, "_begin", try_again)
    said, tell = multiprocessing.Pipe()
    with running(monkeypatch, tmp_path) as (source, _):
        pid = os.fork()
        if not pid:  # a client has descriptors of its own
            with suppress(BaseException):
                tell.recv()
                peers = [socket.create_connection(source.address, 20) for _ in range(12)]
                tell.send("here")
                tell.recv()
                for peer in peers:
                    peer.close()
                tell.send(serves(source))
            os._exit(0)
        tries.clear()
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (first_without(6), limits[1]))
            said.send("come")
            assert said.poll(20) and said.recv() == "here"
            wait_for(lambda: len(tries) > 3, "it tries again")
            assert all(later - tried > 0.04 for tried, later in pairwise(tries)), "now and then"
            said.send("leave")
            assert said.poll(20) and said.recv() is True
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            os.waitpid(pid, 0)
            said.close()
            tell.close()
