"""Whatever is learnt, met and restored in whatever order: nothing raises or grows, and the authority's word stays."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.trust.known import Known
from tests.support import Authority

AUTHORITY = Authority("known properties")
OTHER = Authority("other keys of known properties")
ME = AUTHORITY.issue("hq").credential
IDS = ["zeek-1", "zeek-2"]
_MADE = {}
ROOM = 24


def credential(id_, serial, voucher, own_keys):
    """As if verified; `voucher`: the issuers, of which the last one the authority signed."""
    what = (id_, serial, voucher, own_keys)
    if what not in _MADE:
        made = (AUTHORITY if own_keys else OTHER).issue(id_, serial=serial).credential
        _MADE[what] = replace(made, issuers=voucher, digest=repr(what).encode())
    return _MADE[what]


credentials = st.builds(
    credential, st.sampled_from(IDS), st.integers(1, 12),
    st.sampled_from([(), ("east",), ("west",), ("sub-1", "west"), ("sub-2", "west")]), st.booleans(),
)
steps = st.lists(
    st.tuples(st.sampled_from(["learn", "meet", "restore", "settle", "use", "refuse"]), credentials), max_size=60
)


def check(known):
    assert len(known) <= ROOM + 1
    by_id = {}
    for digest in known:
        each = known[digest]
        by_id.setdefault(each.id, []).append(each)
    for id_, found in by_id.items():
        newest = known.newest(id_)
        assert newest in found
        if any(not each.issuers for each in found):
            assert not newest.issuers, "the authority's word goes first"


@given(steps)
@settings(max_examples=150, deadline=None)
def test_any_sequence(said):
    known = Known(ME, ROOM)
    for what, each in said:
        match what:
            case "learn" | "meet":
                problem = getattr(known, what)(each)
                assert problem is not None or known[each.digest] is each, "what came now is known now"
                if problem is not None:
                    assert problem.code in (Code.REUSED_ID, Code.REUSED_KEY)
            case "restore":
                known.restore(each)
            case "settle":
                known.settle()
            case "use":
                known.get(each.digest)
            case _:
                known.refuse(each.digest, Reject(Code.REUSED_ID))
        check(known)
    known.settle()
    check(known)
    for id_ in IDS:
        keys = {(each.curve_key, each.sign_key) for each in known.values() if each.id == id_}
        assert len(keys) <= 1, "an id has one pair of keys"
        for voucher in ("", "east", "west"):
            own = [e for e in known.values() if e.id == id_ and (e.issuers[-1] if e.issuers else "") == voucher]
            assert len(own) <= 4
    assert known.newest("hq") is ME


@given(st.permutations([credential("zeek-1", serial, (), True) for serial in range(1, 8)]))
def test_in_whatever_order_they_come_the_latest_is_the_newest(every):
    known = Known(ME, ROOM)
    for each in every:
        assert known.learn(each) is None and known[each.digest] is each
    assert known.newest("zeek-1").serial == 7


@given(st.lists(st.integers(1, 50), max_size=60))
def test_an_issuer_pushes_out_nobody_that_another_vouches_for(serials):
    known = Known(ME, 30)
    real = [credential("zeek-1", serial, (), True) for serial in (1, 2)]
    friend = credential("zeek-1", 3, ("east",), True)
    for each in (*real, friend):
        known.learn(each)
    for n, serial in enumerate(serials):
        known.learn(credential("zeek-1", serial + 12, ("west",), True))
        known.learn(credential(f"lab-{n}-{serial}", serial, (f"sub-{n}", "west"), True))
    assert all(each.digest in known for each in (*real, friend)) and known.newest("zeek-1") is real[1]
