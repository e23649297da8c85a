"""For any grants to declassify: what is written is read again, one grant covers all of it, and no issuer gives more."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.protocol.access.declassifying import check_relabels
from fabric.protocol.base.errors import Code
from fabric.protocol.base.limits import KEEP_BYTES_MAX, KEEP_BYTES_MIN, SESSION_KEEP_MS_MAX
from fabric.protocol.envelope.header import Relabels, decode_header, encode_header
from fabric.protocol.trust.credentials import DeclassifyGrant, Grants, Keep, decode_grants, encode_grants
from fabric.protocol.trust.delegation import _grants_in
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.vocabulary.topics import matches
from tests.support import Authority, derive, draft

AUTHORITY = Authority("declassify")
FAST = settings(max_examples=100, deadline=None)
TOPICS = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map(".".join)
PATTERNS = st.builds(
    lambda tokens, rest: ".".join([*tokens, *rest]),
    st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=2), st.sampled_from([[], [">"]]),
)
LABELS = st.sampled_from(list(Label))
GRANTS = st.lists(st.builds(DeclassifyGrant, PATTERNS, LABELS, LABELS), max_size=3).map(tuple)
KEEPS = st.none() | st.builds(
    Keep, st.integers(KEEP_BYTES_MIN, KEEP_BYTES_MAX), st.integers(1, SESSION_KEEP_MS_MAX), st.booleans()
)


def judged(grants, topic, from_, label, rules=None):
    who = AUTHORITY.issue("analyst-1", grants=Grants(declassify=grants))
    header, _ = draft(who, topic=topic, label=label, rules=rules, relabels=Relabels(derive("old"), 0, from_))
    assert decode_header(encode_header(header)) == header
    return check_relabels(who.credential, header)


@FAST
@given(GRANTS, KEEPS)
def test_what_is_written_is_read_again(declassify, keep):
    read = decode_grants(encode_grants(Grants(keep=keep, declassify=declassify)))
    assert (read.declassify, read.kept) == (declassify, (keep or Keep()))


@FAST
@given(GRANTS, TOPICS, LABELS, LABELS, st.none() | LABELS)
def test_it_is_allowed_where_one_grant_covers_the_topic_and_the_whole_way_down_and_nowhere_else(
    grants, topic, from_, label, field
):
    lowest = label if field is None else min(label, field)
    refused = judged(grants, topic, from_, label, {} if field is None else {"src_ip": field})
    covered = any(matches(g.pattern, topic) and from_ <= g.from_ and g.to <= lowest for g in grants)
    assert (refused is None) == (lowest < from_ and covered)
    assert refused is None or refused.code is (Code.NOT_LOWERED if lowest >= from_ else Code.DECLASSIFY_DENIED)


@FAST
@given(GRANTS, GRANTS, TOPICS, LABELS, LABELS)
def test_whom_an_issuer_vouches_for_lowers_nothing_that_the_issuer_may_not_give(held, given_, topic, from_, label):
    if _grants_in(Grants(declassify=held), Grants(declassify=given_)) and judged(given_, topic, from_, label) is None:
        assert judged(held, topic, from_, label) is None
