"""Reading over HTTP, on real sockets of this machine: who gets what, what is missing, and who is cut."""

import socket
import ssl
from contextlib import ExitStack, contextmanager, suppress

import pytest

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.tlp import Label
from relays.gateways.http import connections, feeding, ring, serving, streaming, streams
from tests.integration.harness import wait_for
from tests.unit.gateways.stream_support import Client, message
from tests.unit.gateways.test_http import JSON, TOKENS, A, B, certificate_in, faults_of, post, running

WIDE = {**TOKENS[0], "may": ["publish", "stream"]}
NARROW = {"name": "b", "secret": {"env": "HTTP_B"}, "may": "stream", "topics": ["detections.b.*", "detections.c"],
          "clearance": "green"}
AMBER = {"src": Label.AMBER, "n": Label.GREEN}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, reading(
        patch, tmp_path_factory.mktemp("http"), tokens=[WIDE, NARROW], connections=256
    ) as (source, intake):
        intake.fed.tell(None)
        yield source, intake.fed


@contextmanager
def reading(monkeypatch, folder, **given):
    """A gateway with a feed that nothing came of yet."""
    with running(monkeypatch, folder, **{"tokens": [WIDE], **given}) as (source, intake):
        wait_for(lambda: intake.fed.tell, "its feed")
        yield source, intake


def readers(source):
    return post(source, None, {}, "/v1/health", "GET")[1]["readers"]


def until(client, name):
    """Past the next event of this name, which is returned."""
    while (event := client.next()) is not None and event.name != name:
        assert event.name != "message", event
    return event


def test_a_reader_gets_what_comes_from_now_on_as_subscribe_prints_it(gateway):
    source, fed = gateway
    assert fed.topics == ("detections.>",)
    fed.put(message(1))
    with Client(source.address, A) as client:
        assert (client.status, client.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert client.headers["cache-control"] == "no-store" and "content-length" not in client.headers
        ugly = message(2, content={"n": 2, "text": "a\r\n\ndata: {}\0\u2028\U0001f600", "raw": b"\xff"})
        fed.put(ugly)
        event = client.next()
        assert event.name == "message" and client.retry == "2000"
        assert event.data == {**ugly.to_json(), "content": {**ugly.content, "raw": {"base64": "/w=="}}}


def test_it_gets_what_its_token_s_topics_and_its_query_both_say(gateway):
    source, fed = gateway
    query = "?topic=detections.b.x&topic=detections.c"
    with Client(source.address, B) as all_, Client(source.address, B, query) as two:
        fed.put(*[message(n, topic) for n, topic in enumerate((
            "detections.a", "detections.b.x", "detections.b.y", "detections.b.x.z", "detections.c", "detections.c.x",
        ))])
        assert all_.numbers(3) == [1, 2, 4] and two.numbers(2) == [1, 4]
        assert [int(each.last_id.rpartition("-")[2]) for each in (all_, two)] == [5, 5], "after gap and back"


@pytest.mark.parametrize(("query", "status", "said"), [
    ("?topic=detections.b.>", 403, "covers detections.b.>"), ("?topic=detections.%3e", 403, "covers"),
    ("?topic=detections.c&topic=intel.x", 403, "intel.x"), ("?topic=detections.%00c", 400, "not allowed"),
    ("?topic=detections.c%0d%0aX:%20y", 400, "not allowed"), ("?topic=", 400, "empty token"),
    ("?x=1", 400, "parameters"), ("?topic=" + "a" * 300, 400, "256"),
    ("?last_event_id=a&last_event_id=b", 400, "twice"),
    ("?topic=detections/c", 400, "not allowed"),
])
def test_what_it_may_not_read_or_is_no_topic_is_said(gateway, query, status, said):
    source, _ = gateway
    with Client(source.address, B, query) as client:
        assert client.status == status and said in client.problem()["detail"]


def test_who_has_no_token_or_one_that_may_not_reads_nothing(monkeypatch, tmp_path):
    with running(monkeypatch, tmp_path) as (source, intake):
        for headers, status in (({}, 401), (B, 403), ({"Authorization": "Bearer x"}, 401)):
            with Client(source.address, headers) as client:
                assert client.status == status and client.problem()["next"]
        assert intake.fed.tell is None, "nothing is subscribed to for nobody"
        assert post(source, None, {}, "/v1/health", "GET")[1] == {"status": "ok"}


def test_a_token_whose_secret_is_changed_or_taken_away_reads_and_posts_no_more(monkeypatch, tmp_path):
    monkeypatch.setattr(serving, "_SECRETS_S", 0.0)
    file, secrets = tmp_path / "a.token", ["first-secret-of-a-desk", "second-secret-of-a-desk"]

    def write(secret):  # at once: nobody reads half of it
        (tmp_path / "new").write_text(secret)
        (tmp_path / "new").replace(file)

    write(secrets[0])
    first, second = ({"Authorization": f"Bearer {secret}"} for secret in secrets)
    of_file = {**WIDE, "secret": {"file": str(file)}}
    with reading(monkeypatch, tmp_path, tokens=[of_file, NARROW]) as (source, intake):
        intake.fed.tell(None)
        with Client(source.address, first) as ours, Client(source.address, B) as others:
            write(secrets[1])
            while ours.next() is not None:
                pass
            assert post(source, b"{}", {**first, **JSON})[0].status == 401
            assert post(source, b"{}", {**second, **JSON})[0].status == 202
            file.unlink()
            wait_for(lambda: post(source, b"{}", {**second, **JSON})[0].status == 401, "nobody has it")
            write(secrets[0])
            wait_for(lambda: post(source, b"{}", {**first, **JSON})[0].status == 202, "it is there again")
            intake.fed.put(message(1, "detections.c"))
            assert others.numbers(1) == [1], "another token reads on"
        assert [words.split(": ")[1] for words in intake.notes if words.startswith("token a: ")] == [
            "it has another secret", "nobody has it any more", "it has another secret"]
        assert not any(secret in words for words in intake.notes for secret in secrets)


def test_a_token_that_may_only_read_publishes_nothing(gateway):
    source, _ = gateway
    assert post(source, b"{}", {**B, **JSON}, "/v1/events?topic=detections.c")[0].status == 403


def test_a_token_cleared_for_less_sees_no_field_above_it_and_nothing_of_messages_above_it(gateway):
    source, fed = gateway
    with Client(source.address, A) as wide, Client(source.address, B) as narrow:
        first = message(0, "detections.c")
        fed.put(
            first, message(1, "detections.c", AMBER, content={"n": 1, "src": "10.1.0.7"}),
            message(2, "detections.c", label=Label.AMBER), message(3, "detections.c"),
        )
        assert wide.numbers(1) == [0] and narrow.numbers(1) == [0]
        before = int(narrow.last_id.rpartition("-")[2])
        seen = [wide.next().data for _ in range(2)]
        assert seen[0]["content"] == {"n": 1, "src": "10.1.0.7"} and seen[0]["highest_label"] == "amber"
        less = narrow.next().data
        assert (less["content"], less["labels"], less["withheld"], less["highest_label"]) == (
            {"n": 1}, {"n": "green"}, {"amber": 1}, "green")
        assert narrow.numbers(1) == [3]
        assert int(narrow.last_id.rpartition("-")[2]) == before + 2, "its numbers tell nothing of what is above it"


def test_who_comes_again_gets_exactly_what_it_missed(gateway):
    source, fed = gateway
    client = Client(source.address, B)
    fed.put(message(1, "detections.c"))
    assert client.numbers(1) == [1]
    client.socket.shutdown(socket.SHUT_RDWR)
    client.close()
    fed.put(*[message(n, "detections.c") for n in range(2, 40)], message(99))
    for given in ({"last": client.last_id}, {"query": f"?last_event_id={client.last_id}"}):
        with Client(source.address, B, **given) as again:
            assert again.numbers(38) == list(range(2, 40))


@pytest.mark.parametrize("made_up", [
    lambda id_: id_.rpartition("-")[0] + "-999999", lambda id_: "0" * 16 + "-1", lambda id_: "x",
    lambda id_: "\xe9" * 9_000,
])
def test_an_id_that_is_not_known_here_is_a_gap_of_nobody_knows_how_much_and_then_all_that_is_held(gateway, made_up):
    source, fed = gateway
    with Client(source.address, B) as client:
        fed.put(message(1, "detections.c"), message(2, "detections.c"))
        assert client.numbers(2) == [1, 2]
        with Client(source.address, B, last=made_up(client.last_id)) as again:
            gap = again.next()
            assert (gap.name, gap.data["missed"]) == ("gap", None)
            while again.last_id != client.last_id:
                event = again.next()
            assert event.data["content"] == {"n": 2}
            fed.put(message(3, "detections.c"))
            assert again.numbers(1) == [3]
        with Client(source.address, A, last=client.last_id) as other:
            assert other.next().data["missed"] is None, "an id of one token says nothing to another"


def test_the_id_of_a_reader_goes_on_where_there_is_nothing_for_it(monkeypatch, tmp_path):
    monkeypatch.setattr(streaming, "_ALIVE_S", 0.05)
    with reading(monkeypatch, tmp_path) as (source, intake), Client(
        source.address, A, "?topic=detections.c"
    ) as client:
        intake.fed.tell(None)
        assert until(client, "back").data == {}
        before = client.last_id
        intake.fed.put(message(1), message(2))
        for _ in range(200):
            client.comment()
            if client.last_id.endswith("-4"):
                break
        assert client.last_id.rpartition("-")[2] == "4" and before.rpartition("-")[2] == "2"


def test_what_left_the_ring_before_it_was_read_is_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(ring.Ring.__init__, "__defaults__", (10, 1 << 20))
    with reading(monkeypatch, tmp_path) as (source, intake):
        client = Client(source.address, A)
        intake.fed.put(message(0))
        assert until_message(client) == 0
        client.close()
        intake.fed.put(*[message(n) for n in range(1, 31)])
        with Client(source.address, A, last=client.last_id) as again:
            gap = until(again, "gap")
            assert gap.data == {"missed": 20, "why": "more came than is kept"}
            with Client(source.address, A, last=gap.id) as third:
                assert again.numbers(10) == until_messages(third, 10) == list(range(21, 31))


def until_message(client):
    while (event := client.next()).name != "message":
        pass
    return event.data["content"]["n"]


def until_messages(client, count):
    return [until_message(client) for _ in range(count)]


def test_what_expired_while_it_was_kept_is_not_given_out_and_counted(gateway):
    source, fed = gateway
    with Client(source.address, B) as client:
        fed.put(message(1, "detections.c"))
        assert client.numbers(1) == [1]
    fed.put(
        message(2, "detections.c", ttl_ms=0), message(3, "detections.b.x", ttl_ms=0), message(4, "detections.c"),
        message(5, "detections.c", ttl_ms=0), message(6, "detections.b.x"),
    )
    with Client(source.address, B, last=client.last_id) as again:
        gap, four, other, six = [again.next() for _ in range(4)]
        assert (gap.name, gap.data["missed"], gap.data["why"][:4]) == ("gap", 2, "E501")
        assert (four.data["content"]["n"], other.data["missed"], six.data["content"]["n"]) == (4, 1, 6)
    with Client(source.address, B, "?topic=detections.c", last=four.id) as again:
        last = again.next()
        assert (last.name, last.data["missed"]) == ("gap", 1)
        fed.put(message(7, "detections.c"))
        assert again.numbers(1) == [7]
    with Client(source.address, B, last=last.id) as again:
        assert again.numbers(1) == [7], "the gap was told"


def test_that_its_relay_is_away_is_told_in_its_place_and_once(monkeypatch, tmp_path):
    monkeypatch.setattr(feeding, "_FIRST_S", 0.01)
    with reading(monkeypatch, tmp_path) as (source, intake):
        fed = intake.fed
        with Client(source.address, A) as client:
            assert client.next()[:2] == ("away", {
                "code": "E901", "cause": Code.UNREACHABLE.cause, "detail": "no relay has the subscription yet",
                "next": Code.UNREACHABLE.next_step})
            assert post(source, None, {}, "/v1/health", "GET")[1] == {"status": "ok", "readers": 1, "stream": "away"}
            fed.tell(None)
            assert client.next().data["missed"] is None and client.next().name == "back"
            fed.put(message(1))
            assert client.numbers(1) == [1]
            last = client.last_id
            fed.tell(FabricError(Code.CLOSED, "gone"))
            fed.tell(FabricError(Code.CLOSED, "gone"))
            fed.tell(None)
            fed.put(message(2))
            wanted = ["away", "gap", "back", "message"]
            assert [client.next().name for _ in wanted] == wanted
            with Client(source.address, A, last=last) as again:
                assert [again.next().name for _ in wanted] == wanted
            fed.fail(FabricError(Code.TOO_MANY_SESSIONS, "16"))
            assert client.next().data["code"] == Code.TOO_MANY_SESSIONS.label
            wait_for(lambda: fed.begun > 1, "another try")
            fed.fail(ValueError("a fault of ours"))
            event = client.next()
            assert event.data["code"] == Code.SOURCE_FAILED.label and "ValueError" in event.data["detail"]
            assert "a fault of ours" not in str(event)
            assert post(source, b"{}", {**A, **JSON})[0].status == 202, "what is posted goes on"
            assert fed.reads[-1][0] == 1 and fed.reads[-1][1].code is Code.SOURCE_FAILED
            assert any("E224" in note for note in intake.notes)


def test_at_its_end_each_has_what_there_is_and_is_told(monkeypatch, tmp_path):
    with reading(monkeypatch, tmp_path) as (source, intake):
        clients = [Client(source.address, A), Client(source.address, A, version="1.0")]
        intake.fed.put(message(1))
    for client in clients:
        assert until_message(client) == 1
        assert client.next().name == "end" and client.next() is None
        client.close()
    assert intake.fed.reads[-1][0] == 0


@pytest.mark.parametrize(("version", "method"), [("1.0", "GET"), ("1.1", "HEAD"), ("1.0", "HEAD"), ("1.1", "POST")])
def test_other_versions_and_methods(gateway, version, method):
    source, fed = gateway
    with Client(source.address, B, version=version, method=method) as client:
        if method == "POST":
            assert (client.status, set(client.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
            return
        assert client.status == 200
        if method == "HEAD":
            if version == "1.1":
                client.socket.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.file.readline() == (b"HTTP/1.1 200 OK\r\n" if version == "1.1" else b"")
            assert readers(source) == 0
            return
        assert "transfer-encoding" not in client.headers
        fed.put(message(5, "detections.c"))
        assert client.numbers(1) == [5]


def test_what_is_asked_behind_a_stream_waits_and_costs_nothing(gateway):
    source, fed = gateway
    with Client(source.address, B) as client:
        client.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            while True:
                client.socket.sendall(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n" * 1_000)
        client.socket.settimeout(20)
        fed.put(message(5, "detections.c"))
        assert client.numbers(1) == [5]

    def its_place_is_free():
        fed.put(message(6, "detections.c"))  # that it left shows when it is written to
        return not readers(source)

    wait_for(its_place_is_free, "its place")


def test_two_hundred_read_and_each_has_all_and_no_more_may_than_there_is_room_for(monkeypatch, tmp_path):
    monkeypatch.setattr(streams, "READERS_MAX", 200)
    monkeypatch.setattr(streams, "TOKEN_MAX", 100)
    with reading(monkeypatch, tmp_path, tokens=[WIDE, {**NARROW, "topics": ["detections.>"]}], connections=300) as (
        source, intake
    ), ExitStack() as open_:
        clients = [open_.enter_context(Client(source.address, (A, B)[n % 2])) for n in range(200)]
        for headers in (A, B):
            with Client(source.address, headers) as one_more:
                assert (one_more.status, one_more.problem()["code"]) == (503, Code.HTTP_BUSY.label)
                assert one_more.headers["retry-after"]
        intake.fed.put(*[message(n) for n in range(50)])
        for client in clients:
            assert until_messages(client, 50) == list(range(50))
        assert post(source, b"{}", {**A, **JSON})[0].status == 202
        for client in clients[:2]:
            client.close()
        wait_for(lambda: intake.fed.reads[-1][0] == 198, "their places")
        for headers in (A, B):
            assert open_.enter_context(Client(source.address, headers)).status == 200


@pytest.mark.parametrize("is_tls", [False, True])
def test_one_that_reads_a_byte_a_second_is_cut_and_holds_up_nobody(monkeypatch, tmp_path, is_tls):
    monkeypatch.setattr(connections, "_READ_S", 2.0)
    certificate, key = certificate_in(tmp_path)
    tls = ssl.create_default_context(cafile=str(certificate)) if is_tls else None
    given = {"certificate": str(certificate), "key": str(key)} if is_tls else {}
    with reading(monkeypatch, tmp_path, **given) as (source, intake):
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        slow.connect(source.address)
        slow = slow if tls is None else tls.wrap_socket(slow, server_hostname=source.address[0])
        slow.sendall(f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {A['Authorization']}\r\n\r\n".encode())
        with Client(source.address, A, tls=tls) as other:
            wait_for(lambda: intake.fed.reads[-1][0] == 2, "both")
            text = "x" * 50_000
            for n in range(40):
                intake.fed.put(message(n, content={"n": n, "text": text}))
            assert until_messages(other, 40) == list(range(40))

            def a_byte_now_and_then():
                with suppress(OSError):
                    slow.recv(1)
                return intake.fed.reads[-1][0] == 1

            wait_for(a_byte_now_and_then, "its end")
            intake.fed.put(message(40))
            assert other.numbers(1) == [40]
        slow.close()


def test_an_id_of_a_megabyte_is_no_request(gateway):
    source, _ = gateway
    with socket.create_connection(source.address, 20) as peer, suppress(OSError):
        head = f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {A['Authorization']}\r\nLast-Event-ID: "
        peer.sendall(head.encode() + b"1" * (1 << 20) + b"\r\n\r\n")
        answer = b""
        while part := peer.recv(65_536):
            answer += part
        assert answer.startswith(b"HTTP/1.1 400")
    assert post(source, b"{}", {**A, **JSON})[0].status == 202


def test_one_that_leaves_before_it_had_anything_leaves_its_place(gateway):
    source, fed = gateway
    head = f"GET /v1/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {A['Authorization']}\r\n\r\n".encode()
    for _ in range(20):
        with socket.create_connection(source.address, 5) as peer:
            peer.sendall(head)
    wait_for(lambda: not readers(source), "no reader")


def test_a_message_that_no_json_can_hold_is_told_as_missing(monkeypatch, gateway):
    source, fed = gateway
    deep = []
    for _ in range(5_000):
        deep = [deep]
    with Client(source.address, A) as client:
        fed.put(message(7, content={"n": deep}))
        gap = client.next()
        assert gap.name == "gap" and gap.data["missed"] == 1 and f"{7:032x}.0" in gap.data["why"]


@pytest.mark.parametrize(("change", "code"), [
    ({"topics": ["intel.>"]}, Code.HTTP_TOKEN), ({"clearance": "red"}, Code.HTTP_TOKEN),
])
def test_a_token_that_would_read_more_than_its_gateway_ends_the_source(monkeypatch, tmp_path, change, code):
    with pytest.raises(AssertionError) as raised, running(monkeypatch, tmp_path, tokens=[{**NARROW, **change}]):
        pass
    assert code.label in str(raised.value) or "HTTP_TOKEN" in str(raised.value)


@pytest.mark.parametrize(("token", "key"), [
    ({**NARROW, "topics": []}, "topics"), ({**NARROW, "clearance": "blue"}, "clearance"),
    ({**TOKENS[0], "clearance": "green"}, "clearance"), ({**NARROW, "may": "read"}, "may"),
    ({**NARROW, "topics": [f"detections.{n}" for n in range(65)]}, ""),
])
def test_every_fault_of_a_token_that_reads_has_its_key(token, key):
    found = [name for name, _ in faults_of(tokens=[token])[0]]
    assert (f"tokens.1.{key}" if key else "tokens") in found
