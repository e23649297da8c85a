"""What somebody can do with what was stolen, in his own words. `fabric/protocol/THREATS.md` says what these show.

Each test begins with something real (a key, an issuer, a credential, a relay), tries what an attacker would, and shows
how far it goes and how it ends.
"""

import os
from dataclasses import replace

import pytest

from fabric.edge.identity.identity import load_identity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.base.signing import Signer, signing_public
from fabric.protocol.envelope.header import Kind
from fabric.protocol.relay.relay import Relay
from fabric.protocol.routes.attachments import sign_attachment
from fabric.protocol.trust.chain import issue
from fabric.protocol.trust.credentials import Grants, NodeKind, PublishGrant
from fabric.protocol.trust.revocations import issue_revocations
from fabric.protocol.vocabulary.severity import Lane, Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Applied, Data, Direction, Intro, Item, Lists, Nack, Role, Routes
from fabric.transport.keys import random_keys
from tests.conversation import Conversation
from tests.integration.harness import house_in, wait_for
from tests.integration.intruder import Intruder, envelope, now_ms
from tests.support import DAY_MS, EVERYTHING, FABRIC, T0, Authority, entropy, verified

TOPOLOGY = """
fabric = "heist"
organisation = "acme"
defaults = { label = "green", ttl = { event = "1h", action = "30s", result = "1h" } }

[relays]
hq      = { segment = "hq",      clearance = "red",   listen = "127.0.0.1:PORT-hq" }
plant-1 = { segment = "plant-1", clearance = "amber", listen = "127.0.0.1:PORT-p1", parent = "hq" }
plant-2 = { segment = "plant-2", clearance = "amber", listen = "127.0.0.1:PORT-p2", parent = "hq" }

[roles]
sensor  = { publish = [{ topic = "detections.>", severity_max = "high", rate = 50 }] }
analyst = { subscribe = ["detections.>"] }
fw      = { execute = ["deny ipv4_net"] }
soar    = { request = [{ action = "deny ipv4_net", to = "role=fw and segment=plant-1" }] }

[points]
zeek-1   = { relay = "plant-1", role = "sensor",  clearance = "amber" }
zeek-2   = { relay = "plant-1", role = "sensor",  clearance = "amber" }
fw-1     = { relay = "plant-1", role = "fw",      clearance = "amber" }
insider  = { relay = "plant-1", role = "analyst", clearance = "green", kind = "operator" }
analyst  = { relay = "hq",      role = "analyst", clearance = "red", kind = "operator" }
soar-1   = { relay = "hq",      role = "soar",    clearance = "amber" }

[[approval]]
when = { action = "deny ipv4_net", to = "role=fw" }
require = 0
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with house_in(tmp_path_factory.mktemp("heist"), TOPOLOGY) as house:
        house.up()
        house.cli(
            "authority", "delegate", "p1-issuer", str(house.file), "--relay", "plant-1", "--role", "sensor",
            "--ids", "p1-*",
        ).expect(0)
        house.wait_whole()
        yield house
        house.assert_logs_clean("intruder-content")


def counted(house, relay, reason):
    return house.fresh_state(relay)["counters"].get(f"refused:{reason}", 0)


def at(house, identity, relay):
    """The same identity, on its way to another relay."""
    other = next(i for i in map(house.identity, ("zeek-1", "analyst")) if i.relay.id == relay)
    return replace(identity, relay=other.relay)


# -- "I have the keys of a relay" -------------------------------------------------------------------------------


def test_i_have_the_keys_of_a_plant_s_relay(house):
    """I come to hq as plant-2. I am a child there, like the real one, and no more than that."""
    stolen = at(house, house.identity("plant-2"), "hq")
    zeek = house.identity("zeek-1")
    with Intruder(stolen) as me:
        me.say(me.hello(role=Role.CHILD))
        assert me.answer() == "welcome", "the keys are good"
        # I command: nothing descends from below.
        assert me.offer(envelope(stolen, kind=Kind.ACTION, topic="deny.ipv4_net", to="all"), Direction.DOWN) is (
            Code.WRONG_DIRECTION
        )
        # I speak for a sensor: its key is not mine.
        me.say(Intro([zeek.credential.raw]))
        forged = envelope(replace(stolen, credential=replace(zeek.credential), sign_seed=stolen.sign_seed))
        assert me.offer(forged) is Code.BAD_SIGNATURE
        # I publish myself: a relay may not.
        assert me.offer(envelope(stolen)) is Code.PUBLISH_DENIED
        # I let myself be a firewall somewhere: who is where is signed by whoever it is about.
        firewall = house.identity("fw-1").credential
        lie = sign_attachment(firewall, Signer(stolen.sign_seed), os.urandom(16), "plant-2", 2**40, True, ())
        me.say(Intro([firewall.raw]), Routes(1, True, [lie], []))
        # I say that everybody has the newest revocation list: of others I am not asked.
        me.say(Applied([("plant-1", 2**40, 1)]))
        assert me.offer(envelope(stolen)) is Code.PUBLISH_DENIED, "what was said before it was heard"
    assert counted(house, "hq", "bad_signature") >= 1
    assert house.fresh_state("hq")["applied"]["plant-1"][0] < 2**40
    # I let somebody in: a relay signs nobody in.
    keys, seed = random_keys(os.urandom(32)), os.urandom(32)
    claim = replace(zeek.credential, id="plant-2-mole", curve_key=keys.public, sign_key=signing_public(seed))
    raw = issue(claim, Signer(stolen.sign_seed), stolen.credential)
    with Intruder(at(house, replace(zeek, id="plant-2-mole"), "hq"), keys) as mole:
        mole.say(mole.hello(credential=raw))
        assert mole.answer() is Code.BROKEN_CHAIN
    # And it ends when somebody notices. The real plant-2 goes with it: its keys are known to a thief.
    house.cli("revoke", "plant-2", "--fabric", "heist", "--why", "keys stolen", "--wait", "20s").expect(0)
    with Intruder(stolen) as me:
        me.say(me.hello(role=Role.CHILD))
        assert me.answer() is Code.REVOKED


# -- "I have the keys of a control point" -----------------------------------------------------------------------


def test_i_have_the_folder_of_a_sensor(house):
    """A laptop was stolen. I may what the sensor may, as long as nobody notices; from it nothing else follows."""
    stolen = house.identity("zeek-2")
    with Intruder(stolen) as me:
        me.enter()
        assert me.offer(envelope(stolen)) is None, "I can lie about detections"
        assert me.offer(envelope(stolen, topic="intel.ipv4", kind=Kind.INTEL)) is Code.PUBLISH_DENIED
        assert me.offer(envelope(stolen, severity=Severity.FATAL)) is Code.SEVERITY_DENIED
        assert me.offer(envelope(stolen, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=fw")) is Code.REQUEST_DENIED
        assert me.offer(envelope(stolen, label=Label.RED)) is Code.CLEARANCE_DENIED
        items = [Item(Direction.UP, 0, [], [], envelope(stolen, sequence=n)) for n in range(600)]
        me.say(*(Data(Lane.LOW, now_ms(), items[n : n + 50]) for n in range(0, 600, 50)))
        heard = iter(me.hear, "cut")
        assert any(isinstance(frame, Nack) and frame.refusals[0][1] is Code.RATE_EXCEEDED for frame in heard)
    keys, seed = random_keys(os.urandom(32)), os.urandom(32)
    claim = replace(stolen.credential, id="friend", curve_key=keys.public, sign_key=signing_public(seed))
    with Intruder(replace(stolen, id="friend"), keys) as friend:
        friend.say(friend.hello(credential=issue(claim, Signer(stolen.sign_seed), stolen.credential)))
        assert friend.answer() is Code.BROKEN_CHAIN
    house.cli("revoke", "zeek-2", "--fabric", "heist", "--why", "laptop stolen", "--wait", "20s").expect(0)
    with Intruder(stolen) as me:
        me.say(me.hello())
        assert me.answer() is Code.REVOKED


def test_a_copied_folder_is_used_where_the_real_one_still_runs(house):
    """Two processes that both say they are one session throw each other out, and that is noticed and named."""
    victim = house.identity("zeek-1")
    session = os.urandom(16)
    seen = []
    intruders = [Intruder(victim) for _ in range(8)]
    try:
        for copy in intruders:
            copy.say(copy.hello(session=session))
            seen.append(copy.answer())
    finally:
        for copy in intruders:
            copy.__exit__(None, None, None)
    assert Code.TWIN in seen
    assert house.fresh_state("plant-1")["counters"].get("twins:point", 0) >= 1


# -- "I am an issuer" -------------------------------------------------------------------------------------------


def minted(house, signer_of, **changed):
    """A credential that the plant's issuer signed with its own key, whatever it may; and the keys for it."""
    by = load_identity(house.folder / "ids" / signer_of)
    keys, seed = random_keys(os.urandom(32)), os.urandom(32)
    zeek = house.identity("zeek-1")
    claim = replace(
        zeek.credential, curve_key=keys.public, sign_key=signing_public(seed),
        **{
            "id": "p1-new", "principal": "p1-new", "tags": (("role", "sensor"),),
            "not_before_ms": by.credential.not_before_ms, "not_after_ms": by.credential.not_after_ms, **changed,
        },
    )
    raw = issue(claim, Signer(by.sign_seed), by.credential)
    return replace(zeek, id=claim.id, curve_secret=keys.secret, sign_seed=seed), keys, raw


@pytest.mark.parametrize(
    "changed",
    [
        {"id": "hq", "kind": NodeKind.RELAY, "clearance": Label.RED},
        {"id": "p1-hq", "kind": NodeKind.RELAY},
        {"principal": "lead-of-plant-2"},
        {"segment": "plant-2"},
        {"clearance": Label.RED},
        {"grants": EVERYTHING},
        {"grants": Grants(publish=(PublishGrant("detections.>", Severity.FATAL),))},
        {"tags": (("role", "fw"),)},
        {"organisation": "other"},
        {"not_after_ms": 2**45},
    ],
    ids=["hq", "a relay", "another plant's lead", "another segment", "red", "everything", "fatal", "a firewall",
         "another organisation", "for ever"],
)
def test_i_am_a_plant_s_issuer_and_sign_more_than_i_may(house, changed):
    before = counted(house, "plant-1", "wider_than_issuer")
    identity, keys, raw = minted(house, "p1-issuer", **changed)
    role = Role.CHILD if changed.get("kind") is NodeKind.RELAY else Role.POINT
    with Intruder(identity, keys) as me:
        me.say(me.hello(credential=raw, role=role))
        assert me.answer() is Code.WIDER_THAN_ISSUER
    assert counted(house, "plant-1", "wider_than_issuer") > before


def test_i_am_an_issuer_and_sign_somebody_who_is_there_already(house):
    """Within my ids I can make anybody; not somebody else with the name of one who is known."""
    first, keys, raw = minted(house, "p1-issuer", id="p1-cam", principal="p1-cam")
    with Intruder(first, keys) as honest:
        honest.say(honest.hello(credential=raw))
        assert honest.answer() == "welcome"
        second, other_keys, forged = minted(house, "p1-issuer", id="p1-cam", principal="p1-cam")
        with Intruder(second, other_keys) as me:
            me.say(me.hello(credential=forged))
            assert me.answer() is Code.REUSED_ID


def test_i_have_an_issuer_s_key_and_use_it_myself(house):
    """What an issuer may give it may not do: it publishes nothing, and commands nobody."""
    stolen = load_identity(house.folder / "ids" / "p1-issuer")
    with Intruder(stolen) as me:
        me.enter()
        assert me.offer(envelope(stolen)) is Code.CLEARANCE_DENIED, "it is cleared for CLEAR"
        open_label = {"label": Label.CLEAR, "manifest": (), "records": 1}
        assert me.offer(envelope(stolen, **open_label)) in (Code.PUBLISH_DENIED, Code.BAD_MANIFEST)


def test_an_issuer_that_is_revoked_takes_along_whoever_it_made(house):
    house.cli(
        "authority", "delegate", "p1-other", str(house.file), "--relay", "plant-1", "--role", "sensor",
        "--ids", "p1x-*",
    ).expect(0)
    member, keys, raw = minted(house, "p1-other", id="p1x-mole", principal="p1x-mole")
    with Intruder(member, keys) as mole:
        mole.say(mole.hello(credential=raw))
        assert mole.answer() == "welcome"
        revoking = house.start("revoke", "p1-other", "--fabric", "heist", "--wait", "20s")
        assert mole.answer() is Code.REVOKED and mole.hear() == "cut"
        revoking.wait().expect(0)


# -- "I am in, and want more" -----------------------------------------------------------------------------------


def test_i_am_an_analyst_of_a_plant_and_want_more(house):
    """My credential is good. I see detections, up to GREEN, of my plant; nothing that I try gives me more."""
    me = "insider"
    for args, code in (
        (("subscribe", ">", "--as", me, "--timeout", "5s", "--json"), "E402"),
        (("publish", "detections.mine", "{}", "--as", me, "--json"), "E401"),
        (("act", "deny", "ipv4_net=192.0.2.1", "--to", "role=fw", "--as", me, "--label", "green", "--json"), "E403"),
    ):
        assert house.cli(*args).expect(5).error["code"] == code
    with house.point(me) as insider, house.point("zeek-1") as zeek:
        messages = insider.subscribe("detections.secret", timeout_s=20)
        wait_for(lambda: messages.in_force, "the subscription")
        zeek.publish("detections.secret", {"src": "10.1.1.1", "rule": "scan"}, label="green", labels={"src": "amber"})
        zeek.publish("detections.secret", {"all": "amber"}, label="amber")
        zeek.publish("detections.secret", {"last": 1}, label="green")
        first, last = next(messages), next(messages)
    assert first.content == {"rule": "scan"} and last.content == {"last": 1}, "what is AMBER never came"
    # Not even with a credential that I alter: it is the authority's signature or none.
    identity = house.identity(me)
    altered = identity.credential.raw.replace(b"detections.>", b"detectionz.>")
    with Intruder(identity) as i:
        i.say(i.hello(credential=altered))
        assert i.answer() is Code.BAD_CREDENTIAL
    # Nor by asking an issuer: I have no token, and nobody renews me into something else.
    with pytest.raises(FabricError) as caught, house.point(me) as insider:
        insider.renew()
    assert caught.value.code is Code.USAGE


# -- "I am a relay, and keep what I do not like" ------------------------------------------------------------------

AUTHORITY = Authority("heist")
ROOT = AUTHORITY.issue("hq", NodeKind.RELAY)
MIDDLE = AUTHORITY.issue("mid", NodeKind.RELAY, segment="mid")
LEAF = AUTHORITY.issue("leaf", NodeKind.RELAY, segment="leaf")
SOAR = AUTHORITY.issue("soar-1", grants=EVERYTHING, segment="hq")
TARGET = AUTHORITY.issue("fw-1", grants=EVERYTHING, tags=[("role", "fw")], segment="leaf")


def listed(version, *ids, until_ms):
    return issue_revocations(FABRIC, version, T0, until_ms, list(ids), AUTHORITY.signer)


def command(talk, up, sequence=0):
    deny = verified(
        SOAR, kind=Kind.ACTION, topic="deny.ipv4_net", to="role=fw", sequence=sequence, issued_at_ms=talk.now_ms
    )
    talk.send(up, deny, Direction.DOWN, targets=("fw-1",))
    return [code for frame in talk.heard(up, Nack) for _, code, _ in frame.refusals]


def test_i_am_a_relay_and_withhold_the_revocation_of_my_accomplice():
    """soar-1 is revoked. I am the parent of a leaf, which has the list before that one, and tell it nothing."""
    leaf = Conversation(Relay(LEAF.credential, LEAF.signer, AUTHORITY.key, b"l" * 16, entropy("leaf"), ("mid",)))
    up = leaf.dial(MIDDLE, Role.CHILD)
    leaf.say(up, Lists(listed(1, until_ms=T0 + DAY_MS)))
    point = leaf.connect(TARGET, Role.POINT)
    leaf.attach(point, TARGET, "leaf", executes=True)
    assert command(leaf, up) == [], "for as long as the leaf's list holds, I get away with it"
    # Whoever signed the list sees that the leaf does not have it: `revoke --wait` names it.
    assert leaf.core.list_reach.applied["leaf"][0] == 1
    # The list that the leaf has runs out, and from then on it acts for nobody outside its own segment.
    leaf.now_ms = T0 + DAY_MS + SKEW_MS + 1
    for link in (up, point):
        leaf.core.links[link].heard_at_ms = leaf.now_ms
    assert command(leaf, up, 1) == [Code.LIST_EXPIRED]
    # And anybody who has the newer one, even a control point that was elsewhere, ends it at once.
    leaf.say(point, Lists(listed(2, "soar-1", until_ms=T0 + 60 * DAY_MS)))
    assert command(leaf, up, 2) == [Code.REVOKED]

