"""Conversations of hostile peers with a relay or a control point: one target for each role that a peer can have.

A story is drawn act by act: who connects, which frame who sends next, how long nothing happens, when the process at the
other end starts anew from its disk. Who is hostile knows the keys of its role only. Others, who mean no harm, are there
too, so that there is something to be stopped, filled or lied to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fabric.protocol.wire.codec import decode_frame, encode_frame
from fabric.protocol.wire.frames import Intro, Role
from tests.fuzz.cast import (
    ALT,
    ANALYST,
    BOTH_PLAYER,
    EXPIRED,
    FOREIGNER,
    GUEST,
    HQ,
    IMPOSTOR,
    ISSUER,
    LIMITED,
    LOW,
    LOWER,
    ME,
    PLAYERS,
    SOAR,
    SUB_ISSUER,
    VOUCHED,
    WALL,
    WALL_2,
    ZEEK,
    Player,
    copies_of,
    messages_of,
    results_of,
    revocation_lists,
)
from tests.fuzz.dice import Dice, packed
from tests.fuzz.engine import Meter, Played
from tests.fuzz.speech import HONEST, IDS, MAKERS, SESSIONS, USUAL, Peer, Scene
from tests.fuzz.stage import Act, Stage, read_tape, remember_signatures

_ACTS_MAX = 120
_CONNECTIONS_MAX = 40
_WAITS_MS = (1, 20, 250, 250, 1_000, 1_000, 2_500, 2_500, 5_500, 7_000, 11_000, 61_000, 700_000, 8 * 86_400_000)

_Side = tuple[tuple[Player, Role], ...]
_POINTS: _Side = tuple((p, Role.POINT) for p in (ZEEK, ANALYST, SOAR, WALL, WALL_2))
_GUESTS: _Side = tuple((p, Role.POINT) for p in (GUEST, LIMITED))
_STRANGERS: _Side = tuple((p, role) for p in (FOREIGNER, EXPIRED, IMPOSTOR) for role in Role)
_CHILDREN: _Side = ((LOW, Role.CHILD), (LOWER, Role.CHILD))
_PARENTS: _Side = ((HQ, Role.PARENT), (ALT, Role.PARENT))
_ISSUERS: _Side = tuple((p, Role.POINT) for p in (BOTH_PLAYER, BOTH_PLAYER, ISSUER, SUB_ISSUER, VOUCHED))
_ABOVE_POINTS: _Side = ((ME, Role.PARENT), (ALT, Role.PARENT))
_EVERYBODY: _Side = (*_POINTS, *_GUESTS, *_CHILDREN, *_PARENTS, *_ISSUERS, *_STRANGERS)


@dataclass(frozen=True)
class Story:
    """A target. `hostile`: who means harm, and as what; `honest`: who is there besides."""

    name: str
    scene: str
    hostile: _Side
    honest: _Side = ()
    ms_max: float = 500.0
    bytes_max: int = 48 << 20
    traced_every: int = 64

    def play(self, dice: Dice, played: Played, meter: Meter) -> None:
        remember_signatures()
        stage = Stage(self.scene)
        teller = _Teller(dice, stage, self)
        try:
            for _ in range(dice.choice((20, _ACTS_MAX, _ACTS_MAX))):
                for act in teller.next():
                    stage.apply(act, meter)
            stage.end()
        finally:
            played.raw = stage.tape

    def run(self, raw: bytes, meter: Meter) -> None:
        remember_signatures()
        scene, acts = read_tape(raw)
        stage = Stage(scene)
        for act in acts:
            stage.apply(act, meter)
        stage.end()

    def pieces(self, raw: bytes) -> Sequence[Any]:
        return read_tape(raw)[1]

    def whole(self, raw: bytes, pieces: Sequence[Any]) -> bytes:
        return packed([read_tape(raw)[0], list(pieces)])


    def words(self, raw: bytes) -> list[str]:
        """A tape, an act a line."""
        scene, acts = read_tape(raw)
        return [f"on a {scene}:", *("  " + _in_words(act) for act in acts)]


def _in_words(act: Act) -> str:
    match act:
        case ["frame", int(link), bytes(payload)]:
            frame = decode_frame(payload)
            return f"link {link} says {str(frame)[:240]}"
        case ["up", int(link), bytes(key), bytes(), int(role), str(expects)]:
            known = next((player.id for player in PLAYERS if player.key == key), "somebody")
            return f"link {link} is up, with {known}" + (f", dialled {expects} as {Role(role).name}" if role else "")
    return " ".join(repr(part)[:60] for part in act)


class _Teller:
    """What happens next."""

    def __init__(self, dice: Dice, stage: Stage, story: Story) -> None:
        self._dice = dice
        self._stage = stage
        self._story = story
        self._hostile = tuple(dict.fromkeys(player for player, _ in story.hostile))
        self._peers: dict[int, Peer] = {}
        self._last = 0
        self._begun = False

    def next(self) -> list[Act]:
        dice, stage = self._dice, self._stage
        self._peers = {n: peer for n, peer in self._peers.items() if n in stage.keys}
        if not self._begun:
            self._begun = True
            return [act for player, role in self._story.honest for act in self._connect(player, role)]
        what = dice.randrange(100)
        if not self._peers or (what < 6 and len(self._peers) < _CONNECTIONS_MAX):
            side = self._story.hostile if self._story.honest == () or not dice.one_in(4) else self._story.honest
            return self._connect(*dice.choice(side))
        if what < 14:
            return [["wait", dice.choice(_WAITS_MS if dice.one_in(8) else _WAITS_MS[:8])], *self._pings()]
        if what < 16:
            return [["down", dice.choice(list(self._peers))]]
        if what == 16:
            return [["restart"]]
        if what == 17:
            return [["lists", dice.choice(revocation_lists())]]
        if what < 24 and stage.scene in ("point", "wall", "issuer"):
            return [self._own_act()]
        if what == 24:
            return [["drain"] if dice.one_in(6) else ["renewed", dice.choice(stage.player.credentials).raw]]
        if what == 25:
            return [["submit", dice.choice(copies_of(dice.choice(messages_of(stage.player))))]]
        if what == 26:
            return [["ask", dice.choice(IDS), "p1-issuer", b"question"]]
        return self._frame(dice.choice(list(self._peers.values())))

    def _connect(self, player: Player, role: Role) -> list[Act]:
        """A connection, in either direction, and mostly what opens a link on it."""
        dice, stage = self._dice, self._stage
        self._last += 1
        link = self._last
        session = dice.often(lambda: dice.choice(SESSIONS), SESSIONS[len(player.id) % len(SESSIONS)])
        nonce = dice.choice(IDS)
        dialled = (role is Role.PARENT and stage.parents != () and not dice.one_in(8)) or (
            role is Role.CHILD and dice.one_in(8)
        )
        greets_as = 0
        if dialled:
            greets_as = Role.PARENT if role is Role.CHILD else Role.CHILD if _is_relay(stage) else Role.POINT
        peer = Peer(link, player, role, session, nonce, dialled)
        self._peers[link] = peer
        up: Act = ["up", link, player.key, nonce, int(greets_as), player.id if dialled else ""]
        if dice.one_in(10):
            return [up]
        opening = [up, self._said("welcome" if dialled else "hello", peer)]
        if not dice.one_in(4):
            opening.append(["frame", link, encode_frame(Intro([player.credentials[0].raw]))])
        return [*opening, self._said("routes", peer)] if dice.one_in(2) else opening

    def _frame(self, peer: Peer) -> list[Act]:
        """A frame; before DATA and ROUTES mostly who signed what is in it."""
        dice = self._dice
        hostile = peer.player in self._hostile
        kinds = list(HONEST) if not hostile else list(MAKERS) if dice.one_in(8) else list(USUAL[peer.role])
        kind = dice.choices(kinds, [MAKERS[kind][0] for kind in kinds])[0]
        spoken, shown = len(peer.spoken), len(peer.shown)
        act = self._said(kind, peer)
        if hostile and dice.one_in(80):
            act[2] = dice.near(act[2])
        signed = [*(message.credential for message in peer.spoken[spoken:]), *peer.shown[shown:]]
        signers = list(dict.fromkeys(credential.raw for credential in signed))
        if not signers or dice.one_in(6):
            return [act]
        return [["frame", peer.link, encode_frame(Intro(signers))], act]

    def _said(self, kind: str, peer: Peer) -> Act:
        return ["frame", peer.link, encode_frame(MAKERS[kind][1](self._dice, peer, self._scene(peer)))]

    def _scene(self, peer: Peer) -> Scene:
        heard = list(self._stage.heard.get(peer.link, ()))
        others = [frame for n in list(self._stage.heard)[-4:] for frame in self._stage.heard[n]]
        hostile = peer.player in self._hostile
        return Scene(
            self._stage.now_ms, heard, [*others, *heard], self._hostile if hostile else (peer.player,),
            self._stage.player.id, honest=not hostile,
        )

    def _pings(self) -> list[Act]:
        """Most links are kept alive over a wait."""
        return [
            self._said("pong" if peer.dialled and self._dice.one_in(2) else "ping", peer)
            for peer in self._peers.values() if not self._dice.one_in(6)
        ]

    def _own_act(self) -> Act:
        """What the program of a control point does."""
        dice, stage = self._dice, self._stage
        epoch, keep_ms = dice.choice((0, 1, stage.now_ms)), dice.choice((0, 60_000))
        delivered = list(stage.delivered) or list(IDS)
        asked = list(stage.asked) or list(IDS)
        return dice.choice((
            lambda: ["handled", dice.choice(delivered), dice.one_in(4)],
            lambda: ["handled", delivered[-1], False],
            lambda: ["attach", epoch, stage.scene == "wall", dice.some((">", "detections.>"), 2), keep_ms],
            lambda: ["answer", dice.choice(asked), dice.choice((b"", b"answer"))],
            lambda: ["parents", dice.some(("mid", "alt", "low"), 2), dice.one_in(2)],
            lambda: ["submit", dice.choice(results_of(stage.player)).raw],
            lambda: ["deny"],
            lambda: ["leave"],
        ))()


def _is_relay(stage: Stage) -> bool:
    return stage.scene in ("relay", "root")


TARGETS = (
    Story("relay-stranger", "relay", _STRANGERS, (*_POINTS[:2], _PARENTS[0])),
    Story("relay-guest", "relay", _GUESTS, (*_POINTS[:2], _PARENTS[0])),
    Story("relay-point", "relay", _POINTS, (*_GUESTS[1:], _PARENTS[0], _CHILDREN[0])),
    Story("relay-child", "relay", _CHILDREN, (*_POINTS[:3], _PARENTS[0])),
    Story("relay-parent", "relay", _PARENTS, (*_POINTS[:3], _CHILDREN[0])),
    Story("relay-issuer", "relay", _ISSUERS, (*_POINTS[:2], _PARENTS[0])),
    Story("relay-all", "relay", _EVERYBODY),
    Story("root-all", "root", tuple(each for each in _EVERYBODY if each not in _PARENTS)),
    Story("point-parent", "point", _ABOVE_POINTS),
    Story("wall-parent", "wall", _ABOVE_POINTS),
    Story("issuer-parent", "issuer", ((ME, Role.PARENT),)),
)
