"""The kind `syslog`: what senders send is mapped and published, as they are declared in a topology.

    [points.log-1.sources.firewalls]
    kind = "syslog"
    listen = ["udp://0.0.0.0:514", "tls://0.0.0.0:6514"]
    allow = ["192.0.2.0/24"]
    certificate = "/etc/fabric/syslog.pem"
    key = "/etc/fabric/syslog.key"
    topic = "detections.firewalls"
    severity = { field = "severity" }

Guarantees: what was read is taken, also when it is told to stop; where the control point takes no more, it is in the
dead letters. Syslog has no acknowledgements: what is under way when a connection breaks only its sender could send
again.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Severity
from relays.gateways.kinds import Given, Intake, Place, SourceKind
from relays.gateways.syslog.batches import Batch
from relays.gateways.syslog.counts import Counts
from relays.gateways.syslog.framing import Frame, of_datagram
from relays.gateways.syslog.listening import Listening
from relays.gateways.syslog.reading import How, Record, read_message
from relays.gateways.syslog.settings import OPTIONS, Settings, needs_of, read_settings
from relays.gateways.syslog.when import day_of
from relays.wall import wall_ms

_SEVERITY: Final = {severity.name.lower(): severity for severity in Severity}
_LOOK_S: Final = 0.2
# What was not taken is told so often.
_TELL_S: Final = 5.0


class SyslogSource:
    """`listening` is there while it runs."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.listening: Listening | None = None
        self._closed = False

    def run(self, intake: Intake, stop: threading.Event) -> None:
        counts = Counts()
        listening = self.listening = Listening(self._settings, counts)
        listening.start()
        intake.waits(None)
        told_s = time.monotonic()
        self._closed = False
        stopper = threading.Thread(target=_stop_with, args=(stop, listening), name="syslog-stop", daemon=True)
        stopper.start()
        try:
            while (batches := listening.batches.get(_LOOK_S)) is not None:
                how = _how(self._settings)
                for batch in batches:
                    self._take(batch, how, intake)
                    listening.batches.taken(batch)
                if time.monotonic() - told_s >= _TELL_S:
                    told_s = time.monotonic()
                    counts.tell(intake.note, intake.lost)
        finally:
            listening.stop()
            counts.tell(intake.note, intake.lost)
        if not stop.is_set():
            raise FabricError(Code.SOURCE_FAILED, "the thread that listens has ended")

    def _take(self, batch: Batch, how: How, intake: Intake) -> None:
        where = f"{batch.transport} {batch.host}:{batch.port}"
        given = []
        for frame in batch.frames:
            record = read_message(frame.raw, how, frame.marks)
            record["peer"] = batch.host
            record["transport"] = batch.transport
            if batch.name:
                record["peer_name"] = batch.name
            severity = _SEVERITY.get(record.get("severity", ""))
            given.append(Given(record, None, where, None, severity, True, batch.host))
        count = 0
        if not self._closed and given:
            try:
                count = intake.take_many(given).taken
            except FabricError as error:
                if error.code is not Code.CLOSED:
                    for each in given:
                        intake.reject(each.record, error, where, by=batch.host)
                    return
        self._closed = self._closed or count < len(given)  # it is to stop, and what is here was read
        for each in given[count:]:
            intake.reject(each.record, FabricError(Code.SYSLOG_STOPPED), where, by=batch.host)


def _stop_with(stop: threading.Event, listening: Listening) -> None:
    while listening.runs and not stop.wait(_LOOK_S):
        pass
    listening.stop()


def _parse(settings: Settings, line: bytes) -> Record:
    frame = of_datagram(line) or Frame(b"")
    return read_message(frame.raw, _how(settings), frame.marks)


def _how(settings: Settings) -> How:
    return How(day_of(wall_ms()), settings.zone, settings.fold)


def _claims(settings: Settings) -> list[str]:
    return [
        f"{'udp' if each.transport == 'udp' else 'tcp'} {each.host}, port {each.port}"
        for each in settings.listen if each.port
    ]


def _open(settings: Settings, _place: Place) -> SyslogSource:
    return SyslogSource(settings)


SOURCE: Final = SourceKind(
    "syslog", "Listens for syslog over UDP, TCP and TLS: RFC 5424, RFC 3164, CEF, LEEF.", OPTIONS, read_settings, _open,
    needs_of, _claims, _parse,
)
