"""Who speaks which versions, as a relay tells it, and as `fabric status` shows it."""

import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric import __version__
from fabric.protocol.base.errors import Code
from fabric.protocol.core.ready import Arrived, LinkUp, Note
from fabric.protocol.links.link import Link
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.wire.frames import PROTOCOL_VERSIONS, Hello, Ping, Refused, Role, Welcome
from relays.cli.tree import versions
from relays.process.refusals import Refusals
from relays.process.versions import NAMES_MAX, RANGES_MAX, spoken
from tests.conversation import Conversation
from tests.support import FABRIC, T0, Authority, entropy

AUTHORITY = Authority("versions")
MID, HQ, LOW, FAR = (AUTHORITY.issue(name, NodeKind.RELAY) for name in ("mid", "hq", "low", "far"))
POINTS = [AUTHORITY.issue(f"fw-{n:02}") for n in range(NAMES_MAX + 3)]
NOW = list(PROTOCOL_VERSIONS)


class Relayed(Conversation):
    """A relay whose parent it dialled; others dial it, and say which versions they speak."""

    def __init__(self):
        super().__init__(Relay(MID.credential, MID.signer, AUTHORITY.key, b"m" * 16, entropy("mid"), ("hq",)))
        self.dial(HQ, Role.CHILD)

    def comes(self, member, low, high, session=b"s" * 16):
        self.now_ms += 20  # so that it is let in at once
        self._links += 1
        role = Role.CHILD if member.credential.kind is NodeKind.RELAY else Role.POINT
        self.step(LinkUp(self._links, member.curve_key, b""))
        self.say(self._links, Hello(low, high, FABRIC, role, member.credential.raw, session, b"n" * 16, T0, 0, 0))


def test_peers_are_counted_by_the_versions_that_they_say_and_some_are_named():
    talk = Relayed()
    talk.comes(LOW, 1, 2)
    for point in POINTS:
        talk.comes(point, 1, 1)
    talk.comes(POINTS[0], 1, 1, b"another".ljust(16))
    talk.comes(POINTS[1], 1, 3, b"upgraded".ljust(16))
    now, *later = spoken(talk.core)[0]
    assert (now["protocol"], now["relays"], now["points"]) == (NOW, 1, len(POINTS)), "with the parent, once each"
    assert len(now["names"]) == NAMES_MAX
    assert later == [
        {"protocol": [1, 2], "relays": 1, "points": 0, "names": ["low"]},
        {"protocol": [1, 3], "relays": 0, "points": 1, "names": ["fw-01"]},
    ]
    assert spoken(talk.core)[1] == 0


def test_however_many_ranges_are_claimed_the_state_is_short():
    talk = Relayed()
    for n, point in enumerate(POINTS):
        talk.comes(point, 1, 10 + n)
    told, more = spoken(talk.core)
    assert len(told) == RANGES_MAX and more == 1 + len(POINTS) - RANGES_MAX


class Log:
    def __init__(self):
        self.lines = []

    def warning(self, event, **fields):
        self.lines.append((event, fields))


def dialled(expects):
    return Link(1, b"", b"n" * 16, T0, Role.CHILD if expects else None, expects)


def refused(code=Code.UNKNOWN_VERSION, detail="peer speaks 1 to 1"):
    return Arrived(1, Refused(code, detail, b""))


def test_what_a_parent_says_is_kept_and_written_once_until_it_takes_this_relay():
    log = Log()
    refusals = Refusals(log)
    for _ in range(3):
        refusals.heard(dialled("hq"), refused())
    assert [event for event, _ in log.lines] == ["refused"] and log.lines[0][1]["code"] == "E105"
    assert refusals.state()["by"] == {"hq": {"code": "E105", "detail": "peer speaks 1 to 1"}}
    refusals.heard(dialled("hq"), refused(Code.DRAINING, "hq"))
    assert [fields["code"] for _, fields in log.lines] == ["E105", "E213"]
    refusals.heard(dialled("hq"), Arrived(1, Welcome(1, b"", b"", b"", T0, T0, 0, 0, 0)))
    assert refusals.state() == {"by": {}, "versions": 0, "last": ""}


def test_whoever_dials_this_relay_leaves_nothing_but_a_number():
    refusals = Refusals(structlog.get_logger())
    for n in range(100):
        refusals.heard(dialled(""), refused())
        refusals.heard(None, refused())
        refusals.heard(dialled("hq"), Arrived(1, Ping(T0)))
        refusals.noted([Note("link refused", {"code": "E105", "detail": f"peer speaks {n} to 9"})])
        refusals.noted([Note("link refused", {"code": "E205", "detail": "x"}), Note("link open", {"peer": "x"})])
    assert refusals.state() == {"by": {}, "versions": 100, "last": "peer speaks 99 to 9"}


# -- what `fabric status` says ------------------------------------------------------------------------------------


def state(relay, package="0.1.0", protocol=(1, 1), **more):
    return {"relay": relay, "pid": 7, "package": package, "protocol": list(protocol), **more}


def lines(*states):
    return [line.text for line in versions.lines_of(states)]


def test_where_all_run_the_same_it_is_one_line_and_of_an_older_relay_none():
    assert lines(state("hq"), state("mid"), {"relay": "low", "pid": 0}) == [
        "message-fabric 0.1.0, protocol 1: at every relay that runs"
    ]
    assert lines({"relay": "hq", "pid": 7}) == []
    assert lines(state("hq", __version__, PROTOCOL_VERSIONS)) == [
        f"message-fabric {__version__}, protocol {versions.range_words(PROTOCOL_VERSIONS)}: at every relay that runs"
    ]


def test_a_tree_that_is_being_upgraded_names_who_runs_what_and_who_is_behind():
    peers = [{"protocol": [1, 2], "relays": 3, "points": 0, "names": ["mid"]},
             {"protocol": [1, 1], "relays": 1, "points": 11, "names": [f"fw-{n}" for n in range(8)]}]
    told = lines(
        state("hq", "0.2.0", (1, 2), peers_speak=peers, peers_speak_more=2), state("mid", "0.2.0", (1, 2)),
        *[state(f"cell-{n}") for n in range(5)],
    )
    assert told == [
        "message-fabric 0.2.0, protocol 1 to 2: hq, mid",
        "message-fabric 0.1.0, protocol 1: cell-0, cell-1, cell-2 and 2 more",
        "hq: protocol 1 at fw-0, fw-1, fw-2 and 9 more",
        "hq: still others at 2 more: see `fabric status --json`",
    ]


def test_a_refusal_names_the_versions_and_what_to_do_on_both_sides():
    below = state("mid", parent_link="down", refusals={
        "by": {"hq": {"code": "E105", "detail": "peer speaks 1 to 1"}}, "versions": 0, "last": "",
    })
    above = state("hq", parent_link="root", refusals={"by": {}, "versions": 1_234, "last": "peer speaks 1 to 1"})
    (there,), (here,) = (list(versions.refusal_words(each)) for each in (below, above))
    assert there == ("hq refuses it: E105 no protocol version is common to both sides: peer speaks 1 to 1; "
                     "upgrade the older side")
    assert here == "E105 1,234 refused for their versions, the last: peer speaks 1 to 1; upgrade the older side"
    assert list(versions.refusal_words(below | {"parent_link": "up"})) == []
    assert list(versions.refusal_words({"relay": "low", "pid": 0})) == []


@given(st.text(), st.text())
@settings(max_examples=30, deadline=None)
def test_whatever_a_parent_says_can_be_shown(code, detail):
    said = state("mid", parent_link="down", refusals={"by": {"hq": {"code": code, "detail": detail}}})
    (words,) = versions.refusal_words(said)
    assert words.startswith("hq refuses it: E")
