"""What fetches, as it is asked for: ranges, pieces and addresses; and which rights it needs on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.access.permissions import check_origin, fetches, is_target, request_grants
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import (
    CHUNK_BYTES,
    LANE_WINDOW_BYTES,
    NAME_BYTES_MAX,
    POINT_QUOTA_BYTES,
    WINDOW_BYTES_MAX,
)
from fabric.protocol.envelope.header import Kind
from fabric.protocol.trust.credentials import Grants, NodeKind, RequestGrant
from fabric.protocol.vocabulary.fetching import FETCH, FETCH_TYPE, Wanted, read_wanted, session_beginning
from fabric.protocol.vocabulary.openc2 import read_spec
from fabric.protocol.vocabulary.severity import Lane, Severity
from tests.support import Authority, derive, verified

AUTHORITY = Authority("fetching")
SOAR = AUTHORITY.issue("soar-1", grants=Grants(request=(RequestGrant("deny *", "role=firewall"),)))
NOBODY = AUTHORITY.issue("zeek-1")
WALL = AUTHORITY.issue("fw-1", tags=[("role", "firewall")], grants=Grants(execute=("deny ipv4_net",)))
EDR = AUTHORITY.issue("edr-1", tags=[("role", "edr")], grants=Grants(execute=("scan *",)))
WANTED = Wanted("0123456789abcdef", 5, 100, "89abcdef")


def fetch(member=SOAR, to="id=fw-1", **fields):
    record = {"action": "query", "target": WANTED.to_json(), "args": {}}
    return verified(member, kind=Kind.ACTION, topic=FETCH, to=to, severity=Severity.INFORMATIONAL,
                    correlation=derive("action"), records=[record], **fields)


def test_a_range_is_a_target_in_one_spelling():
    spec = read_spec("query", WANTED.to_json())
    assert not isinstance(spec, Reject) and spec.topic == FETCH and spec.target.to_json() == WANTED.to_json()
    assert read_wanted(WANTED.to_json()[FETCH_TYPE]) == WANTED
    assert read_wanted(WANTED._replace(session="").to_json()[FETCH_TYPE]) == WANTED._replace(session="")


@pytest.mark.parametrize("wrong", [
    None, [], "x", {}, {"id": "../../etc/passwd"}, {"id": "0123456789ABCDEF"}, {"id": 7}, {"offset": -1},
    {"offset": True}, {"offset": 1.0}, {"offset": 2**60}, {"bytes": 0}, {"bytes": WINDOW_BYTES_MAX + 1},
    {"bytes": None}, {"session": "x"}, {"session": 7}, {"session": "/"},
])  # fmt: skip
def test_what_is_no_range(wrong):
    value = {**WANTED.to_json()[FETCH_TYPE], **wrong} if isinstance(wrong, dict) and wrong else wrong
    refused = read_wanted(value)
    assert isinstance(refused, Reject) and refused.code is Code.BAD_ACTION


@given(st.integers(0, 10**9), st.integers(1, WINDOW_BYTES_MAX), st.integers(0, 10**9))
def test_its_pieces_are_all_of_it_and_nothing_else(offset, bytes_, size):
    pieces = list(Wanted("0" * 16, offset, bytes_).pieces(size))
    assert all(0 < length <= CHUNK_BYTES for _, length in pieces)
    assert [begin for begin, _ in pieces[1:]] == [begin + length for begin, length in pieces[:-1]]
    assert sum(length for _, length in pieces) == max(0, min(bytes_, size - offset))


def test_four_pieces_are_under_way_and_two_ranges_are_kept_for_a_requester():
    assert 4 * CHUNK_BYTES * 1.03 < LANE_WINDOW_BYTES
    assert 2 * WINDOW_BYTES_MAX <= POINT_QUOTA_BYTES


def test_the_answer_is_for_the_session_that_asks_where_its_name_has_room():
    assert WANTED.answer_to("soar-1") == "soar-1/89abcdef"
    assert WANTED.answer_to("x" * NAME_BYTES_MAX) == "x" * NAME_BYTES_MAX
    assert WANTED._replace(session="").answer_to("soar-1") == "soar-1"
    assert session_beginning(bytes(range(16))) == "00010203"


def test_any_grant_that_leads_there_will_do_and_none_that_does_not():
    message = fetch()
    assert fetches(message.header) and message.header.lane is Lane.LOW
    assert not fetches(verified(WALL, kind=Kind.RESULT, topic=FETCH).header)
    assert check_origin(SOAR.credential, message.header) is None
    assert is_target(SOAR.credential, message.header, WALL.credential)
    assert not is_target(SOAR.credential, fetch(to="all").header, EDR.credential)
    assert not is_target(SOAR.credential, fetch(to="id=fw-2").header, WALL.credential)
    refused = request_grants(NOBODY.credential, fetch(NOBODY).header)
    assert isinstance(refused, Reject) and refused.code is Code.REQUEST_DENIED


def test_who_executes_anything_may_answer_and_nobody_else():
    def answered(member):
        refused = check_origin(member.credential, verified(member, kind=Kind.RESULT, topic=FETCH).header)
        return None if refused is None else refused.code

    assert (answered(WALL), answered(EDR), answered(NOBODY)) == (None, None, Code.EXECUTE_DENIED)
    assert answered(AUTHORITY.issue("hq", NodeKind.RELAY)) is None
