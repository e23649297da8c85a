"""What lint says of approval policies: who is not asked, who cannot answer, which rule never decides."""

from pathlib import Path

import pytest

from relays.topology.lint import lint

FILE = """
fabric = "acme"
[relays]
hq = { clearance = "red", listen = "127.0.0.1:7700" }
[roles]
firewall = { execute = ["deny ipv4_net"] }
soar     = { request = [{ action = "deny ipv4_net", to = "role=firewall" }] }
lead     = { approve = [{ class = "contain", to = "all" }] }
chief    = { approve = [{ class = "contain", to = "all" }], request = [{ action = "deny *", to = "role=firewall" }] }
guest    = {}
[points]
fw-1    = { relay = "hq", role = "firewall", clearance = "amber" }
soar-1  = { relay = "hq", role = "soar", clearance = "amber" }
lead-1  = { relay = "hq", role = "lead", clearance = "amber" }
lead-2  = { relay = "hq", role = "lead", clearance = "amber" }
"""
ASK = '[[approval]]\nwhen = { class = "contain" }\nrequire = 2\nfrom = ["lead"]\n'


def said(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    path = tmp_path / "t.toml"
    path.write_text(FILE + text)
    found = lint(path)
    assert all(p.severity == "warning" and p.write for p in found), found
    return [(p.key, p.cause) for p in found]


def test_a_policy_that_two_can_satisfy_is_fine(tmp_path: Path) -> None:
    assert said(tmp_path, ASK) == []


@pytest.mark.parametrize(
    ("more", "key", "cause"),
    [
        (ASK.replace("require = 2", "require = 3"), "approval.0.from",
         "3 must approve and there are 2: nobody can satisfy it"),
        (ASK.replace('["lead"]', '["lead", "chief"]'), "approval.0.from.1",
         "no point plays the role 'chief': it approves nothing"),
        ('guest-1 = { relay = "hq", role = "guest", clearance = "amber" }\n'
         + ASK.replace('["lead"]', '["lead", "guest"]'),
         "approval.0.from.1", "the role 'guest' has no approve grant for class contain"),
        ('chief-1 = { relay = "hq", role = "chief", clearance = "amber" }\n'
         + ASK.replace('["lead"]', '["chief"]').replace("= 2", "= 1"),
         "approval.0.from", "1 must approve and there are 0 when chief-1 asks, who may not approve itself"),
        (ASK + 'escalate = { after = "5m", from = ["chief"] }\n', "approval.0.escalate.from.0",
         "no point plays the role 'chief'"),
    ],
)
def test_rules_that_nobody_can_satisfy(tmp_path: Path, more: str, key: str, cause: str) -> None:
    found = said(tmp_path, more)
    assert [k for k, _ in found] == [key] and cause in found[0][1]


def test_two_points_of_one_person_are_one(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(FILE.replace('role = "lead",', 'role = "lead", principal = "kim",') + ASK)
    (problem,) = lint(path)
    assert "2 must approve and there are 1" in problem.cause


@pytest.mark.parametrize(
    "when",
    ['{ class = "contain", severity = "high" }', '{ class = "contain", label = "amber" }', '{ class = "remediate" }'],
)
def test_grants_that_no_rule_covers_whatever_the_requester_says(tmp_path: Path, when: str) -> None:
    found = said(tmp_path, ASK.replace('{ class = "contain" }', when))
    cause = "'deny ipv4_net' (class contain) needs nobody's approval: the grant is enough"
    assert ("roles.soar.request.0", cause) in found


def test_a_verb_that_is_given_a_class_is_covered_as_such(tmp_path: Path) -> None:
    soar = FILE.replace("request = [{", 'request = [{ action = "x-isolate *", to = "role=firewall" }, {', 1)
    path = tmp_path / "t.toml"
    for classes, expected in (("", []), ('[classes]\nx-isolate = "remediate"\n', ["roles.soar.request.0"])):
        path.write_text(soar.replace('"deny ipv4_net"] }', '"deny ipv4_net", "x-isolate *"] }') + classes + ASK)
        assert [p.key for p in lint(path)] == expected


def test_of_two_rules_about_the_same_only_one_decides_and_it_is_said_which(tmp_path: Path) -> None:
    one = ASK.replace("require = 2", 'name = "one"\nrequire = 1')
    assert said(tmp_path, ASK + one) == [
        ("approval.1", "'one' never decides: 'approval-1' is about the same actions and demands more, so it wins")
    ]
    narrow = one.replace('"contain" }', '"contain", action = "deny ipv4_net", to = "role=firewall" }')
    assert said(tmp_path, ASK + narrow) == [
        ("approval.1", "'one' never decides: 'approval-1' is about these and more and demands more, so it wins")
    ]
    wide = narrow.replace("require = 1", "require = 2").replace('"one"', '"two"') + one.replace('"one"', '"wide"')
    assert said(tmp_path, wide) == []


def test_a_waiver_lifts_no_rule(tmp_path: Path) -> None:
    waiver = '[[approval]]\nwhen = { action = "deny ipv4_net", class = "contain" }\nrequire = 0\n'
    ((key, cause),) = said(tmp_path, ASK + waiver)
    assert key == "approval.1" and "require = 0 lifts nothing: 'approval-1'" in cause
