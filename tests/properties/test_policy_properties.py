"""Which rule decides: the same one in any order, never less than any that matches, and it is read as it was signed."""

from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.trust.policies import (
    Asked,
    Escalation,
    Policies,
    Rule,
    When,
    demand_among,
    demand_of,
    issue_policies,
    verify_policies,
)
from fabric.protocol.vocabulary.openc2 import CLASSES
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import FABRIC, T0, Authority

AUTHORITY = Authority("policy properties")
TARGETS = [
    AUTHORITY.issue(f"fw-{n}", segment=segment, tags=[("role", "firewall")]).credential
    for n, segment in enumerate(("ot-1", "ot-2", "hq"))
]
ACTIONS = ("deny", "scan", "update", "start", "x-isolate")

roles = st.lists(st.sampled_from(["lead", "ot-lead", "ciso"]), min_size=1, unique=True).map(sorted).map(tuple)
whens = st.builds(
    When, st.sampled_from([None, *CLASSES]), st.sampled_from(["", "*", "deny *", "* ipv4_net", "x-isolate device"]),
    st.sampled_from(["", "all", "segment=ot-1", "segment=ot-*", "id=nobody"]),
    st.sampled_from(Label), st.sampled_from(Severity),
)
rules = st.builds(
    Rule, st.text("abc", min_size=1, max_size=3), whens, st.integers(1, 8), roles, st.integers(60_001, 86_400_000),
    st.none() | st.builds(Escalation, st.integers(1, 60_000), roles, st.integers(1, 8)),
)
books = st.lists(rules, max_size=8, unique_by=lambda rule: rule.name)
classes = st.dictionaries(st.sampled_from(["x-isolate", "x-look"]), st.sampled_from(CLASSES))
asked = st.builds(
    Asked, st.sampled_from(ACTIONS), st.sampled_from(["ipv4_net", "device"]), st.sampled_from(Label),
    st.sampled_from(Severity),
)
targets = st.lists(st.sampled_from(TARGETS), max_size=3, unique_by=lambda target: target.id)


def issued(book, said):
    raw = issue_policies(FABRIC, 1, T0, book, said, AUTHORITY.signer)
    found = verify_policies(raw, AUTHORITY.key, FABRIC)
    assert isinstance(found, Policies), found
    return found


@given(books, classes, st.randoms(use_true_random=False))
def test_the_order_in_which_rules_are_written_means_nothing(book, said, random):
    shuffled = list(book)
    random.shuffle(shuffled)
    found = issued(book, said)
    assert found == issued(shuffled, said)
    assert set(found.rules) == set(book) and found.classes == said


@given(books, classes, asked, targets)
def test_no_rule_that_matches_demands_more_than_the_one_that_decides(book, said, action, to):
    found = issued(book, said)
    matching = [
        rule for rule in book
        if rule.when.is_about(found.class_of(action.action), action) and any(rule.when.takes_in(t) for t in to)
    ]
    decides = demand_of(found, action, to)
    assert decides == min(matching, key=lambda rule: (-rule.require, rule.within_ms, rule.name), default=None)


@given(books, classes, asked, targets, st.sampled_from(TARGETS))
def test_another_target_more_never_demands_less(book, said, action, to, more):
    found = issued(book, said)
    before, after = demand_of(found, action, to), demand_of(found, action, [*to, more])
    assert before is None or (after is not None and after.demand <= before.demand)


@given(books, classes, asked, st.sampled_from(TARGETS), st.text("abc", max_size=3))
def test_whatever_rule_is_named_an_executor_asks_no_less_than_its_own(book, said, action, executor, named):
    found = issued(book, said)
    own, there = demand_of(found, action, [executor]), demand_among(found, action, [executor], named)
    assert own is None or (there is not None and there.demand <= own.demand)
