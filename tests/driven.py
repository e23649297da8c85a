"""A relay's core and its spool, driven as a relay drives them, and members of a fabric that read there."""

from __future__ import annotations

import random
from dataclasses import replace

from fabric.protocol.core.ready import Tick
from fabric.protocol.custody.sessions import point_session
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.credentials import Grants, Keep, NodeKind
from fabric.protocol.wire.frames import Ack, Intro, Role, Routes
from fabric.spool import Spool
from tests.conversation import Conversation
from tests.support import EVERYTHING, T0, Authority, entropy, verified

AUTHORITY = Authority("sleepers")
HQ = AUTHORITY.issue("hq", NodeKind.RELAY)
ZEEK = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
READS = Grants(subscribe=("detections.>",), keep=Keep(2**26))
ANNA, BOB = (AUTHORITY.issue(name, grants=READS) for name in ("anna", "bob"))
CARL = AUTHORITY.issue("carl", grants=replace(EVERYTHING, keep=Keep(2**26)))
DORA = AUTHORITY.issue("dora", grants=Grants(subscribe=("detections.>",)))
EVE = AUTHORITY.issue("eve", grants=replace(READS, keep=Keep(2**26, waits=True)))
PLANT = AUTHORITY.issue("plant", NodeKind.RELAY)
DAY = 86_400_000
AWAKE = 4
LARGE = [{"x": random.Random(7).randbytes(24_000).hex()}]


class Driven(Conversation):
    """A root with a spool, driven as a relay drives its core."""

    def __init__(self, path, awake=AWAKE):
        self.path, self.awake = path, awake
        self.epoch = 0
        self.start()

    def start(self):
        """From what is on disk, as after a crash."""
        core = Relay(HQ.credential, HQ.signer, AUTHORITY.key, b"h" * 16, entropy("hq"), ())
        now_ms, links = getattr(self, "now_ms", T0), getattr(self, "_links", 0)
        Conversation.__init__(self, core)
        self.now_ms, self._links = now_ms, links
        self.spool = Spool(self.path, awake_max=self.awake, ballast_bytes=0)
        core.restore(self.spool.load(self.now_ms), self.now_ms, self.spool.number_of)
        core.readers_sleep(self.spool.readers_asleep, self.awake, self.spool.last_number, self.now_ms)

    def restart(self):
        self.spool.close()
        self.start()

    def step(self, event):
        due = self.core.sleeping.due()
        if due is not None:
            self.core.restore(self.spool.wake_reader(*due), self.now_ms, self.spool.number_of)
            self.spool.commit(self.core.woken(due[0], self.now_ms).persist)
        ready = super().step(event)
        self.spool.commit(ready.persist)
        return ready

    def come(self, member, keep_ms=DAY, patterns=()):
        link = self.connect(member, Role.POINT, session=session(member))
        self.epoch += 1
        patterns = patterns or (("detections.>",) if member is not CARL else ("detections.>", "intel.>"))
        raw = sign_attachment(
            member.credential, member.signer, session(member), "hq", self.epoch, False, patterns, keep_ms
        )
        self.say(link, Intro([member.credential.raw]))
        self.say(link, Routes(1, True, [raw], []))
        return link

    def asleep(self, member):
        return self.spool.readers_asleep.rows_of(destination(member))

    def publish(self, numbers, **fields):
        sensor = self.connect(ZEEK, Role.POINT, session=b"z" * 16)
        sent = [verified(ZEEK, sequence=n, issued_at_ms=self.now_ms, ttl_ms=DAY, **fields) for n in numbers]
        for message in sent:
            self.send(sensor, message)
        self.lose(sensor)
        return [message.id for message in sent]

    def read(self, link, turns):
        """Take and acknowledge whatever comes in so many turns: the ids in order."""
        got = []
        for _ in range(turns):
            ids = [id_of(item.envelope) for item in self.items(link)]
            got += ids
            if ids:
                self.say(link, Ack(ids))
            self.step(Tick())
        return got


def session(member):
    return member.id.encode().ljust(16, b".")


def destination(member):
    return point_session(member.id, session(member))


def id_of(raw):
    message = open_envelope(raw, {ZEEK.credential.digest: ZEEK.credential}, RootCache())
    assert isinstance(message, Verified)
    return message.id
