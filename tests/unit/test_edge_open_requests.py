"""How many requests for approvals are kept, and whose."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.approving.open_requests import BYTES_MAX, OPEN_MAX, OpenRequests
from fabric.edge.approving.request import read_request
from fabric.edge.messages import messages_of
from fabric.protocol.core.ready import Delivery
from fabric.protocol.vocabulary.openc2 import class_of
from tests.edge_approving import NOW, asked, said

MESSAGE = said(asked())
ONE = read_request(MESSAGE, messages_of(Delivery(MESSAGE, 0, ()))[0], NOW, NOW, class_of)


def request(n, by="hq", bytes_=1_000, until_ms=ONE.until_ms, requester=""):
    return replace(
        ONE, id=f"{n:064x}", by=by, bytes=bytes_, until_ms=until_ms, requester=requester or f"soar-{n % 50}"
    )


def test_no_relay_takes_all_the_room():
    kept = OpenRequests()
    taken = [kept.put(request(n)) for n in range(OPEN_MAX)]
    assert OPEN_MAX // 3 < sum(taken) <= OPEN_MAX // 2 and kept.missed == OPEN_MAX - sum(taken)
    assert kept.put(request(0, by="mid"))
    assert kept.put(request(0))  # what is there may be said again
    assert len(kept) == sum(taken) + 1


def test_who_asks_for_anything_hides_nobody_else_s():
    kept = OpenRequests()
    mine = [kept.put(request(n, requester="soar-1")) for n in range(10_000)]
    assert sum(mine) <= OPEN_MAX // 3 + 1
    assert sum([kept.put(request(20_000 + n, requester="soar-2")) for n in range(50)]) == 50
    assert kept.put(request(0, requester="another"))  # whatever a relay says of the same
    for key in [one.key for one in kept]:
        kept.pop(key)
    assert kept.put(request(1, bytes_=BYTES_MAX // 2))


def test_bytes_are_shared_too():
    kept, large = OpenRequests(), BYTES_MAX // 8
    assert sum([kept.put(request(n, bytes_=large)) for n in range(8)]) == 4
    assert kept.put(request(0, by="mid", bytes_=large))
    assert kept.pop(("hq", f"{0:064x}")) is not None and kept.put(request(9, bytes_=large))


def test_what_is_late_is_gone():
    kept = OpenRequests()
    for n in range(3):
        kept.put(request(n, until_ms=NOW + n))
    assert kept.next_ms == NOW
    assert [one.id for one in kept.take_late(NOW + 1)] == [f"{0:064x}", f"{1:064x}"]
    assert len(kept) == 1 and kept.next_ms == NOW + 2
    assert len(kept.beginning("0" * 10)) == 1 and kept.beginning("f") == []


moves = st.lists(st.tuples(
    st.sampled_from(["put", "pop"]), st.integers(0, 5), st.sampled_from(["hq", "mid"]), st.integers(1, BYTES_MAX)
), max_size=40)


@settings(max_examples=100, deadline=None)
@given(moves)
def test_the_room_is_never_exceeded_and_given_back(story):
    kept, model = OpenRequests(), {}
    for move, n, by, bytes_ in story:
        one = request(n, by, bytes_)
        if move == "put" and kept.put(one):
            model[one.key] = one
        elif move == "pop":
            assert kept.pop(one.key) == model.pop(one.key, None)
        assert list(kept) == list(model.values())
        assert sum(each.bytes for each in model.values()) <= BYTES_MAX
    for key in list(model):
        kept.pop(key)
    assert kept.put(request(7, bytes_=BYTES_MAX // 2))
