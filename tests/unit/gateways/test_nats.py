"""A stream of a real NATS server has each message once, whatever it answers and whoever is killed in between."""

import base64
import os
import socket
import threading
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.handing import trying
from relays.gateways.handing.names import name_for, pattern_of
from relays.gateways.kinds import Place
from relays.gateways.nats.acks import error_in
from relays.gateways.nats.answers import NO_ANSWER
from relays.gateways.nats.keys import key_of, read_credentials
from relays.gateways.nats.sink import SINK
from relays.gateways.options import Options, checked
from tests.unit.gateways.nats_support import NatsServer
from tests.unit.gateways.support import Outtake, hand_over, message

SEED = "SUAMLK2ZNL35WSMW37E7UD4VZ7ELPKW7DHC3BWBSD2GCZ7IUQQXZIORRBU"  # of the library's own tests
PUBLIC = "UBCXCMGAQXQBRPUVFH6P3DBT4JXZZ3ORJSGVJBBKXE3WZPZY3H3CWWHM"


def read(**more):
    options = Options({"servers": "nats://127.0.0.1:4222", "stream": "FABRIC", **more})
    settings = checked(SINK.read, options, [*(option.name for option in SINK.options), "max_label"])
    return settings, {fault.key: fault for fault in options.faults}


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(trying, "FIRST_S", 0.001)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = NatsServer(tmp_path_factory.mktemp("nats"), more="max_payload: 64KB").begin()
    yield made
    made.kill()


def run(server, groups, *, stop_when=bool, then=lambda _why: None, **more):
    settings, faults = read(**{"servers": server.url, **more})
    assert not faults
    return hand_over(SINK, settings, groups, stop_when=stop_when, then=then)


def made(stream):
    return {"stream": stream, "create": True, "subject": f"{stream}.{{topic}}"}


def numbers(server, stream):
    return [content["content"]["n"] for _, _, content in server.stored(stream)]


def test_each_message_is_once_in_the_stream_under_its_topic_with_what_is_routed_by(server):
    outtake = run(server, [[1, 2], [3], [1, 2]], **made("ONCE"))
    assert outtake.acknowledged == [1, 2, 3, 1, 2] and outtake.waited == []
    stored = server.stored("ONCE")
    assert [content["content"]["n"] for _, _, content in stored] == [1, 2, 3], "what came again is known by its id"
    subject, headers, content = stored[0]
    assert subject == "ONCE.detections.x" and content == message(1).to_json()
    assert headers["Nats-Msg-Id"] == headers["Fabric-Id"] == message(1).id
    assert headers["Fabric-Label"] == "green" and headers["Fabric-Tlp"] == "amber"
    window = server.ask(lambda jetstream: jetstream.stream_info("ONCE")).config.duplicate_window
    assert window == 3_600.0


def test_where_no_stream_takes_it_that_is_said_and_it_waits(server):
    outtake = run(server, [[1]], stream="AWAY")
    assert "no stream takes the subject fabric.detections.x" in outtake.waited[0] and "create" in outtake.next_step
    run(server, [[1]], **made("OTHER"))
    outtake = run(server, [[2]], stream="NOT", subject="OTHER.{topic}")
    assert "error 10060" in outtake.waited[0] and outtake.acknowledged == []
    outtake = run(server, [[2]], stream="NOT2", subject="OTHER.{topic}", create=True)
    assert "error 10065" in outtake.waited[0] and "another stream" in outtake.next_step


def test_what_is_too_large_for_it_is_a_dead_letter_and_hinders_no_other(server):
    large = message(2, {"n": "x" * 70_000})
    outtake = run(server, [[1, large, 3]], **made("LARGE"))
    assert outtake.rejected == [(large.id, Code.TOO_LARGE)] and numbers(server, "LARGE") == [1, 3]

    async def make(jetstream):
        await jetstream.add_stream(name="SMALL", subjects=["SMALL.>"], max_msg_size=2_000)
    server.ask(make)
    large = message(2, {"n": "x" * 3_000})
    outtake = run(server, [[1, large, 3]], stream="SMALL", subject="SMALL.{topic}")
    assert outtake.rejected == [(large.id, Code.TOO_LARGE)] and numbers(server, "SMALL") == [1, 3]


def test_a_stream_that_is_full_and_takes_no_more_is_waited_for(server):
    from nats.js.api import DiscardPolicy

    async def make(jetstream):
        await jetstream.add_stream(name="FULL", subjects=["FULL.>"], max_msgs=2, discard=DiscardPolicy.NEW)

    async def room(jetstream):
        await jetstream.purge_stream("FULL")

    server.ask(make)
    outtake = run(server, [[1, 2, 3, 4]], stream="FULL", subject="FULL.{topic}", stop_when=lambda _: False,
                  then=lambda why: why and server.ask(room))
    assert "error 10077" in outtake.waited[0] and outtake.acknowledged == [1, 2, 3, 4] and outtake.rejected == []
    assert numbers(server, "FULL") == [3, 4], "and those that it had are not stored again"


def test_a_server_that_is_killed_in_the_midst_has_each_once_in_order_when_it_is_back(tmp_path):
    server = NatsServer(tmp_path / "nats").begin()
    killed = threading.Event()

    class Killing:
        def __init__(self, groups):
            self.groups = groups

        def __iter__(self):
            for number, group in enumerate(self.groups):
                if number == 3:
                    server.kill()
                    killed.set()
                yield group

    groups = [list(range(at, at + 50)) for at in range(0, 400, 50)]
    back = []

    def begin(why):
        if why is not None and not back:
            back.append(server.begin())

    try:
        outtake = Outtake()
        outtake._groups = Killing(groups)
        outtake.waits = lambda why: (outtake.waited.append(why and why.detail), begin(why))
        settings = read(servers=server.url, **made("KILLED"))[0]
        SINK.open(settings, Place("siem-1", "bus", None, None)).run(outtake, threading.Event())
        assert back and outtake.acknowledged == list(range(400)) and outtake.waited[-1] is None
        assert "refused" in outtake.waited[0] or "closed" in outtake.waited[0], "that is noticed at once"
        assert numbers(server, "KILLED") == list(range(400))
    finally:
        server.kill()


def test_who_may_not_is_told_what_to_look_at_and_who_can_prove_it_may(tmp_path):
    key = key_of(seed := new_seed(), "x")
    (tmp_path / "seed").write_text(seed + "\n")
    (tmp_path / "word").write_text("s3cret")
    server = NatsServer(tmp_path / "nats", more=f"""authorization {{ users: [
        {{ nkey: "{key.public}" }},
        {{ user: "fabric", password: "s3cret", permissions: {{ publish: "MINE.>" }} }} ] }}""").begin()
    try:
        outtake = run(server, [[1]], **made("ANY"))
        assert "does not let us in" in outtake.waited[0] and "credentials" in outtake.next_step
        outtake = run(server, [[1]], **made("ANY"), nkey={"file": str(tmp_path / "seed")})
        assert outtake.acknowledged == [1]
        word = {"user": "fabric", "password": {"file": str(tmp_path / "word")}}
        outtake = run(server, [[1]], stream="ANY", subject="ANY.{topic}", timeout="500ms", **word)
        assert outtake.acknowledged == [] and "s3cret" not in str(outtake.waited), outtake.waited
    finally:
        server.kill()


def new_seed():
    from relays.gateways.nats.keys import _crc

    seed, user = 18 << 3, 20 << 3
    raw = bytes([seed | user >> 5, (user & 31) << 3]) + os.urandom(32)
    return base64.b32encode(raw + _crc(raw)).decode().rstrip("=")


def test_nothing_is_said_in_the_clear_to_whoever_leaves_tls_out(tmp_path):
    secret, heard = tmp_path / "token", []
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def answer():
            with suppress(OSError):
                made, _ = listening.accept()
                with made:
                    made.settimeout(20)
                    made.sendall(b'INFO {"server_id": "x", "version": "2.10.0", "proto": 1, "auth_required": true, '
                                 b'"headers": true, "max_payload": 1048576}\r\n')
                    while len(b"".join(heard)) < 6 and (data := made.recv(65_536)):
                        heard.append(data)
                    made.sendall(b"PONG\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        between = SimpleNamespace(url=f"tls://127.0.0.1:{listening.getsockname()[1]}")
        outtake = run(between, [[1]], token={"file": str(secret)}, timeout="5s")
        thread.join(20)
    assert b"".join(heard)[:2] == b"\x16\x03", "it begins with TLS, or not at all"
    assert b"s3cret" not in b"".join(heard)
    assert outtake.next_step == "look at the server's certificate, and at ca"


@pytest.mark.parametrize("info", [b"INFO []", b'INFO {"max_payload": "x"}', b"INFO " + b"x" * 100_000, b"\xff\x00"])
def test_whatever_a_server_says_first_it_is_a_fault_and_waited_for(info):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def answer():
            with suppress(OSError):
                made, _ = listening.accept()
                with made:
                    made.sendall(info + b"\r\n")
                    made.recv(65_536)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        outtake = run(SimpleNamespace(url=f"nats://127.0.0.1:{listening.getsockname()[1]}"), [[1]], timeout="5s")
        thread.join(20)
    assert outtake.waited and not outtake.rejected


@pytest.mark.parametrize(("answer", "number"), [
    (b'{"stream": "FABRIC", "seq": 1}', None), (b'{"stream": "FABRIC", "seq": 1, "duplicate": true}', None),
    (b'{"stream": "OTHER", "seq": 1}', NO_ANSWER), (b'{"seq": 1}', NO_ANSWER), (b"", NO_ANSWER), (b"+OK", NO_ANSWER),
    (b'{"stream": "FABRIC", "seq": 0}', NO_ANSWER), (b'{"stream": "FABRIC", "seq": true}', NO_ANSWER),
])
def test_only_the_stream_says_that_it_is_stored(answer, number):
    assert error_in("", answer, "FABRIC") == number


def test_a_key_is_read_from_its_seed_as_the_standard_library_of_nats_does(tmp_path):
    key = key_of(SEED, "x")
    assert key.public.startswith("U") and "SU" not in repr(key) and len(key.sign("nonce")) == 88
    assert key_of(new_seed(), "x").public.startswith("U")
    (tmp_path / "c.creds").write_text(
        "-----BEGIN NATS USER JWT-----\nabc.def\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n")
    assert read_credentials(tmp_path / "c.creds") == ("abc.def", key)


@pytest.mark.parametrize("seed", ["", "hunter2", SEED[:-1] + "A", SEED[:-8], PUBLIC, "SU" + "A" * 56, "\u00b2" * 58])
def test_what_is_no_seed_is_said_without_saying_it(tmp_path, seed):
    with pytest.raises(FabricError) as raised:
        key_of(seed, "where")
    assert raised.value.code is Code.NO_SECRET and (not seed or seed not in str(raised.value))
    (tmp_path / "c.creds").write_bytes(seed.encode("utf-16"))
    with pytest.raises(FabricError):
        read_credentials(tmp_path / "c.creds")


@given(st.text() | st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567=", min_size=50, max_size=64))
def test_whatever_is_read_as_a_seed_is_one_or_an_error(text):
    with suppress(FabricError):
        key_of(text, "where")


# -- what is declared -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "key"), [
    ({"servers": "127.0.0.1"}, "servers"), ({"servers": "nats://u:p@127.0.0.1:4222"}, "servers"),
    ({"servers": "nats://nats.example:4222"}, "servers"), ({"servers": []}, "servers"), ({"stream": "a.b"}, "stream"),
    ({"subject": "a.>"}, "subject"), ({"subject": "a b"}, "subject"), ({"subject": "$SYS.{topic}"}, "subject"),
    ({"subject": "a-{topic}"}, "subject"), ({"subject": "{topic}.{topic}"}, "subject"), ({"token": "s3cret"}, "token"),
    ({"user": "a"}, "password"), ({"password": {"env": "P"}}, "user"), ({"duplicate_window": "1h"}, "duplicate_window"),
    ({"token": {"env": "T"}, "nkey": {"env": "N"}}, "nkey"),
])
def test_faults_of_a_declaration(more, key):
    assert read(**more)[1].keys() == {key}


def test_a_subject_follows_from_the_topic():
    assert name_for("fabric.{topic}.in", "a.b") == "fabric.a.b.in" and name_for("all", "a.b") == "all"
    assert pattern_of("fabric.{topic}.in") == "fabric.>" and pattern_of("{topic}") == ">" and pattern_of("all") == "all"
    assert not read(subject="{topic}")[1] and not read(servers=["tls://nats.example:4222", "nats://[::1]:4222"])[1]


def test_what_it_lacks_is_named():
    need, *_ = SINK.needs(read()[0])
    assert (need.what, need.problem) == ("the package nats", "") and "message-fabric[nats]" in need.next_step
    assert replace(message(1)).id
