"""For any grants and any wish: what `explain` says is what a relay does."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.edge.publishing.drafts import Stamp
from fabric.protocol.access.permissions import check_origin, check_subscribe, is_target, request_grants
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.header import Kind
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import Grants, NodeKind, PublishGrant, RequestGrant
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.frames import Ack, Nack, Role
from relays.explaining import Asker, Tree, explain_action, explain_publish, explain_subscribe
from relays.explaining.tree import Placed
from tests.conversation import Conversation
from tests.support import MINUTE_MS, Authority, draft, entropy, verified

AUTHORITY = Authority("explain")
FAST = settings(max_examples=100, deadline=None)
TOKEN = st.sampled_from(["a", "b", "c"])
TOPIC = st.lists(TOKEN, min_size=1, max_size=3).map(lambda tokens: ".".join(["detections", *tokens]))
PATTERN = st.tuples(
    st.sampled_from(["detections", "*"]), st.lists(TOKEN | st.just("*"), max_size=2), st.sampled_from(["", ">", "a"])
).map(lambda parts: ".".join(filter(None, [parts[0], *parts[1], parts[2]])))
SEVERITY = st.sampled_from(list(Severity))
LABEL = st.sampled_from(list(Label))
RULES = st.dictionaries(st.sampled_from(["src_ip", "rule"]), LABEL, max_size=2)
ACTION = st.sampled_from(["deny.ipv4_net", "allow.ipv4_net", "scan.device"])
ACTION_PATTERN = st.sampled_from(["deny ipv4_net", "deny *", "* ipv4_net", "scan device", "*"])
SELECTOR = st.sampled_from([
    "all", "role=firewall", "role=edr", "segment=ot-1", "not segment=ot-1", "role=firewall and segment=ot-1", "id=n-1",
])
REQUEST = st.builds(RequestGrant, ACTION_PATTERN, SELECTOR, SEVERITY, st.sampled_from(["", "mid", "elsewhere"]))
NODES = st.lists(
    st.tuples(st.sampled_from(["firewall", "edr"]), st.sampled_from(["ot-1", "hq"]),
              st.lists(ACTION_PATTERN, max_size=2), st.sampled_from(["mid", "low", "side"])),
    max_size=5,
)
# hq has mid and side below it, and mid has low.
HOLDERS = {
    name: AUTHORITY.issue(name, NodeKind.RELAY, clearance)
    for name, clearance in
    (("hq", Label.RED), ("mid", Label.AMBER), ("low", Label.GREEN), ("side", Label.RED))
}
ABOVE = {"hq": "", "mid": "hq", "low": "mid", "side": "hq"}
RELAYS = {name: Placed(holder.credential, ABOVE[name]) for name, holder in HOLDERS.items()}


def stamp(kind, topic, severity, label, rules=None, to=""):
    return Stamp(kind, topic, severity, Phase.NONE, MINUTE_MS, label, tuple((rules or {}).items()), to)


@FAST
@given(st.lists(st.builds(PublishGrant, PATTERN, SEVERITY), max_size=3), TOPIC, SEVERITY, LABEL, RULES, LABEL)
def test_of_a_publisher(grants, topic, severity, label, rules, clearance):
    me = AUTHORITY.issue("zeek-1", clearance=clearance, grants=Grants(publish=tuple(grants)))
    fields = {"topic": topic, "severity": severity, "label": label, "rules": rules}
    said = explain_publish(
        Asker(me.credential, "side"), stamp(Kind.EVENT, topic, severity, label, rules), Tree(RELAYS)
    )
    problem = check_origin(me.credential, draft(me, **fields)[0])
    # A relay that may hold everything, so that what it refuses is for want of permission.
    relay = HOLDERS["side"]
    talk = Conversation(Relay(relay.credential, relay.signer, AUTHORITY.key, b"r" * 16, entropy("relay")))
    link = talk.connect(me, Role.POINT)
    talk.send(link, verified(me, **fields))
    answers = [code for frame in talk.heard(link, Nack) for _, code, _ in frame.refusals]
    assert answers == ([] if said.code is None else [said.code])
    assert bool(talk.heard(link, Ack)) == (said.code is None)
    assert said.code == (None if problem is None else problem.code)
    assert (said.verdict == "denied") == (problem is not None) and bool(said.grants) == (problem is None)


@FAST
@given(LABEL, RULES, st.sampled_from(list(HOLDERS)))
def test_of_what_each_relay_on_the_way_gets(label, rules, start):
    me = AUTHORITY.issue("zeek-1", grants=Grants(publish=(PublishGrant(">"),)))
    message = verified(me, label=label, rules=rules)
    topic = message.header.topic
    said = explain_publish(
        Asker(me.credential, start), stamp(Kind.EVENT, topic, Severity.LOW, label, rules), Tree(RELAYS)
    )
    hops = {hop.relay: hop for hop in said.hops}
    at = start
    while at:
        holder = HOLDERS[at]
        relay = Relay(holder.credential, holder.signer, AUTHORITY.key, b"r" * 16, entropy("relay"))
        passed = relay.strip(message, holder.credential)
        assert hops[at].ends == isinstance(passed, Reject)
        if isinstance(passed, Reject):
            assert passed.code is Code.WITHHELD and list(hops)[-1] == at
            return
        parts = zip(message.header.manifest, message.envelope.parts, passed.envelope.parts, strict=True)
        assert [e.label for e, before, after in parts if before is not after] == list(hops[at].stripped)
        message, at = passed, ABOVE[at]
    assert not said.unknown_above and len(hops) == len(said.hops)


@FAST
@given(st.lists(PATTERN, max_size=3), PATTERN)
def test_of_a_subscriber(grants, pattern):
    me = AUTHORITY.issue("analyst-1", grants=Grants(subscribe=tuple(grants)))
    said = explain_subscribe(Asker(me.credential, "mid"), pattern, Tree(RELAYS))
    problem = check_subscribe(me.credential, pattern)
    assert said.code == (None if problem is None else problem.code)
    assert said.verdict == ("allowed" if problem is None else "denied")


@FAST
@given(st.lists(REQUEST, max_size=3), ACTION, SELECTOR, SEVERITY, NODES)
def test_of_a_requester(grants, topic, to, severity, nodes):
    me = AUTHORITY.issue("soar-1", grants=Grants(request=tuple(grants)))
    members = {
        f"n-{n}": (AUTHORITY.issue(f"n-{n}", segment=segment, tags=[("role", role)],
                                   grants=Grants(execute=tuple(execute))).credential, at)
        for n, (role, segment, execute, at) in enumerate(nodes)
    }
    tree = Tree(RELAYS, {id_: Placed(credential, at) for id_, (credential, at) in members.items()})
    header = draft(me, kind=Kind.ACTION, topic=topic, to=to, severity=severity, label=Label.CLEAR)[0]
    said = explain_action(Asker(me.credential, "mid"), stamp(Kind.ACTION, topic, severity, Label.CLEAR, to=to), tree)
    problem = check_origin(me.credential, header)
    if problem is not None:
        assert said.code is problem.code and said.verdict == "denied" and not said.targets
        return
    grants_that_decide = request_grants(me.credential, header)
    assert said.turn == ("mid" if grants_that_decide[0].scope == "mid" else "hq")
    below = {"mid": ("mid", "low"), "hq": tuple(HOLDERS)}[said.turn]
    chosen = [id_ for id_, (credential, _) in members.items() if is_target(me.credential, header, credential)]
    reached = [id_ for id_ in chosen if members[id_][1] in below]
    assert [target.id for target in said.targets] == reached
    assert list(said.elsewhere) == [id_ for id_ in chosen if id_ not in reached]
    assert not set(chosen) & {*said.not_able, *said.not_granted}
    assert (said.code is Code.NOBODY) == (not reached) == (said.verdict == "nobody")
