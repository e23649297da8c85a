"""Which relay is the nearest: networks, then round trips, then the directory's order."""

import ipaddress
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fabric.edge.discovery.nearest import is_decided, rank, why_not
from fabric.protocol.base.errors import Code
from fabric.protocol.trust.directory import Descriptor, RelayDirectory
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.vocabulary.tlp import Label
from tests.support import DAY_MS, T0, derive

SKEW_MS = 30_000


def relay(id_, *networks, clearance=Label.AMBER, until_ms=T0 + DAY_MS, addresses=None):
    return Descriptor(
        id_, addresses or (f"{id_}:7700",), derive(id_), id_, tuple(map(ipaddress.ip_network, networks)), clearance,
        T0 - DAY_MS, until_ms,
    )


def ranked(relays, own=(), trips=None, revoked=()):
    return rank(
        RelayDirectory(1, T0, T0 + DAY_MS, tuple(relays)), Revocations(1, ids=frozenset(revoked)),
        [ipaddress.ip_address(address) for address in own], trips or {}, (T0,), SKEW_MS,
    )


def ids(*args, **kwargs):
    return [each.relay.id for each in ranked(*args, **kwargs)]


HQ, OT, CELL, OFFICE = (
    relay("hq"), relay("ot", "10.1.0.0/16"), relay("cell", "10.1.7.0/24", "192.168.0.0/16"),
    relay("office", "10.2.0.0/16", "2001:db8::/48"),
)
ALL = (HQ, OT, CELL, OFFICE)


def test_the_longest_network_that_contains_an_own_address_comes_first():
    assert ids(ALL, ["10.1.7.9"]) == ["cell", "ot", "hq", "office"]
    assert ids(ALL, ["10.1.8.9"]) == ["ot", "hq", "cell", "office"]
    assert ids(ALL, ["2001:db8::7"]) == ["office", "hq", "ot", "cell"]
    assert str(ranked(ALL, ["10.1.7.9"])[0].network) == "10.1.7.0/24"


def test_any_of_several_own_addresses_will_do():
    assert ids(ALL, ["127.0.0.1", "10.2.0.1", "::1"])[0] == "office"


def test_then_the_quicker_and_silent_ones_last():
    trips = {"hq:7700": 30.0, "office:7700": 2.0}
    assert ids(ALL, [], trips) == ["office", "hq", "ot", "cell"]
    assert ids(ALL, ["10.1.8.9"], trips) == ["ot", "office", "hq", "cell"], "a network is worth more than a round trip"


def test_two_that_serve_the_same_network_are_told_apart_by_the_round_trip():
    pair = [relay("a", "10.1.0.0/16"), relay("b", "10.1.0.0/16")]
    assert ids(pair, ["10.1.0.1"], {"b:7700": 1.0}) == ["b", "a"]
    assert not is_decided(ranked(pair, ["10.1.0.1"])), "that has to be measured first"


def test_it_is_decided_when_one_network_is_the_longest():
    assert is_decided(ranked(ALL, ["10.1.7.9"])) and is_decided(ranked([OT], ["10.1.7.9"]))
    assert not is_decided(ranked(ALL)) and not is_decided([])


def test_who_is_revoked_or_not_valid_now_serves_nobody():
    gone = relay("gone", "10.1.7.9/32", until_ms=T0 - SKEW_MS - 1)
    assert ids([*ALL, gone], ["10.1.7.9"], revoked=["cell"]) == ["ot", "hq", "office"]
    revoked = Revocations(1, ids=frozenset({"cell"}))
    assert why_not(gone, revoked, (T0,), SKEW_MS) is Code.CREDENTIAL_EXPIRED
    assert why_not(CELL, revoked, (T0,), SKEW_MS) is Code.REVOKED
    assert why_not(replace(OT, not_before_ms=T0 + SKEW_MS + 1), revoked, (T0,), SKEW_MS) is Code.CREDENTIAL_EXPIRED
    assert why_not(OT, revoked, (T0,), SKEW_MS) is None
    assert why_not(OT, revoked, (T0 + 4_000 * DAY_MS, T0), SKEW_MS) is None, "a parent's clock alone takes nobody away"


def test_it_is_dialled_at_the_address_that_answered_quickest():
    two = relay("two", addresses=("first:1", "second:2", "third:3"))
    (silent,), (one,) = ranked([two]), ranked([two], trips={"second:2": 9.0, "third:3": 3.0})
    assert (silent.dial.address, silent.round_trip_ms) == ("first:1", None)
    assert (one.dial.address, one.round_trip_ms, one.dial.curve_key) == ("third:3", 3.0, two.curve_key)


def test_who_is_cleared_for_less_is_ranked_and_said_to_be():
    (low,) = ranked([relay("low", "10.0.0.0/8", clearance=Label.GREEN)], ["10.1.1.1"])
    assert low.is_cleared_for(Label.GREEN) and not low.is_cleared_for(Label.AMBER)


# -- whatever there is ----------------------------------------------------------------------------------------

V4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda n: str(ipaddress.ip_network((n[0] & 0x0A07FFFF, n[1]), strict=False))
)
V6 = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128)).map(
    lambda n: str(ipaddress.ip_network((n[0], n[1]), strict=False))
)
OWN = st.lists(
    st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.ip_address(n & 0x0A07FFFF)))
    | st.ip_addresses(v=6).map(str), max_size=4,
)
UNTIL = st.sampled_from([T0 + DAY_MS, T0 - DAY_MS])


@st.composite
def fabrics(draw):
    count = draw(st.integers(0, 8))
    relays = [
        relay(f"r{n}", *draw(st.lists(V4 | V6, max_size=4)), until_ms=draw(UNTIL)) for n in range(count)
    ]
    names = [each.id for each in relays]
    trips = draw(st.dictionaries(st.sampled_from([f"{n}:7700" for n in names] or ["x:1"]), st.floats(0, 1_000)))
    return relays, draw(OWN), trips, draw(st.lists(st.sampled_from(names or ["x"]), max_size=3))


def prefix(one, own):
    return max((n.prefixlen for n in one.serves for a in map(ipaddress.ip_address, own)
                if n.version == a.version and a in n), default=-1)


@given(fabrics())
def test_only_who_may_serve_is_ranked_once_and_the_longest_prefix_wins(fabric):
    relays, own, trips, revoked = fabric
    found = ranked(relays, own, trips, revoked)
    allowed = [each for each in relays if each.id not in revoked and each.not_after_ms > T0]
    assert sorted(each.relay.id for each in found) == sorted(each.id for each in allowed)
    prefixes = [prefix(each.relay, own) for each in found]
    assert prefixes == sorted(prefixes, reverse=True)
    for one, other in zip(found, found[1:], strict=False):
        if prefix(one.relay, own) == prefix(other.relay, own):
            infinite = float("inf")
            # What differs by less than a millisecond is equally near.
            mine, theirs = (
                trips[each.address] // 1 if each.address in trips else infinite for each in (one, other)
            )
            assert mine < theirs or (mine == theirs and relays.index(one.relay) < relays.index(other.relay))
    assert ranked(relays, own, trips, revoked) == found


@given(fabrics(), st.dictionaries(st.sampled_from([f"r{n}:7700" for n in range(8)]), st.floats(0, 1_000)))
def test_what_is_decided_is_so_whatever_is_measured(fabric, others):
    relays, own, trips, revoked = fabric
    found = ranked(relays, own, trips, revoked)
    if is_decided(found):
        assert ranked(relays, own, others, revoked)[0].relay == found[0].relay
