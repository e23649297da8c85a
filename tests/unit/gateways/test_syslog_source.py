"""The source on real sockets of this machine, with an intake that remembers."""

import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.deadletter.store import LETTERS_MAX
from relays.gateways.kinds import Taken
from relays.gateways.options import Options
from relays.gateways.syslog import peers as peers_module
from relays.gateways.syslog.batches import HIGH_BYTES, HIGH_MESSAGES, Batch, Batches
from relays.gateways.syslog.counts import Counts
from relays.gateways.syslog.framing import MESSAGE_MAX, Frame
from relays.gateways.syslog.listening import Listening
from relays.gateways.syslog.peers import Peers, host_of
from relays.gateways.syslog.settings import needs_of, read_settings
from relays.gateways.syslog.source import SOURCE, SyslogSource
from relays.reading.records import fault_of
from tests.integration.harness import wait_for
from tests.unit.gateways.support import at_work


def settings_of(**given):
    options = Options(given)
    settings = read_settings(options)
    assert not options.faults, options.faults
    return settings


class Remembering:
    """An intake. `gate`: nothing is taken while it is clear."""

    def __init__(self):
        self.records, self.rejected, self.notes, self.gone = [], [], [], []
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def take(self, record, *, where, severity, checked):
        assert checked and not fault_of(record) and (severity is None or severity.name.lower() == record["severity"])
        self.gate.wait()
        if self.closed:
            raise FabricError(Code.CLOSED)
        self.records.append({**record, "where": where})
        return Future()

    def take_many(self, given):
        taken = 0
        for each in given:
            try:
                self.take(each.record, where=each.where, severity=each.severity, checked=each.checked)
            except FabricError:
                if not taken:
                    raise
                break
            taken += 1
        return Taken(taken, Future())

    def reject(self, record, error, where, by=""):
        assert by and f" {by}:" in where
        self.rejected.append((record, error.code, where))

    def waits(self, why):
        self.state = why

    def note(self, words):
        self.notes.append(words)

    def lost(self, error):
        self.gone.append(error)

    @property
    def messages(self):
        return [record.get("message") for record in self.records]


@contextmanager
def running(**given):
    """A source that runs: it, its intake, and what stops it."""
    source, intake = SyslogSource(settings_of(**given)), Remembering()
    listens = lambda: source.listening is not None and source.listening._begun.done()  # noqa: E731
    with at_work(source, intake, listens, intake.gate.set) as end:
        yield source, intake, end


def port_of(source, at=0):
    return source.listening.bound[at].port


def connected(source):
    return socket.create_connection(("127.0.0.1", port_of(source)), 5)


def sent_tcp(port, data, close=True):
    sender = socket.create_connection(("127.0.0.1", port), 5)
    sender.sendall(data)
    if close:
        sender.close()
    return sender


def test_messages_of_udp_and_tcp_in_both_framings():
    with running(listen=["udp://127.0.0.1:0", "tcp://127.0.0.1:0", "tcp://[::1]:0"]) as (source, intake, end):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.sendto(b"<34>Oct 11 22:14:15 h su: one\n\0", ("127.0.0.1", port_of(source)))
        udp.sendto(b"\n", ("127.0.0.1", port_of(source)))
        wait_for(lambda: len(intake.records) == 1, "a datagram")
        assert {**intake.records[0], "time": ""} == {
            "format": "rfc3164", "priority": 34, "facility": "auth", "severity": "critical", "time": "", "host": "h",
            "app": "su", "message": "one", "peer": "127.0.0.1", "transport": "udp",
            "where": f"udp 127.0.0.1:{udp.getsockname()[1]}",
        }
        sent_tcp(port_of(source, 1), b"<13>1 - h a - - - two\n5 <13>x<13>unended")
        wait_for(lambda: len(intake.records) == 4, "a stream")
        assert intake.messages[1:] == ["two", "x", "unended"]
        with socket.create_connection(("::1", port_of(source, 2)), 5) as sender:
            sender.sendall(b"<13>six\n")
            wait_for(lambda: intake.messages[-1] == "six", "IPv6")
        assert intake.records[-1]["peer"] == "::1"
        udp.close()


def test_what_was_read_is_taken_when_it_is_to_stop_and_what_is_not_whole_is_marked():
    with running(listen="tcp://127.0.0.1:0") as (source, intake, end):
        sender = sent_tcp(port_of(source), b"<13>whole\n<13>half", close=False)
        wait_for(lambda: intake.messages == ["whole"], "the first")
        sender.sendall(b" of it\n<13>more")
        end()
        sender.close()
    assert intake.messages == ["whole", "half of it", "more"] and intake.records[-1]["flags"] == ["cut-off"]
    assert not intake.rejected and source.listening.peers.connections == 0


def test_a_sender_waits_while_nothing_is_taken_and_then_nothing_is_missing():
    line = b"<13>" + b"x" * 996 + b"\n"
    with running(listen="tcp://127.0.0.1:0") as (source, intake, end):
        intake.gate.clear()
        sender = sent_tcp(port_of(source), b"", close=False)
        sender.settimeout(0.3)
        sent, until_s = 0, time.monotonic() + 20
        try:
            while time.monotonic() < until_s:
                sent += sender.send(line * 64)
        except TimeoutError:
            pass
        waiting = min(HIGH_BYTES, HIGH_MESSAGES * len(line))
        assert waiting < sent < waiting + (16 << 20)  # what the kernel has besides
        intake.gate.set()
        wait_for(lambda: len(intake.records) >= sent // len(line), "all of it")
        sender.close()
    assert len(intake.records) in (sent // len(line), sent // len(line) + 1)


def test_what_is_not_taken_any_more_is_in_the_dead_letters():
    with running(listen="tcp://127.0.0.1:0") as (source, intake, end):
        intake.gate.clear()
        sent_tcp(port_of(source), b"<13>a\n<13>b\n")
        wait_for(lambda: not source.listening.streams and source.listening.batches._bytes, "both are read")
        intake.closed = True
        end()
    assert [(record["message"], record["peer"], code) for record, code, _ in intake.rejected] == [
        ("a", "127.0.0.1", Code.SYSLOG_STOPPED), ("b", "127.0.0.1", Code.SYSLOG_STOPPED),
    ]


def test_who_may_not_send_is_let_go_counted_and_told(monkeypatch):
    with running(listen=["tcp://127.0.0.1:0", "udp://127.0.0.1:0"], allow=["192.0.2.0/24"]) as (source, intake, end):
        for _ in range(3):
            sender = sent_tcp(port_of(source), b"", close=False)
            assert sender.recv(1) == b""
            sender.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(b"<13>x", ("127.0.0.1", port_of(source, 1)))
        end()
    assert intake.notes == ["E762 127.0.0.1: it is in no network of `allow` (4 times)"] and not intake.records


def test_connections_of_a_sender_are_bounded_and_one_that_is_silent_is_closed():
    with running(listen="tcp://127.0.0.1:0", connections=2, idle="1s") as (source, intake, end):
        held = [sent_tcp(port_of(source), b"<13>x\n", close=False) for _ in range(2)]
        wait_for(lambda: len(intake.records) == 2, "both")
        third = sent_tcp(port_of(source), b"", close=False)
        assert third.recv(1) == b""
        for sender in held:
            sender.settimeout(10)
            assert sender.recv(1) == b""
            sender.close()
        end()
        assert intake.notes == ["E762 127.0.0.1: it has 2 connections, and may have no more"]


def test_more_than_a_sender_may_waits_over_tcp_and_is_counted_over_udp():
    with running(listen=["tcp://127.0.0.1:0", "udp://127.0.0.1:0"], rate="1KB") as (source, intake, end):
        began_s = time.monotonic()
        sent_tcp(port_of(source), (b"<13>" + b"x" * 95 + b"\n") * 12, close=False)
        wait_for(lambda: len(intake.records) == 12, "what came at once")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            for _ in range(50):
                udp.sendto(b"<13>" + b"x" * 900, ("127.0.0.1", port_of(source, 1)))
        end()
        took = len(intake.records) - 12
        assert took <= 1 + (time.monotonic() - began_s)
        assert sum(int(error.detail.split()[0]) for error in intake.gone) + took == 50
        assert {error.code for error in intake.gone} == {Code.SYSLOG_LOST}


def test_a_message_without_end_is_cut_and_marked():
    with running(listen="tcp://127.0.0.1:0") as (source, intake, end):
        sent_tcp(port_of(source), b"<13>" + b"x" * (MESSAGE_MAX + 5_000) + b"\n<13>next\n")
        wait_for(lambda: len(intake.records) == 2, "both")
    assert intake.records[0]["flags"] == ["truncated"] and intake.messages[1] == "next"


# -- TLS --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, and what it issued for a server and a sender, as PEM files."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    for name in ("server", "sender"):
        openssl("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        issued = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
        openssl("x509", "-req", "-in", f"{name}.csr", *issued, "-out", f"{name}.pem")
    openssl("req", "-x509", *new_key, "-keyout", "host.key", "-out", "host.pem", "-subj", "/CN=host", "-days", "2",
            "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:false",
            "-CA", "ca.pem", "-CAkey", "ca.key")
    return folder


def sender_context(folder, name=""):
    context = ssl.create_default_context(cafile=folder / "ca.pem")
    context.check_hostname = False
    if name:
        context.load_cert_chain(folder / f"{name}.pem", folder / f"{name}.key")
    return context


def test_a_sender_with_a_certificate_over_tls_and_nobody_without(certificates):
    listening = {
        "listen": "tls://127.0.0.1:0", "certificate": str(certificates / "server.pem"),
        "key": str(certificates / "server.key"), "client_ca": str(certificates / "ca.pem"),
    }
    with running(**listening) as (source, intake, end):
        with sender_context(certificates, "sender").wrap_socket(connected(source)) as sender:
            sender.sendall(b"5 <13>a<13>b\n")
            wait_for(lambda: intake.messages == ["a", "b"], "both")
        assert intake.records[0]["peer_name"] == "sender" and intake.records[0]["transport"] == "tls"
        plain = connected(source)
        with suppress(OSError), sender_context(certificates).wrap_socket(plain) as sender:
            sender.sendall(b"<13>nobody\n")
            assert sender.recv(1) == b""
        plain.close()
        with connected(source) as plain:
            plain.sendall(b"<13>not TLS\n")
            assert plain.recv(100)[:1] in (b"", b"\x15")
        wait_for(lambda: not source.listening._opening, "both are let go")
        assert source.listening.peers.connections == 0
        end()
    assert intake.messages == ["a", "b"] and any("no TLS connection came about" in note for note in intake.notes)


def test_what_cannot_listen_says_so(certificates):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(FabricError, match="E760.*address already in use"):
            SyslogSource(settings_of(listen=[address])).run(Remembering(), threading.Event())
    broken = settings_of(listen="tls://127.0.0.1:0", certificate=str(certificates / "ca.key"), key="/nowhere.key")
    assert [need.what for need in needs_of(broken) if need.problem] == ["/nowhere.key"]
    for key in ("/nowhere.key", str(certificates / "server.key")):
        with pytest.raises(FabricError, match="E761"):
            wrong = settings_of(listen="tls://127.0.0.1:0", certificate=str(certificates / "ca.pem"), key=key)
            SyslogSource(wrong).run(Remembering(), threading.Event())


# -- what is declared ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "key", "write"), [
    ({}, "listen", 'write listen = ["udp://0.0.0.0:514"]'),
    ({"listen": "514"}, "listen", "write an IP address like"),
    ({"listen": "upd://127.0.0.1:514"}, "listen", "udp"),
    ({"listen": "udp://localhost:514"}, "listen", "write an IP address"),
    ({"listen": "udp://127.0.0.1:70000"}, "listen", "write an IP address"),
    ({"listen": ["udp://127.0.0.1:514", "udp://127.0.0.1:514"]}, "listen", "leave one of them out"),
    ({"listen": "udp://0.0.0.0:514"}, "allow", "with the networks of its senders"),
    ({"listen": "udp://127.0.0.1:514", "allow": ["192.0.2.0/33"]}, "allow", "192.0.2.0/24"),
    ({"listen": "tls://127.0.0.1:514"}, "certificate", "write certificate"),
    ({"listen": "tls://127.0.0.1:514", "certificate": "/c", "key": "k"}, "key", "whole path"),
    ({"listen": "tcp://127.0.0.1:514", "client_ca": "/c"}, "client_ca", "tls://127.0.0.1:6514"),
    ({"listen": "udp://127.0.0.1:514", "timezone": "Europe/Atlantis"}, "timezone", "UTC"),
    ({"listen": "udp://127.0.0.1:514", "timezone": "../../etc/passwd"}, "timezone", "UTC"),
    ({"listen": "udp://127.0.0.1:514", "rate": 5}, "rate", "64MB"),
])
def test_a_fault_of_a_declaration_says_what_to_write(given, key, write):
    options = Options(given)
    read_settings(options)
    fault = next(fault for fault in options.faults if fault.key == key)
    assert write in fault.write


def test_a_declaration_with_everything():
    settings = settings_of(
        listen=["udp://[::]:5140", "tls://0.0.0.0:6514"], allow=["192.0.2.7/24", "2001:db8::/32"],
        certificate="/c", key="/k", client_ca="/ca", timezone="Europe/Vienna", fold_labels=True, connections=3,
        rate="1MB", idle="1h", udp_buffer="1MB",
    )
    assert [str(each) for each in settings.listen] == ["udp://[::]:5140", "tls://0.0.0.0:6514"]
    assert str(settings.allow[0]) == "192.0.2.0/24" and settings.fold and settings.connections == 3
    assert list(SOURCE.claims(settings)) == ["udp ::, port 5140", "tcp 0.0.0.0, port 6514"]
    assert {option.name for option in SOURCE.options} >= {"listen", "allow", "udp_buffer"}
    mutual = {"listen": "tls://0.0.0.0:6514", "certificate": "/c", "key": "/k"}
    assert settings_of(**mutual, client_ca="/ca").allow == ()


def test_what_it_makes_of_one_line():
    record = SOURCE.parse(settings_of(listen="udp://127.0.0.1:514"), b"8 <13>a: b\n")
    assert (record["app"], record["message"]) == ("a", "b")


# -- its parts ----------------------------------------------------------------------------------------------------


def test_what_is_known_of_senders_is_bounded(monkeypatch):
    monkeypatch.setattr(peers_module, "PEERS_MAX", 3)
    peers = Peers((), 2, 100)
    assert peers.enter("a", 0) == "" == peers.enter("b", 0)
    for n in range(20):
        assert peers.allowed(f"h{n}", 0)
    assert len(peers) == 3 and peers.enter("a", 0) == "" and "3 connections" not in peers.enter("a", 0)
    for host in ("a", "a", "b"):
        peers.leave(host, 0)
    assert peers.connections == 0


def test_a_sender_that_is_over_its_rate():
    peers = Peers((), 1, 100)
    assert peers.spend("a", 100, 0.0) == 0.0 and peers.spend("a", 50, 0.0) == 0.5
    assert peers.spend("a", 0, 0.5) == 0.0 and peers.over("a", 60, 0.6) and not peers.over("a", 10, 0.6)
    assert host_of(("::ffff:192.0.2.1", 5, 0, 0)) == ("192.0.2.1", 5) and host_of("") == ("", 0)


@pytest.mark.parametrize("frames", [[Frame(b"x" * HIGH_BYTES)], [Frame(b"")] * HIGH_MESSAGES], ids=["size", "count"])
def test_batches_say_when_there_is_room_again(frames):
    """Of short ones many went into 4 MB: more than the dead letters hold, when the source was to stop."""
    assert 2 * HIGH_MESSAGES < LETTERS_MAX
    room = []
    batches = Batches(lambda: room.append(1))
    batch = Batch("tcp", "h", 1, "", frames)
    assert batches.put(Batch("tcp", "h", 1, "", [Frame(b"x")])) and not batches.put(batch)
    for each in batches.get(0):
        batches.taken(each)
    assert room == [1] and batches.get(0) == []
    batches.end()
    assert batches.get(0) is None


def test_counts_name_some_and_count_the_rest():
    counts, notes = Counts(), []
    for n in range(12):
        counts.refused(f"192.0.2.{n}", "no")
    counts.tell(notes.append, notes.append)
    assert len(notes) == 9 and notes[-1] == "E762 4 more from others"
    counts.tell(notes.append, notes.append)
    assert len(notes) == 9


def test_what_the_kernel_dropped_is_counted():
    settings = settings_of(listen="udp://127.0.0.1:0", udp_buffer="4KB")
    counts, gone = Counts(), []
    listening = Listening(settings, counts)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        from relays.gateways.syslog.datagrams import Datagrams  # noqa: PLC0415
        from relays.gateways.syslog.listening import _listening  # noqa: PLC0415

        sock = _listening(settings.listen[0], settings)
        datagrams = Datagrams(sock, listening.peers, counts, time.monotonic)
        for _ in range(200):
            udp.sendto(b"<13>" + b"x" * 500, sock.getsockname())
        came = sum(len(batch.frames) for batch in datagrams.read())
        udp.sendto(b"<13>x", sock.getsockname())
        came += sum(len(batch.frames) for batch in datagrams.read())
        sock.close()
    counts.tell(gone.append, gone.append)
    assert [int(error.detail.split()[0]) for error in gone] == [201 - came]
