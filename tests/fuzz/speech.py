"""Frames that a member could send, whoever it is and whatever state its link has: valid ones for the most part.

A maker takes the dice, who speaks and what it heard, and gives a frame. What is answered by id or sequence is taken
from what was heard, from what others were told, or invented.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from fabric.protocol.audit.heads import sign_head
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import ID_BYTES, ITEMS_MAX, MOVED_MAX
from fabric.protocol.custody.outbox import visit_of
from fabric.protocol.envelope.layout import Envelope, decode_envelope, leaf_of
from fabric.protocol.envelope.verify import Verified
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.credentials import Credential
from fabric.protocol.vocabulary.severity import Lane
from fabric.protocol.wire.frames import (
    Ack,
    Applied,
    Bye,
    Credit,
    Data,
    Denied,
    Direction,
    Directory,
    Frame,
    Grown,
    Hello,
    Intro,
    Item,
    Join,
    Joined,
    Lists,
    Nack,
    Ping,
    Pong,
    Refused,
    Role,
    Routed,
    Routes,
    Rules,
    Welcome,
    Witnessed,
)
from tests.fuzz.cast import (
    BY_ID,
    FOREIGNER,
    PLAYERS,
    Player,
    copies_of,
    directories,
    messages_of,
    policy_books,
    results_of,
    revocation_lists,
)
from tests.fuzz.dice import Dice
from tests.support import FABRIC, derive

SESSIONS = tuple(derive("session of a peer", n)[:16] for n in range(12))
IDS = tuple(derive("an id", n)[:16] for n in range(8))
NAMES = (*BY_ID, "nobody", "", "x" * 64)
_PATTERNS = (">", "detections.>", "detections.zeek.conn", "intel.>", "*", "a.*.c", "bad..pattern")
_CODES = tuple(Code)


@dataclass
class Peer:
    """One connection, and who speaks on it."""

    link: int
    player: Player
    role: Role  # what it says that it is
    session: bytes
    nonce: bytes
    dialled: bool  # by the core
    hello: Hello | None = None
    routes: int = 0
    epoch: int = 0
    spoken: list[Verified] = field(default_factory=list)
    shown: list[Credential] = field(default_factory=list)  # under which it said where somebody is


@dataclass
class Scene:
    """What a maker may look at."""

    now_ms: int
    heard: list[Frame]  # by this peer, the newest last
    told: list[Frame]  # to anybody
    hostile: tuple[Player, ...]  # whose keys the speaker has
    me: str  # the core's id
    honest: bool = False  # its clock is right, and it says where it is


def clock(dice: Dice, scene: Scene) -> int:
    """Its own time: mostly right, else anywhere."""
    if scene.honest:
        return scene.now_ms
    return dice.often(lambda: dice.choice((0, 1, dice.natural(), 2**53, max(0, scene.now_ms - 10**10))), scene.now_ms)


def hello(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    first = peer.hello is None
    if peer.hello is not None and not dice.one_in(4):  # again, as it was or with something else in it
        said = peer.hello
    else:
        usual = peer.player.credentials[0]
        credential = usual if scene.honest else dice.often(lambda: _credential(dice, scene), usual)
        said = Hello(
            1, 1, FABRIC, peer.role, credential.raw, peer.session, peer.nonce, clock(dice, scene), 0, 0
        )
    changes = dice.choice((0, 0, 0, 0, 0, 0, 0, 1, 2) if first else (0, 0, 1, 1, 2))
    for _ in range(0 if scene.honest else changes):
        said = dice.choice(_OTHERWISE)(said, dice)
    peer.hello = peer.hello or said
    return said


# What may stand in a HELLO instead.
_OTHERWISE: tuple[Callable[[Hello, Dice], Hello], ...] = (
    lambda said, dice: said._replace(version_min=dice.natural(300)),
    lambda said, dice: said._replace(version_min=dice.choice((2, 9)), version_max=dice.choice((1, 9, 300))),
    lambda said, dice: said._replace(fabric=dice.choice(("other", "", "x" * 64))),
    lambda said, dice: said._replace(role=dice.choice(list(Role))),
    lambda said, dice: said._replace(credential=dice.choice(dice.choice(PLAYERS).credentials).raw),
    lambda said, dice: said._replace(session=dice.choice(SESSIONS)),
    lambda said, dice: said._replace(nonce=dice.choice(IDS)),
    lambda said, dice: said._replace(clock_ms=dice.natural()),
    lambda said, dice: said._replace(revocations_version=dice.choice((0, 1, 5, 2**53))),
)


def welcome(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    nonce = dice.choice(IDS) if dice.one_in(12) else peer.nonce  # the core greets with that of its connection
    return Welcome(
        dice.often(dice.natural, 1), dice.often(lambda: _credential(dice, scene), peer.player.credentials[0]).raw,
        dice.often(lambda: dice.choice(SESSIONS), peer.session), nonce, clock(dice, scene), clock(dice, scene),
        dice.often(lambda: dice.choice((3, 2**53)), 0), 0, dice.often(dice.natural, 524_288), _path(dice, scene),
    )


def refused(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    return Refused(dice.choice(_CODES), dice.text()[:64], dice.often(lambda: b"", peer.nonce))


def intro(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    """Credentials of one id in any order, of many, or one again and again."""
    if dice.one_in(3):
        return Intro([_credential(dice, scene).raw for _ in range(dice.choice((1, 2, 8, ITEMS_MAX)))])
    of = list(dice.choice(scene.hostile).credentials)
    dice.shuffle(of)
    if dice.one_in(3):
        of.sort(key=lambda credential: -credential.serial)
    return Intro([credential.raw for credential in of])


def data(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    items, bytes_ = [], 0
    for _ in range(dice.choice((1, 1, 1, 2, 4, 30))):
        item = _item(dice, peer, scene)
        bytes_ += len(item.envelope) + 200
        if bytes_ < 200_000:
            items.append(item)
    return Data(dice.choice(list(Lane)), clock(dice, scene), items)


def _item(dice: Dice, peer: Peer, scene: Scene) -> Item:
    own = 8 if peer.role is Role.POINT else 2  # relays pass on what others said
    author = peer.player if scene.honest or dice.randrange(10) < own else dice.choice((*scene.hostile, *PLAYERS))
    message = dice.choice(results_of(author) if dice.one_in(4) else messages_of(author))
    if peer.spoken and dice.one_in(3):
        message = dice.choice(peer.spoken[-8:])
    peer.spoken.append(message)
    raw = copies_of(message)[0] if dice.one_in(2) else dice.choice(copies_of(message))
    if dice.one_in(80):
        raw = dice.near(raw)
    usual = Direction.DOWN if peer.role is Role.PARENT or peer.dialled else Direction.UP
    moved = 0 if scene.honest else dice.choice((0, 0, 0, 0, 0, 0, 1, 2, MOVED_MAX))
    targets = dice.some(NAMES, 3) if moved or usual is Direction.DOWN else dice.choice(([], [], dice.some(NAMES, 4)))
    if dice.one_in(60):
        targets = [f"node-{n}" for n in range(4_000)]
    return Item(
        dice.often(lambda: dice.choice(list(Direction)), usual), dice.often(lambda: dice.choice((60_000, 2**53)), 0, 5),
        dice.often(lambda: dice.some(NAMES, 16), [], list(_path(dice, scene))), targets, raw, moved,
    )


def ack(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    """Of what was sent to it, of what others were sent, of what nobody has; a whole frame of them."""
    if dice.one_in(30):
        return Ack([derive("any", n)[:16] for n in range(dice.choice((1_000, 8_000)))])
    return Ack([_sent_id(dice, scene) for _ in range(dice.choice((1, 1, 2, 20)))])


def nack(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    usual = (Code.BUSY, Code.UNKNOWN_SIGNER, Code.EXPIRED, Code.WITHHELD)
    return Nack([
        (_sent_id(dice, scene), dice.often(lambda: dice.choice(_CODES), *usual), dice.text()[:64])
        for _ in range(dice.choice((1, 1, 4, 200)))
    ])


def credit(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    return Credit([dice.choice((0, 524_288, 10**7, 2**53, dice.natural())) for _ in Lane])


def routes(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    """In order or not, with statements of everybody whose keys it has, and withdrawals of whom it likes."""
    peer.routes += dice.choice((1, 1, 1, 1, 0, 5))
    number = dice.often(dice.natural, peer.routes)
    if dice.one_in(12):
        return Routes(number, False, [], _invented(dice, dice.choice((100, 1_500))))
    attachments = [_attachment(dice, peer, scene) for _ in range(dice.choice((0, 1, 1, 1, 3, 12)))]
    withdrawals = [
        (dice.choice(NAMES), dice.choice(SESSIONS), dice.choice((0, peer.epoch, scene.now_ms, 2**53)))
        for _ in range(dice.choice((0, 0, 0, 1, 4)))
    ]
    return Routes(number, dice.one_in(4) or peer.routes == 1, attachments, withdrawals)


def _invented(dice: Dice, many: int) -> list[tuple[str, bytes, int]]:
    """Withdrawals of sessions that nobody ever had."""
    name, salt, epoch = dice.choice(("gone", dice.choice(NAMES))), dice.getrandbits(32), dice.natural()
    return [(f"gone-{n}" if name == "gone" else name, derive(salt, n)[:16], epoch) for n in range(many)]


def _attachment(dice: Dice, peer: Peer, scene: Scene) -> bytes:
    player = peer.player if not dice.one_in(3) else dice.choice(scene.hostile)
    credential = dice.choice((player.credentials[0], dice.choice(player.credentials)))
    peer.shown.append(credential)
    peer.epoch = max(peer.epoch, dice.choice((peer.epoch + 1, 1, scene.now_ms, 2**53)) if dice.one_in(3) else 1)
    executes, keep_ms = dice.choice(((True, 0), (False, 0), (False, 0), (False, 60_000), (False, 7 * 86_400_000)))
    raw = _signed(
        player, credential, dice.often(lambda: dice.choice(SESSIONS), peer.session),
        dice.often(lambda: dice.choice(NAMES), scene.me), peer.epoch, executes,
        credential.grants.subscribe if dice.one_in(2) else tuple(dice.some(_PATTERNS, 3)), keep_ms,
    )
    return dice.near(raw) if dice.one_in(40) else raw


def _signed(player: Player, credential: Credential, *fields: object) -> bytes:
    return sign_attachment(credential, player.member.signer, *fields)  # type: ignore[arg-type]


def routed(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    asked = [f.sequence for f in scene.heard if isinstance(f, Routes)]
    number = asked[-1] if asked and not dice.one_in(6) else dice.natural()
    usual = (Code.UNKNOWN_SIGNER, Code.BUSY, Code.SUBSCRIBE_DENIED)
    return Routed(number, [
        (dice.choice((0, 1, 2, 63, 2**53)), dice.often(lambda: dice.choice(_CODES), *usual), "")
        for _ in range(dice.choice((0, 0, 0, 1, 5)))
    ])


def ping(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    return Ping(clock(dice, scene))


def pong(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    asked = [f.clock_ms for f in scene.heard if isinstance(f, Ping)]
    usual = asked[-1] if asked else scene.now_ms
    return Pong(dice.often(dice.natural, usual), clock(dice, scene), _path(dice, scene))


def bye(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    return Bye(dice.often(lambda: dice.choice(_CODES), Code.CLOSED, Code.DRAINING), dice.choice(NAMES))


def lists(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    raw = dice.choice(revocation_lists())
    return Lists(dice.near(raw) if dice.one_in(8) else raw)


def directory(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    raw = dice.choice(directories())
    return Directory(dice.near(raw) if dice.one_in(8) else raw)


def rules(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    raw = dice.choice(policy_books())
    return Rules(dice.near(raw) if dice.one_in(8) else raw)


def join(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    id_ = dice.choice(IDS) if dice.one_in(2) else dice.randbytes(16)
    return Join(id_, dice.choice(("p1-issuer", "p1-sub", "nobody")), dice.choice((b"", peer.player.key)),
                dice.choice((b"", b"request", bytes(10_240))))


def joined(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    asked = [f.id for f in scene.told if isinstance(f, Join)] or list(IDS)
    return Joined(dice.choice(asked), dice.choice((None, Code.BUSY, Code.BAD_TOKEN)), dice.text()[:64],
                  dice.choice((b"", b"answer", bytes(20_480))))


def applied(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    count = dice.choice((1, 1, 4, ITEMS_MAX))
    names = [dice.choice(NAMES) if count < 9 else f"relay-{dice.getrandbits(20)}" for _ in range(count)]
    return Applied([(name, dice.choice((0, 1, 3, 2**53)), dice.natural()) for name in names])


def denied(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    return Denied([(dice.choice(_CODES), dice.natural()) for _ in range(dice.choice((1, 3, 32)))])


def grown(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    player = peer.player
    number, since = dice.choice((1, 2, 7, 2**53)), dice.choice((0, 1, 2, 7))
    raw = sign_head(player.credentials[0], player.member.signer, dice.choice(IDS), number, dice.randbytes(32), number)
    return Grown(dice.near(raw) if dice.one_in(4) else raw, since, [dice.randbytes(32)] * dice.choice((0, 1, 6, 2_048)))


def witnessed(dice: Dice, peer: Peer, scene: Scene) -> Frame:
    return Witnessed(dice.natural(), dice.choice((None, Code.FORKED_LOG)), dice.choice((b"", bytes(200))))


MAKERS: dict[str, tuple[int, Callable[[Dice, Peer, Scene], Frame]]] = {
    "hello": (6, hello), "welcome": (2, welcome), "refused": (1, refused), "intro": (8, intro), "data": (30, data),
    "ack": (10, ack), "nack": (6, nack), "credit": (2, credit), "routes": (14, routes), "routed": (6, routed),
    "ping": (5, ping), "pong": (5, pong), "bye": (1, bye), "lists": (1, lists), "directory": (1, directory),
    "join": (3, join), "joined": (2, joined), "applied": (2, applied), "denied": (1, denied),
    "rules": (1, rules), "grown": (3, grown), "witnessed": (1, witnessed),
}
# What may come from each role without ending the link, and what a peer says that means no harm.
_ANYBODY = ("hello", "intro", "data", "ack", "nack", "credit", "routes", "routed", "ping", "bye", "lists", "rules")
USUAL = {
    Role.POINT: (*_ANYBODY, "join", "joined", "denied", "grown"),
    Role.CHILD: (*_ANYBODY, "join", "joined", "applied", "grown"),
    Role.PARENT: ("welcome", *_ANYBODY, "pong", "directory", "joined", "witnessed"),
}
HONEST = ("ack", "ack", "routed", "ping", "data", "intro", "routes")


def _credential(dice: Dice, scene: Scene) -> Credential:
    return dice.choice(dice.choice((*scene.hostile, *scene.hostile, FOREIGNER, dice.choice(PLAYERS))).credentials)


def _path(dice: Dice, scene: Scene) -> tuple[str, ...]:
    if scene.honest:
        return ("hq",)
    return dice.often(lambda: tuple(dice.some((*NAMES, scene.me), 16)), (), ("hq",), ("hq", "alt"), ("top", "hq"))


def _sent_id(dice: Dice, scene: Scene) -> bytes:
    told = dice.choice((scene.heard, scene.heard, scene.heard, scene.told))
    messages = [item for frame in told if isinstance(frame, Data) for item in frame.items]
    if not messages or dice.one_in(8):
        return dice.choice(IDS)
    item = dice.choice(messages)
    return visit_of(_id_of(item.envelope), item.moved, item.targets)


@lru_cache(maxsize=1 << 16)
def _id_of(raw: bytes) -> bytes:
    envelope = decode_envelope(raw)
    return leaf_of(envelope.header)[:ID_BYTES] if isinstance(envelope, Envelope) else bytes(ID_BYTES)
