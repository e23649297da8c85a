"""An issuer's register and its answers: what a token is worth, to whom, and how often."""

import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest

from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import load_identity
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.signing import Signer
from fabric.protocol.enrolment.joining import ask_to_join, ask_to_renew, open_answer
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.trust.revocations import Revocations
from fabric.protocol.vocabulary.tlp import Label
from relays.authority import Delegation, delegate, init_authority, make_identities
from relays.authority.minting import during, life_of, mint
from relays.issuing import Issuer, Register, TokenTerms, register_path
from relays.topology.loader import load
from tests.support import DAY_MS, HOUR_MS, MINUTE_MS, derive, entropy

TOPOLOGY = """
fabric = "small"
organisation = "acme"
[relays]
hq      = { clearance = "red",   listen = "127.0.0.1:7700" }
plant-1 = { clearance = "amber", listen = "127.0.0.1:7710", parent = "hq" }
[roles]
sensor   = { publish = ["detections.>"] }
firewall = { execute = ["deny ipv4_net"] }
"""
NOW = time.time_ns() // 1_000_000
TERMS = TokenTerms("sensor", "plant-1", "acme", Label.GREEN, tags=(("vendor", "zeek"),))


@pytest.fixture
def identity(tmp_path):
    (tmp_path / "small.toml").write_text(TOPOLOGY)
    topology, authority = load(tmp_path / "small.toml"), init_authority("small", tmp_path)
    make_identities(topology, authority, tmp_path)
    wanted = Delegation("plant-1-issuer", "plant-1", ("sensor",), tags=(("vendor", "*"),))
    delegate(topology, wanted, authority, tmp_path)
    return load_identity(ids_folder("small", tmp_path) / "plant-1-issuer")


@pytest.fixture
def register(identity):
    with Register(register_path(identity.folder)) as opened:
        yield opened


@pytest.fixture
def issuer(identity, register):
    return Issuer(identity, register, entropy("issuer"))


class Newcomer:
    def __init__(self, name):
        self.curve_key, self.signer = derive("curve", name), Signer(derive("sign", name))

    def joins(self, issuer, token, wanted="", key=b"", now_ms=NOW):
        """The credential, or the code of the refusal."""
        request = ask_to_join(token, self.curve_key, self.signer, wanted, derive("nonce")[:16])
        return read(issuer, issuer.answer(request, key or self.curve_key, now_ms), request)

    def renews(self, issuer, credential, key=b"", now_ms=NOW):
        request = ask_to_renew(credential, self.signer, now_ms)
        return read(issuer, issuer.answer(request, key or self.curve_key, now_ms), request)


def read(issuer, answer, request):
    if isinstance(answer, Reject):
        return answer.code
    opened = open_answer(answer, request, issuer.identity.authority_key, "small", "plant-1-issuer")
    assert not isinstance(opened, Reject), opened
    return opened.credential


def token(issuer, uses=1, ttl_ms=15 * MINUTE_MS, **changed):
    return issuer.issue_token(replace(TERMS, **changed), uses, ttl_ms, NOW)


def test_what_a_newcomer_is_to_others_its_token_says(tmp_path):
    said = '[organisations]\nacme = { client_of = ["msp"], communities = ["isac"] }\n[relays]'
    (tmp_path / "small.toml").write_text(TOPOLOGY.replace("[relays]", said))
    topology, authority = load(tmp_path / "small.toml"), init_authority("small", tmp_path)
    make_identities(topology, authority, tmp_path)
    wanted = Delegation("plant-1-issuer", "plant-1", ("sensor",), tags=(("vendor", "*"),))
    delegate(topology, wanted, authority, tmp_path)
    identity = load_identity(ids_folder("small", tmp_path) / "plant-1-issuer")
    with Register(register_path(identity.folder)) as opened:
        issuer = Issuer(identity, opened, entropy("issuer"))
        member = Newcomer("zeek").joins(issuer, token(issuer, communities=("isac",), client_of=("msp",)))
        assert (member.communities, member.client_of) == (("isac",), ("msp",))
        with pytest.raises(FabricError) as raised:
            token(issuer, communities=("fs",))
        assert raised.value.code is Code.WIDER_THAN_ISSUER


def test_a_token_of_before_makes_nobody_a_client(issuer, register):
    made = token(issuer)
    with closing(sqlite3.connect(register_path(issuer.identity.folder))) as database, database:
        terms = json.loads(database.execute("SELECT terms FROM tokens").fetchone()[0])
        del terms["communities"], terms["client_of"]
        database.execute("UPDATE tokens SET terms = ?", (json.dumps(terms),))
    member = Newcomer("zeek").joins(issuer, made)
    assert (member.communities, member.client_of) == ((), ())


# -- joining --------------------------------------------------------------------------------------------------


def test_a_newcomer_becomes_what_its_token_says(issuer, register):
    member = Newcomer("zeek").joins(issuer, token(issuer))
    assert member.id.startswith("plant-1-sensor-") and member.issuers == ("plant-1-issuer",)
    assert (member.kind, member.segment, member.clearance) == (NodeKind.POINT, "plant-1", Label.GREEN)
    assert dict(member.tags) == {"role": "sensor", "vendor": "zeek"} and member.principal == member.id
    assert [grant.pattern for grant in member.grants.publish] == ["detections.>"]
    assert NOW + 29 * DAY_MS < member.not_after_ms <= NOW + 30 * DAY_MS
    (entered,) = register.members()
    assert (entered.id, entered.serial, entered.credential) == (member.id, member.serial, member.raw)


def test_it_may_choose_an_id_within_the_issuer_s(issuer):
    assert Newcomer("zeek").joins(issuer, token(issuer), "plant-1-zeek").id == "plant-1-zeek"
    assert Newcomer("other").joins(issuer, token(issuer), "hq") is Code.WIDER_THAN_ISSUER
    assert Newcomer("third").joins(issuer, token(issuer, id="plant-1-cam"), "plant-1-x") is Code.WIDER_THAN_ISSUER
    assert Newcomer("third").joins(issuer, token(issuer, id="plant-1-cam")).id == "plant-1-cam"


def test_a_token_is_worth_its_uses(issuer):
    twice = token(issuer, uses=2)
    assert [type(Newcomer(n).joins(issuer, twice)).__name__ for n in range(2)] == ["Credential"] * 2
    assert Newcomer(2).joins(issuer, twice) is Code.TOKEN_USED


def test_two_machines_at_once_do_not_both_have_the_last_use(identity, issuer):
    once = token(issuer)

    def joins(number):
        with Register(register_path(identity.folder)) as own:
            return Newcomer(number).joins(Issuer(identity, own, entropy(number)), once)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(joins, range(8)))
    assert sorted(result is Code.TOKEN_USED for result in results) == [False] + [True] * 7


def test_the_same_question_is_answered_the_same_again(issuer, register):
    once, zeek = token(issuer), Newcomer("zeek")
    member = zeek.joins(issuer, once)
    assert zeek.joins(issuer, once, now_ms=NOW + HOUR_MS).raw == member.raw, "its answer was lost"
    assert len(register.members()) == 1


def test_a_token_ends(issuer):
    short = token(issuer, ttl_ms=MINUTE_MS)
    assert Newcomer("zeek").joins(issuer, short, now_ms=NOW + MINUTE_MS + 1) is Code.TOKEN_EXPIRED
    assert Newcomer("zeek").joins(issuer, short, now_ms=NOW + MINUTE_MS).segment == "plant-1"


def test_a_token_that_was_withdrawn(issuer, register):
    once = token(issuer)
    assert register.withdraw(once.id) and not register.withdraw(b"x" * 8)
    assert Newcomer("zeek").joins(issuer, once) is Code.TOKEN_USED
    known = register.token(once.id)
    assert known.withdrawn and known.uses_left == 0, "and it is not said to be used up"
    used = token(issuer)
    assert Newcomer("zeek").joins(issuer, used).segment == "plant-1" and not register.token(used.id).withdrawn


def test_an_altered_token(issuer):
    once, zeek = token(issuer), Newcomer("zeek")
    assert zeek.joins(issuer, replace(once, secret=bytes(16))) is Code.BAD_TOKEN
    assert zeek.joins(issuer, replace(once, id=bytes(8))) is Code.BAD_TOKEN
    assert zeek.joins(issuer, replace(once, issuer="other")) is Code.NO_ISSUER
    assert zeek.joins(issuer, replace(once, fabric="other")) is Code.WRONG_FABRIC
    assert zeek.joins(issuer, once).segment == "plant-1", "none of that used it up"


def test_a_request_that_was_overheard_is_worth_nothing_to_another(issuer):
    once, zeek = token(issuer), Newcomer("zeek")
    assert zeek.joins(issuer, once, key=derive("eavesdropper")) is Code.WRONG_KEY
    assert zeek.joins(issuer, once).segment == "plant-1"


def test_an_id_and_a_key_belong_to_one_member(issuer):
    many, zeek = token(issuer, uses=9), Newcomer("zeek")
    zeek.joins(issuer, many, "plant-1-zeek")
    assert Newcomer("other").joins(issuer, many, "plant-1-zeek") is Code.REUSED_ID
    assert zeek.joins(issuer, many, "plant-1-other") is Code.REUSED_KEY
    assert zeek.joins(issuer, token(issuer)) is Code.REUSED_KEY
    half = Newcomer("half")
    half.signer = zeek.signer
    assert half.joins(issuer, many) is Code.REUSED_KEY


@pytest.mark.parametrize("noise", [b"", b"\xc1", bytes(100)])
def test_noise_is_answered_with_a_code(issuer, noise):
    assert issuer.answer(noise, derive("key"), NOW).code is Code.MALFORMED


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"role": "firewall"}, Code.USAGE), ({"segment": "hq"}, Code.WIDER_THAN_ISSUER),
        ({"clearance": Label.RED}, Code.WIDER_THAN_ISSUER), ({"kind": NodeKind.OPERATOR}, Code.WIDER_THAN_ISSUER),
        ({"tags": (("site", "x"),)}, Code.WIDER_THAN_ISSUER), ({"id": "hq"}, Code.WIDER_THAN_ISSUER),
        ({"principal": "somebody"}, Code.WIDER_THAN_ISSUER),
    ],
)
def test_no_token_for_what_could_not_be_honoured(issuer, register, changed, code):
    with pytest.raises(FabricError) as caught:
        token(issuer, **changed)
    assert caught.value.code is code and register.tokens() == []


def test_a_member_never_outlives_its_issuer(issuer):
    member = Newcomer("zeek").joins(issuer, token(issuer, life_ms=9_000 * DAY_MS))
    assert member.not_after_ms == issuer.credential.not_after_ms


def test_an_issuer_that_is_over_says_so(issuer):
    late = issuer.credential.not_after_ms + HOUR_MS
    assert Newcomer("zeek").joins(issuer, token(issuer), now_ms=late) is Code.CREDENTIAL_EXPIRED


# -- renewal --------------------------------------------------------------------------------------------------


@pytest.fixture
def member(issuer):
    return Newcomer("zeek").joins(issuer, token(issuer))


def test_a_renewal_is_the_same_for_as_long_again(issuer, register, member):
    later = NOW + 20 * DAY_MS
    fresh = Newcomer("zeek").renews(issuer, member, now_ms=later)
    assert fresh.serial > member.serial and fresh.not_after_ms - later == life_of(member)
    assert abs(life_of(member) - 30 * DAY_MS) < HOUR_MS, "its begin is not before its issuer's"
    same = {name: getattr(fresh, name) for name in ("id", "kind", "grants", "tags", "clearance", "sign_key", "segment")}
    assert same == {name: getattr(member, name) for name in same}
    assert register.member(member.id).credential == fresh.raw


def test_a_renewal_whose_answer_was_lost(issuer, member):
    fresh = Newcomer("zeek").renews(issuer, member)
    assert Newcomer("zeek").renews(issuer, member).raw == fresh.raw


def test_nobody_else_s_key_renews_it(issuer, member):
    assert Newcomer("zeek").renews(issuer, member, key=derive("other")) is Code.WRONG_KEY
    thief = Newcomer("thief")
    thief.curve_key = Newcomer("zeek").curve_key
    assert thief.renews(issuer, member) is Code.BAD_SIGNATURE


def test_what_is_over_or_revoked_is_not_renewed(issuer, member):
    over = member.not_after_ms + HOUR_MS
    assert Newcomer("zeek").renews(issuer, member, now_ms=over) is Code.CREDENTIAL_EXPIRED
    issuer.revocations = Revocations(1, ids=frozenset({member.id}))
    assert Newcomer("zeek").renews(issuer, member) is Code.REVOKED


def test_an_issuer_renews_its_own_only(issuer, identity, tmp_path):
    zeek = Newcomer("zeek")
    foreign = mint(
        during(replace(issuer.credential, id="plant-1-x", kind=NodeKind.POINT, issuing=None, curve_key=zeek.curve_key,
                       sign_key=zeek.signer.public), NOW, DAY_MS),
        init_authority("small", tmp_path).signer, identity.authority_key,
    )
    request = ask_to_renew(replace(foreign, issuers=("plant-1-issuer",)), zeek.signer, NOW)
    assert read(issuer, issuer.answer(request, zeek.curve_key, NOW), request) is Code.BAD_CREDENTIAL


def test_a_member_that_this_register_does_not_know_is_entered(issuer, register, member, tmp_path):
    with Register(tmp_path / "fresh.db") as fresh:
        assert Newcomer("zeek").renews(Issuer(issuer.identity, fresh, entropy(1)), member).serial > member.serial
        assert [known.id for known in fresh.members()] == [member.id]


@pytest.mark.parametrize("life_ms", [MINUTE_MS, HOUR_MS, 8 * HOUR_MS, DAY_MS, 365 * DAY_MS])
def test_a_life_stays_as_long_as_it_was(member, life_ms):
    renewed = during(during(member, NOW, life_ms), NOW + life_ms, life_ms)
    assert abs(life_of(renewed) - life_ms) <= life_ms // 100


# -- the register ---------------------------------------------------------------------------------------------


def test_it_is_private_and_survives(identity, issuer, register):
    known = token(issuer)
    assert register_path(identity.folder).stat().st_mode & 0o777 == 0o600
    with Register(register_path(identity.folder), read_only=True) as again:
        (kept,) = again.tokens()
        assert (kept.id, kept.uses_left, kept.terms) == (known.id, 1, TERMS)


@pytest.mark.parametrize("content", [b"nonsense" * 1_000, b"SQLite format 3\x00" + bytes(2_000)])
def test_a_damaged_register_is_a_numbered_error(tmp_path, content):
    (tmp_path / "register.db").write_bytes(content)
    with pytest.raises(FabricError) as caught:
        Register(tmp_path / "register.db")
    assert caught.value.code is Code.SPOOL_FAILED


def test_an_issuer_whose_roles_are_damaged(identity, register):
    damaged = replace(identity, extra={**identity.extra, "roles": {"sensor": 7}})
    with pytest.raises(FabricError) as caught:
        _ = Issuer(damaged, register, entropy(1)).roles
    assert caught.value.code is Code.BAD_IDENTITY


def test_nobody_else_issues(identity, register):
    plain = replace(identity, credential=replace(identity.credential, issuing=None))
    with pytest.raises(FabricError) as caught:
        Issuer(plain, register, entropy(1))
    assert caught.value.code is Code.WRONG_ROLE
