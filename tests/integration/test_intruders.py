"""Attacks on a running relay: each is refused with its number and counted, and disturbs nobody."""

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import msgpack
import pytest
import zmq

from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import FRAME_BYTES_MAX
from fabric.protocol.base.signing import TYPE_ROOT, Signer
from fabric.protocol.envelope.header import Kind, encode_header
from fabric.protocol.envelope.layout import decode_envelope, encode_envelope, leaf_of
from fabric.protocol.trust.directory import issue_directory
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Ack, Data, Direction, Directory, Intro, Lists, Ping, Role, Routes
from fabric.transport.keys import random_keys
from relays.authority import open_authority
from relays.demo.intruders import reissued
from tests.integration.harness import House, wait_for
from tests.integration.intruder import Intruder, envelope, header_of, now_ms

RELAY, GUEST = "mid", "guest-m"


@pytest.fixture
def guest(house: House):
    return house.identity(GUEST)


@pytest.fixture
def authority(house: House) -> Signer:
    return open_authority(house.fabric, house.home).signer


@pytest.fixture(scope="module")
def refusals(shared_house: House) -> Iterator[Counter[str]]:
    """What the tests saw refused; in the end the relay must have counted as many, and nobody else was disturbed."""
    shared_house.wait_whole()
    pid = shared_house.pid(RELAY)
    before = Counter(shared_house.fresh_state(RELAY)["counters"])
    seen: Counter[str] = Counter()
    yield seen
    after = Counter(shared_house.fresh_state(RELAY)["counters"])
    counted = {key: after[key] - before[key] for key in seen}
    assert all(counted[key] >= seen[key] for key in seen), (counted, seen)
    assert shared_house.pid(RELAY) == pid, "the relay was restarted"
    shared_house.cli("publish", "detections.fine", "--as", "sensor-m", "--json", '{"a": 1}').expect(0)
    shared_house.assert_logs_clean("intruder-content")


@pytest.fixture
def refused(refusals: Counter[str]) -> Callable[[Code], None]:
    return lambda code: refusals.update([f"refused:{code.reason}"])


# -- at the door ----------------------------------------------------------------------------------------------

OTHER = Signer(os.urandom(32))


def with_unknown_key(guest, authority):
    return Intruder(guest, random_keys(os.urandom(32))), {}


def with_foreign_credential(guest, authority):
    return Intruder(reissued_by_stranger(guest)), {}


def reissued_by_stranger(guest):
    return reissued(replace(guest, authority_key=OTHER.public), OTHER)


def with_expired_credential(guest, authority):
    return Intruder(reissued(guest, authority, not_before_ms=0, not_after_ms=now_ms() - 60_000)), {}


def with_credential_of_tomorrow(guest, authority):
    return Intruder(reissued(guest, authority, not_before_ms=now_ms() + 60_000)), {}


def with_garbage_as_credential(guest, authority):
    return Intruder(guest), {"credential": b"\x93\x01\x02\x03"}


def from_another_fabric(guest, authority):
    return Intruder(guest), {"fabric": "elsewhere"}


def as_a_relay(guest, authority):
    return Intruder(guest), {"role": Role.CHILD}


def as_the_parent(guest, authority):
    return Intruder(guest), {"role": Role.PARENT}


def from_the_future(guest, authority):
    return Intruder(guest), {"version_min": 7, "version_max": 9}


@pytest.mark.parametrize(
    ("come", "code"),
    [
        (with_unknown_key, Code.WRONG_KEY), (with_foreign_credential, Code.BAD_CREDENTIAL),
        (with_expired_credential, Code.CREDENTIAL_EXPIRED), (with_credential_of_tomorrow, Code.CREDENTIAL_EXPIRED),
        (with_garbage_as_credential, Code.MALFORMED), (from_another_fabric, Code.WRONG_FABRIC),
        (as_a_relay, Code.WRONG_ROLE), (as_the_parent, Code.WRONG_ROLE), (from_the_future, Code.UNKNOWN_VERSION),
    ],
)
def test_who_is_not_let_in(house, guest, authority, come, code, refused):
    intruder, said = come(guest, authority)
    with intruder:
        intruder.say(intruder.hello(**said))
        assert intruder.answer() is code
        assert intruder.hear() == "cut"
    refused(code)


def test_a_relay_that_is_not_the_parent_may_not_command(house, authority):
    low = house.identity("low")
    with Intruder(low) as intruder:  # low dials mid, and says that it is mid's parent
        intruder.say(intruder.hello(role=Role.PARENT))
        assert intruder.answer() is Code.WRONG_PEER


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (encode_frame(Ping(1)), Code.NOT_READY),
        (encode_frame(Data(4, 1, [])), Code.NOT_READY),  # type: ignore[arg-type]
        (msgpack.packb([99]), Code.UNKNOWN_FRAME),
        (b"\x91" * 200 + b"\x00", Code.TOO_DEEP),
        (b"\xdd\xff\xff\xff\xff", Code.TOO_LARGE),
        (b"", Code.MALFORMED),
        (os.urandom(200), Code.MALFORMED),
        (msgpack.packb([1, b"x" * 20_000]), Code.TOO_LARGE),
    ],
    ids=["PING first", "DATA first", "unknown frame", "200 levels", "huge array", "nothing", "noise", "long HELLO"],
)
def test_what_a_stranger_may_not_say_before_hello(house, guest, said, code):
    with Intruder(guest) as intruder:
        intruder.say(said)
        assert intruder.answer() in ({code, Code.UNKNOWN_FRAME, Code.TOO_DEEP, Code.TOO_LARGE} if len(said) == 200
                                     else {code})
        assert intruder.hear() == "cut"


@pytest.mark.parametrize("mechanism", ["NULL", "PLAIN"])
def test_without_curve_nobody_is_heard(house, guest, mechanism):
    context = zmq.Context()
    try:
        dealer = context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        if mechanism == "PLAIN":
            dealer.setsockopt(zmq.PLAIN_USERNAME, b"admin")
            dealer.setsockopt(zmq.PLAIN_PASSWORD, b"admin")
        monitor = dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
                                            | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_DISCONNECTED)
        dealer.connect(f"tcp://{guest.relay.address}")
        assert monitor.poll(8_000)
        event = int.from_bytes(monitor.recv_multipart()[0][:2], "little")
        assert event != zmq.EVENT_HANDSHAKE_SUCCEEDED
    finally:
        context.destroy(linger=0)


def test_noise_on_the_port(house, guest):
    host, port = guest.relay.address.rsplit(":", 1)
    for noise in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\xff" * 64, b""):
        with socket.create_connection((host, int(port)), timeout=5) as plain:
            plain.sendall(noise)


# -- inside ---------------------------------------------------------------------------------------------------


def altered_header(guest):
    raw = envelope(guest)
    opened = decode_envelope(raw)
    return encode_envelope(opened._replace(header=opened.header.replace(b"intruder", b"innocent")))


def forged_signature(guest):
    opened = decode_envelope(envelope(guest))
    return encode_envelope(opened._replace(signature=os.urandom(64)))


def altered_part(guest):
    opened = decode_envelope(envelope(guest))
    return encode_envelope(opened._replace(parts=(opened.parts[0][:-1] + b"?",)))


def wrong_digest(guest):
    header, parts = header_of(guest, {"a": 1})
    wrong = replace(header, manifest=(header.manifest[0]._replace(digest=os.urandom(32)),))
    return signed(guest, encode_header(wrong), parts)


def missing_part_entry(guest):
    opened = decode_envelope(envelope(guest))
    return encode_envelope(opened._replace(parts=()))


def signed(guest, header, parts):
    signature = guest.signer.sign(TYPE_ROOT, leaf_of(header))
    opened = decode_envelope(envelope(guest))
    return encode_envelope(opened._replace(header=header, signature=signature, parts=tuple(parts)))


def topic_of_64_kib(guest):
    return envelope(guest, topic="a" * 65_536)


def topic_that_is_a_pattern(guest):
    return envelope(guest, topic="detections.>")


def unknown_signer(guest):
    opened = decode_envelope(envelope(guest))
    return encode_envelope(opened._replace(signer=os.urandom(16)))


def unknown_kind(guest):
    header, parts = header_of(guest, {"a": 1})
    array = msgpack.unpackb(encode_header(header))
    array[1] = 77
    return signed(guest, msgpack.packb(array), parts)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (altered_header, Code.BAD_SIGNATURE), (forged_signature, Code.BAD_SIGNATURE), (altered_part, Code.BAD_DIGEST),
        (wrong_digest, Code.BAD_DIGEST), (missing_part_entry, Code.BAD_MANIFEST), (unknown_kind, Code.UNKNOWN_KIND),
        (topic_that_is_a_pattern, Code.BAD_TOPIC), (unknown_signer, Code.UNKNOWN_SIGNER),
        (lambda g: envelope(g, topic="intel.ipv4", kind=Kind.INTEL), Code.PUBLISH_DENIED),
        (lambda g: envelope(g, topic="secrets.x"), Code.PUBLISH_DENIED),
        (lambda g: envelope(g, severity=Severity.FATAL), Code.SEVERITY_DENIED),
        (lambda g: envelope(g, kind=Kind.ACTION, topic="deny.ipv4_net", to="all"), Code.REQUEST_DENIED),
        (lambda g: envelope(g, kind=Kind.RESULT, topic="deny.ipv4_net", to="soar-hq"), Code.EXECUTE_DENIED),
        (lambda g: envelope(g, issued_at_ms=now_ms() + 120_000), Code.FROM_FUTURE),
        (lambda g: envelope(g, issued_at_ms=now_ms() - 600_000), Code.EXPIRED),
        (lambda g: envelope(g, ttl_ms=10**12), Code.TTL_TOO_LONG),
        (lambda g: envelope(g, origin="sensor-m"), Code.BAD_SIGNATURE),
    ],
    ids=lambda value: value.reason if isinstance(value, Code) else "",
)
def test_what_a_member_may_not_send(house, guest, make, code, refused):
    with Intruder(guest) as intruder:
        intruder.enter()
        assert intruder.offer(make(guest)) is code
        # The link lives: an honest message passes after it.
        assert intruder.offer(envelope(guest)) is None
    refused(code)


@pytest.mark.parametrize(
    ("say", "code"),
    [
        (lambda i, g: i.offer(topic_of_64_kib(g)), Code.MALFORMED),
        (lambda i, g: i.offer(b"\x91" * 200 + b"\x00"), Code.TOO_DEEP),
        (lambda i, g: i.offer(os.urandom(50)), Code.MALFORMED),
        (lambda i, g: (i.say(msgpack.packb([99])), i.answer())[1], Code.UNKNOWN_FRAME),
        (lambda i, g: (i.say(msgpack.packb([5, 9, 0, []])), i.answer())[1], Code.MALFORMED),
        (lambda i, g: (i.say(Lists(issue_revocations(g.fabric, 99, 0, 0, [], g.signer))), i.answer())[1],
         Code.STALE_LIST),
        (lambda i, g: (i.say(Directory(issue_directory(g.fabric, 2**40, 0, 2**50, [], g.signer))), i.answer())[1],
         Code.WRONG_DIRECTION),
    ],
    ids=["64 KiB topic", "deep envelope", "noise", "unknown frame", "lane 9", "a list of its own",
         "a directory from below"],
)
def test_what_ends_the_link(house, guest, say, code, refused):
    with Intruder(guest) as intruder:
        intruder.enter()
        answered = say(intruder, guest)
        assert answered is code or (code is Code.MALFORMED and answered in (Code.TOO_LARGE, Code.TOO_DEEP))
        assert intruder.hear() == "cut"
    refused(answered)


@pytest.mark.parametrize("kind", [Kind.EVENT, Kind.ACTION, Kind.INTEL, Kind.RESULT])
def test_nothing_descends_from_below(house, guest, kind, refused):
    topic = {Kind.EVENT: "detections.x", Kind.INTEL: "intel.x"}.get(kind, "deny.ipv4_net")
    with Intruder(guest) as intruder:
        intruder.enter()
        assert intruder.offer(envelope(guest, kind=kind, topic=topic, to="all"), Direction.DOWN) is Code.WRONG_DIRECTION
    refused(Code.WRONG_DIRECTION)


def test_nobody_sends_for_another(house, guest):
    """A member's own link, and a message that somebody else signed."""
    other = house.identity("sensor-m")
    with Intruder(guest) as intruder:
        intruder.enter()
        intruder.say(Intro([other.credential.raw]))
        assert intruder.offer(envelope(other)) is Code.WRONG_PEER


def test_a_route_that_its_node_did_not_sign(house, guest):
    with Intruder(guest) as intruder:
        intruder.enter()
        before = house.fresh_state(RELAY)["routes"]
        intruder.say(Routes(1, True, [os.urandom(100)], []))
        assert house.fresh_state(RELAY)["routes"] <= before


def test_multipart_and_oversized_frames(house, guest):
    with Intruder(guest) as intruder:
        intruder.enter()
        intruder.say_parts(*[b"x"] * 50)
        assert intruder.offer(envelope(guest)) is None, "an endless multipart is not listened to"
    with Intruder(guest) as intruder:
        intruder.enter()
        intruder.say(bytes(FRAME_BYTES_MAX + 1))
        assert intruder.hear() == "cut"


def test_who_says_nothing_and_who_comes_too_often(house, guest):
    with ExitStack() as stack:
        silent = stack.enter_context(Intruder(guest))
        crowd = [stack.enter_context(Intruder(guest)) for _ in range(70)]
        answers = []
        for intruder in crowd:
            intruder.say(intruder.hello())
            answers.append(intruder.answer())
        assert answers.count("welcome") == 64 and answers.count(Code.BUSY) == 6
        assert silent.hear() == "cut"


def test_a_replay_is_held_once(house, guest):
    raw = envelope(guest, topic="detections.replayed")
    reader = house.start("subscribe", "detections.replayed", "--as", "analyst-m", "--json", "--count", "2",
                         "--timeout", "4s")
    reader.wait_line('"subscribed"')
    for _ in range(2):
        with Intruder(guest) as intruder:
            intruder.enter()
            assert intruder.offer(raw) is None
            intruder.say(Ack([os.urandom(16)]))
    assert len(reader.wait().expect(6).lines) == 1


def test_who_is_revoked_is_cut_and_stays_out(house):
    """It is nobody whom another test misses."""
    extra = house.identity("guest-p")
    with Intruder(extra) as intruder:
        intruder.enter()
        house.cli("revoke", "guest-p", "--fabric", house.fabric).expect(0)
        assert intruder.answer() is Code.REVOKED
        assert intruder.hear() == "cut"
    with Intruder(extra) as intruder:
        intruder.say(intruder.hello())
        assert intruder.answer() is Code.REVOKED
    for relay in house.relays:
        wait_for(lambda relay=relay: house.state(relay)["revocations"] >= 1, f"the list at {relay}")
