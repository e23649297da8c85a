from dataclasses import replace

import pytest

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import POLICIES_BYTES_MAX, POLICY_RULES_MAX
from fabric.protocol.base.signing import TYPE_DIRECTORY, TYPE_POLICIES, digest
from fabric.protocol.trust.policies import (
    WITHIN_MS_MAX,
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
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import FABRIC, MINUTE_MS, T0, Authority

AUTHORITY = Authority("policies")
OT = AUTHORITY.issue("fw-7", segment="ot-1", tags=[("role", "firewall")]).credential
IT = AUTHORITY.issue("fw-1", segment="hq", tags=[("role", "firewall")]).credential
DENY = Asked("deny", "ipv4_net", Label.AMBER, Severity.HIGH)
CONTAIN = Rule("contain", When("contain"), 1, ("lead",), 10 * MINUTE_MS)
OT_TWO = Rule("ot", When("contain", to="segment=ot-1"), 2, ("ot-lead", "lead"), 5 * MINUTE_MS)
GLASS = Rule(
    "glass", When(action="stop *", label=Label.GREEN, severity=Severity.CRITICAL), 1, ("lead",), 10 * MINUTE_MS,
    Escalation(5 * MINUTE_MS, ("ciso",), 1),
)
RULES = (CONTAIN, OT_TWO, GLASS)
CLASSES = {"x-isolate": "contain", "x-look": "investigate"}


def issued(version=1, rules=RULES, classes=CLASSES, authority=AUTHORITY, fabric=FABRIC):
    return issue_policies(fabric, version, T0, rules, classes, authority.signer)


def body_of(raw):
    return unpack(raw, bytes_max=len(raw), elements_max=9, depth_max=2)[0]


def read(raw):
    return verify_policies(raw, AUTHORITY.key, FABRIC)


def policies(*rules, classes=CLASSES):
    found = read(issued(1, rules, classes))
    assert isinstance(found, Policies), found
    return found


def test_what_was_issued_is_read_again():
    raw = issued(7)
    found = read(raw)
    in_order = (replace(OT_TWO, roles=("lead", "ot-lead")), CONTAIN, GLASS)
    assert found == Policies(7, T0, in_order, CLASSES, raw, digest(body_of(raw)))
    assert found.rule("ot") == in_order[0] and found.rule("other") is None


def test_the_same_in_another_order_is_the_same_bytes():
    turned = dict(reversed(CLASSES.items()))
    assert issued() == issued(rules=(GLASS, replace(OT_TWO, roles=("lead", "ot-lead")), CONTAIN), classes=turned)


def test_only_a_higher_version_supersedes():
    one, two = read(issued(1)), read(issued(2, ()))
    assert two.supersedes(one) and one.supersedes(Policies())
    assert not one.supersedes(two) and not one.supersedes(read(issued(1, RULES[:1])))


def test_only_the_authority_s_own_are_read():
    assert read(issued(authority=Authority("another"))).code is Code.STALE_POLICIES
    assert read(issued(fabric="other")).code is Code.WRONG_FABRIC
    body = body_of(issued())
    assert read(pack([body, AUTHORITY.signer.sign(TYPE_DIRECTORY, body)])).code is Code.STALE_POLICIES
    raw = bytearray(issued())
    raw[raw.index(b"ot-lead")] ^= 3
    assert read(bytes(raw)).code is Code.STALE_POLICIES
    assert read(b"").code is Code.MALFORMED


def sealed(body):
    body = pack(body)
    return pack([body, AUTHORITY.signer.sign(TYPE_POLICIES, body)])


WHEN = ["contain", "", "", 0, 0]
GOOD = ["r", WHEN, 1, ["lead"], 60_000, []]


@pytest.mark.parametrize(
    "entry",
    [
        [*GOOD[:2], 0, *GOOD[3:]], [*GOOD[:2], 9, *GOOD[3:]], [*GOOD[:2], True, *GOOD[3:]],
        [*GOOD[:3], [], *GOOD[4:]], [*GOOD[:3], ["a", "a"], *GOOD[4:]], [*GOOD[:3], [""], *GOOD[4:]],
        [*GOOD[:3], [str(n) for n in range(17)], *GOOD[4:]], [*GOOD[:3], [["a"]], *GOOD[4:]],
        [*GOOD[:4], 0, []], [*GOOD[:4], WITHIN_MS_MAX + 1, []],
        [*GOOD[:5], [60_000, ["ciso"], 1]], [*GOOD[:5], [0, ["ciso"], 1]], [*GOOD[:5], [1, ["ciso"], 0]],
        [*GOOD[:5], [1, [], 1]], [*GOOD[:5], [1]], GOOD[:5], ["R", *GOOD[1:]], 7,
        *[["r", [*WHEN[:n], wrong, *WHEN[n + 1:]], *GOOD[2:]] for n, wrong in (
            (0, "harm"), (0, 1), (1, "deny"), (1, 1), (2, "role="), (2, 1), (3, 5), (3, -1), (4, 7), (4, 99),
        )],
    ],
)
def test_a_rule_that_cannot_be_read_makes_all_of_it_malformed(entry):
    assert isinstance(read(sealed([1, FABRIC, 1, T0, [GOOD], []])), Policies)
    assert read(sealed([1, FABRIC, 1, T0, [["other", *GOOD[1:]], entry], []])).code is Code.MALFORMED


@pytest.mark.parametrize(
    "pair",
    [["deny", "other"], ["x-a", "harm"], ["x-", "other"], ["x-a"], [1, "other"], "x-a", ["x-" + "a" * 80, "other"]],
)
def test_only_verbs_that_have_no_class_are_given_one(pair):
    assert read(sealed([1, FABRIC, 1, T0, [], [pair]])).code is Code.MALFORMED


def test_names_and_verbs_stand_once():
    assert read(sealed([1, FABRIC, 1, T0, [GOOD, GOOD], []])).code is Code.MALFORMED
    assert read(sealed([1, FABRIC, 1, T0, [], [["x-a", "other"], ["x-a", "contain"]]])).code is Code.MALFORMED


@pytest.mark.parametrize("body", [[1, FABRIC, 0, T0, [], []], [1, FABRIC, 1, -1, [], []], [2, FABRIC, 1, T0, [], []],
                                  [1, FABRIC, 1, T0, []], [1, FABRIC, True, T0, [], []], []])
def test_another_form_is_malformed(body):
    assert read(sealed(body)).code is Code.MALFORMED


def test_what_a_later_version_appends_is_ignored():
    later = [[*GOOD, "more"], ["x", [*WHEN, "more"], 1, ["lead"], 60_000, [1, ["ciso"], 1, "more"]]]
    assert len(read(sealed([1, FABRIC, 1, T0, later, [], "more"])).rules) == 2


def test_it_is_bounded():
    many = [replace(CONTAIN, name=f"r{n}") for n in range(POLICY_RULES_MAX + 1)]
    with pytest.raises(FabricError) as error:
        issued(rules=many)
    assert error.value.code is Code.TOO_LARGE
    entries = [[f"r{n}", *GOOD[1:]] for n in range(POLICY_RULES_MAX + 1)]
    assert read(sealed([1, FABRIC, 1, T0, entries, []])).code is Code.TOO_LARGE
    assert len(policies(*many[1:]).rules) == POLICY_RULES_MAX
    wide = [replace(CONTAIN, name=f"r{n}", when=When("contain", to="id=" + "a" * 1_000)) for n in range(200)]
    with pytest.raises(FabricError) as error:
        issued(rules=wide)
    assert error.value.code is Code.TOO_LARGE
    assert isinstance(read(bytes(POLICIES_BYTES_MAX + 1)), Reject)


# -- which one decides ------------------------------------------------------------------------------------


def test_the_most_demanding_match_decides():
    both = policies(CONTAIN, OT_TWO)
    assert demand_of(both, DENY, [IT]).name == "contain"
    assert demand_of(both, DENY, [IT, OT]).name == "ot"  # one target is enough
    assert demand_of(both, DENY._replace(action="query"), [IT, OT]) is None
    assert demand_of(both, DENY, []) is None  # for nobody
    assert demand_of(Policies(), DENY, [IT]) is None
    sooner, other = replace(CONTAIN, name="z", within_ms=1), replace(CONTAIN, name="a")
    assert demand_of(policies(CONTAIN, sooner, other), DENY, [IT]).name == "z"
    assert demand_of(policies(CONTAIN, other), DENY, [IT]).name == "a"


def test_label_and_severity_count_from_there_upwards():
    stop = Asked("stop", "process", Label.GREEN, Severity.CRITICAL)
    only = policies(GLASS)
    assert demand_of(only, stop, [IT]).escalation.roles == ("ciso",)
    assert demand_of(only, stop._replace(label=Label.RED, severity=Severity.FATAL), [IT])
    assert demand_of(only, stop._replace(label=Label.CLEAR), [IT]) is None
    assert demand_of(only, stop._replace(severity=Severity.HIGH), [IT]) is None


def test_the_class_is_the_authority_s_word():
    found = policies(CONTAIN)
    assert [found.class_of(verb) for verb in ("x-isolate", "x-look", "x-else", "deny", "nonsense")] == [
        "contain", "investigate", "other", "contain", "other"
    ]
    assert demand_of(found, DENY._replace(action="x-isolate"), [IT]).name == "contain"


def test_an_executor_asks_no_less_than_what_matches_itself():
    both = policies(CONTAIN, OT_TWO)
    assert demand_among(both, DENY, [IT], "ot").name == "ot"  # another target may be the reason
    assert demand_among(both, DENY, [IT], "contain").name == "contain"
    assert demand_among(both, DENY, [OT], "contain").name == "ot"
    assert demand_among(both, DENY, [OT], "no such").name == "ot"
    assert demand_among(policies(OT_TWO), DENY, [IT], "") is None
    assert demand_among(policies(GLASS, CONTAIN), DENY, [IT], "glass").name == "contain"  # it is about other actions


def test_a_refusal_is_said_in_its_own_words():
    assert isinstance(read(issued(authority=Authority("another"))), Reject)
    assert "E225" in str(read(issued(authority=Authority("another"))))
