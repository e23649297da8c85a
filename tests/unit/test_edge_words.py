"""Words of a program or a person: stamps, handlers, answers, identities."""

import json
import os
from pathlib import Path

import pytest

from fabric.edge.handling.handlers import Answer, Handlers, answer_of, failed, read_action, refused, stamp_about
from fabric.edge.identity.home import fabric_folder, fabrics, make_private, write_private
from fabric.edge.identity.identity import Defaults, Dial, find_identity, load_identity, save_identity
from fabric.edge.messages import messages_of
from fabric.edge.publishing.options import action_stamp, publish_stamp
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.signing import Signer, signing_public
from fabric.protocol.core.ready import Delivery
from fabric.protocol.envelope.header import Kind
from fabric.protocol.trust.chain import issue
from fabric.protocol.trust.credentials import Credential, Grants, NodeKind
from fabric.protocol.vocabulary.openc2 import ActionSpec, End
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.targets import Target
from fabric.protocol.vocabulary.tlp import Label
from fabric.transport.keys import curve_public
from tests.support import EVERYTHING, Authority, verified

ORIGIN = Authority("words").issue("soar-1", grants=EVERYTHING)
DEFAULTS = Defaults(Label.AMBER, {"event": 1_000})
BODY = {"action": "deny", "target": {"ipv4_net": "192.0.2.1"}, "args": {"duration": 60}}


def code_of(function, *args, **options) -> Code:
    with pytest.raises(FabricError) as caught:
        function(*args, **options)
    return caught.value.code


# -- stamps ---------------------------------------------------------------------------------------------------


def test_what_is_not_said_is_the_topology_s():
    stamp = publish_stamp("detections.x", DEFAULTS)
    assert (stamp.kind, stamp.label, stamp.ttl_ms, stamp.severity) == (
        Kind.EVENT, Label.AMBER, 1_000, Severity.INFORMATIONAL
    )
    assert publish_stamp("intel.ipv4", DEFAULTS).kind is Kind.INTEL


def test_what_is_said_counts():
    stamp = publish_stamp("detections.x", DEFAULTS, severity="high", phase="c2", ttl="30s", label="TLP:GREEN",
                          labels={"src": "amber", "*": "clear"})
    assert (stamp.severity, stamp.phase, stamp.ttl_ms) == (Severity.HIGH, Phase.COMMAND_AND_CONTROL, 30_000)
    assert (stamp.label, stamp.rules) == (Label.CLEAR, (("src", Label.AMBER),))


@pytest.mark.parametrize(
    ("options", "code"),
    [({"label": "purple"}, Code.BAD_LABEL), ({"labels": {"a": "b"}}, Code.BAD_LABEL),
     ({"ttl": "9d"}, Code.TTL_TOO_LONG), ({"ttl": 0}, Code.USAGE), ({"ttl": "soon"}, Code.USAGE),
     ({"severity": "bad"}, Code.USAGE), ({"phase": "bad"}, Code.USAGE)],
)
def test_what_cannot_be_meant_is_refused(options, code):
    assert code_of(publish_stamp, "detections.x", DEFAULTS, **options) is code


def test_an_action_is_high_and_short_lived():
    stamp = action_stamp(ActionSpec("deny", Target("ipv4_net", "192.0.2.1")), "all", DEFAULTS)
    assert (stamp.topic, stamp.severity, stamp.ttl_ms, stamp.to) == ("deny.ipv4_net", Severity.HIGH, 60_000, "all")
    spec = ActionSpec("query", Target("features", []))
    assert code_of(action_stamp, spec, "all", DEFAULTS, ttl="2h") is Code.TTL_TOO_LONG


# -- handlers -------------------------------------------------------------------------------------------------


def delivery(body=BODY, label=Label.GREEN, rules=None):
    message = verified(
        ORIGIN, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", records=[body], label=label, rules=rules
    )
    return Delivery(message, 5, ("hq",))


def test_the_first_handler_that_matches_takes_it():
    handlers = Handlers(["deny *", "scan *"])
    handlers.add("deny", "ipv4_net", "first")
    handlers.add("*", "*", "second")
    assert handlers.find("deny.ipv4_net") == "first" and handlers.find("scan.device") == "second"
    assert Handlers(["*"]).find("deny.ipv4_net") is None


class Blocking:
    """A handler that is an object."""

    def __call__(self, _action):
        return {"blocked": True}

    def revert(self, _action):
        return None


def test_what_ends_an_effect_is_a_function_the_handler_s_own_method_or_the_handler_s_own_concern():
    handlers, blocking = Handlers(["*"]), Blocking()
    handlers.add("deny", "ipv4_net", lambda _: None, revert=print)
    handlers.add("deny", "ipv6_net", blocking)
    handlers.add("deny", "uri", blocking, revert=print)
    handlers.add("contain", "device", blocking, ends_itself=True)
    handlers.add("scan", "*", lambda _: None)
    topics = ("deny.ipv4_net", "deny.ipv6_net", "deny.uri", "contain.device", "scan.file", "delete.file")
    reverts = (print, blocking.revert, print, None, None, None)
    assert tuple(map(handlers.revert_of, topics)) == reverts
    assert tuple(map(handlers.ends, topics)) == (True, True, True, True, False, False)



def features(handlers, *wanted):
    asked = {"action": "query", "target": {"features": list(wanted)}, "args": {}}
    message = verified(ORIGIN, kind=Kind.ACTION, topic="query.features", to="all", records=[asked], label=Label.GREEN)
    return handlers.find("query.features")(read_action(Delivery(message, 5, ("hq",))))


def test_query_features_is_answered_unless_a_handler_names_it():
    handlers = Handlers(["deny *", "query *"], profiles=("slpf",))
    handlers.add("deny", "ipv4_net", "first")
    handlers.add("query", "*", "second")
    assert features(handlers) == Answer()
    assert features(handlers, "versions", "profiles").result == {"versions": ["1.0"], "profiles": ["slpf"]}
    assert features(handlers, "pairs").result["pairs"]["deny"] == ["ipv4_net"]
    assert handlers.find("query.properties") == "second"
    handlers.add("*", "features", "third")
    assert handlers.find("query.features") == "third"


def test_a_refusal_has_the_status_of_its_reason_and_says_what_is_wrong_where_it_was_asked_wrongly():
    assert refused(Reject(Code.NO_HANDLER)).status == 501 and refused(Reject(Code.STOPPING)).status == 503
    said = refused(read_action(delivery({**BODY, "args": {"duration": "long"}}))).record("fw-1")
    assert (said["status"], said["reason"]) == (400, "bad_action: args.duration: whole milliseconds")
    assert "reason" in (late := refused(Reject(Code.EXPIRED, "x")).record("fw-1")) and late["reason"] == "expired"


@pytest.mark.parametrize(
    ("action", "target", "code"),
    [("obliterate", "ipv4_net", Code.BAD_ACTION), ("scan", "device", Code.EXECUTE_DENIED),
     ("*", "file", Code.EXECUTE_DENIED)],
)
def test_what_could_never_come_is_refused(action, target, code):
    assert code_of(Handlers(["deny ipv4_net"]).add, action, target, None) is code


def test_an_action_is_read_when_its_body_says_what_was_signed():
    action = read_action(delivery())
    assert (action.action, action.target_type, action.target, action.args) == (
        "deny", "ipv4_net", Target("ipv4_net", "192.0.2.1"), {"duration": 60}
    )
    assert action.requester == "soar-1" and action.deadline_ms == action.issued_at_ms + 60_000
    assert action.to_json()["target"] == {"ipv4_net": "192.0.2.1"} and action.label is Label.GREEN


def test_a_handler_is_told_the_label_of_all_that_it_reads():
    """A field of an action may be above its envelope."""
    action = read_action(delivery(rules={"target": Label.AMBER, "args": Label.CLEAR}))
    assert action.label is Label.AMBER and action.to_json()["label"] == "amber"


@pytest.mark.parametrize(
    "body",
    [{**BODY, "action": "allow"}, {**BODY, "target": {"domain_name": "x"}}, {**BODY, "target": "x"}, {},
     {**BODY, "target": {"ipv4_net": "a", "file": "b"}}, {**BODY, "args": 7}, {**BODY, "target": {"ipv4_net": 7}}],
)
def test_and_refused_when_it_says_something_else(body):
    result = read_action(delivery(body))
    assert isinstance(result, Reject) and result.code is Code.BAD_ACTION


def test_what_a_handler_returns_becomes_an_answer():
    assert answer_of(None) == Answer() and answer_of({"rule": 7}) == Answer(result={"rule": 7})
    assert answer_of(Answer(End.FAILED)).end is End.FAILED
    assert answer_of(7) == failed(Code.HANDLER_FAILED, "it returned a value of type int, not a map")
    assert refused(Reject(Code.EXPIRED)).end is End.EXPIRED and refused(Reject(Code.NO_HANDLER)).end is End.REFUSED


def test_a_result_says_who_what_and_why_and_is_bound_to_its_request():
    about = delivery(label=Label.AMBER)
    stamp = stamp_about(about.message.header, about.message.leaf, Answer(label=Label.GREEN), DEFAULTS)
    assert stamp.label is Label.AMBER, "never below its action"
    assert (stamp.to, stamp.correlation) == ("soar-1", about.message.leaf)
    assert stamp_about(about.message.header, about.message.leaf, Answer(label=Label.RED), DEFAULTS).label is Label.RED
    record = failed(Code.HANDLER_FAILED).record("fw-1")
    assert (record["end"], record["by"], record["code"]) == ("failed", "fw-1", "E709")


def test_a_message_says_what_it_is_and_what_was_withheld():
    message = verified(ORIGIN, records=[{"a": {"b": 1}, "c": 2}, {"c": 3}], rules={"a.b": Label.AMBER})
    first, second = messages_of(Delivery(message, 5, ("low", "hq")))
    assert (first.id, second.id) == (f"{message.id.hex()}.0", f"{message.id.hex()}.1")
    said = json.loads(json.dumps(first.to_json()))
    assert said["content"] == {"a": {"b": 1}, "c": 2} and said["labels"] == {"a.b": "amber", "c": "green"}
    assert (said["path"], said["age_ms"], said["withheld"]) == (["low", "hq"], 5, {})


# -- identities -----------------------------------------------------------------------------------------------


def dial_of(name: str, port: int) -> Dial:
    return Dial(name, f"127.0.0.1:{port}", curve_public(os.urandom(32)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    curve, sign = os.urandom(32), os.urandom(32)
    authority = Signer(os.urandom(32))
    credential = Credential(
        "acme", "fw-1", NodeKind.POINT, curve_public(curve), signing_public(sign), "acme", Label.AMBER, "hq", 0, 2**45,
        1, grants=Grants(),
    )
    where = tmp_path / "acme" / "ids" / "fw-1"
    save_identity(
        where, issue(credential, authority), fabric="acme", id_="fw-1", authority_key=authority.public,
        secrets=(curve, sign), relay=dial_of("hq", 7700), backups=[dial_of("east", 7710), dial_of("west", 7720)],
        defaults=DEFAULTS, extra={"kind": "point"},
    )
    return where


def test_an_identity_is_private_and_comes_back_whole(folder):
    identity = load_identity(folder)
    assert (identity.id, identity.relay.id, identity.defaults) == ("fw-1", "hq", DEFAULTS)
    assert [dial.id for dial in identity.dials] == ["hq", "east", "west"] and identity.dials[1:] == identity.backups
    assert identity.extra == {"kind": "point"}
    assert (folder / "secret.json").stat().st_mode & 0o777 == 0o600 and folder.stat().st_mode & 0o777 == 0o700
    assert identity.curve_secret.hex() not in repr(identity) and "sign_seed" not in repr(identity)


def test_an_older_identity_has_no_backups_and_a_dialled_one_dials_nobody(folder):
    path = folder / "identity.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "relay": None}))
    assert load_identity(folder).dials == ()
    del document["backups"]
    path.write_text(json.dumps(document))
    identity = load_identity(folder)
    assert identity.backups == () and identity.dials == (identity.relay,)


@pytest.mark.parametrize("backups", [None, 7, "hq", ["hq"], [{"id": "hq"}], [None], {"id": "hq"}])
def test_backups_that_cannot_be_dialled_are_a_damaged_identity(folder, backups):
    path = folder / "identity.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "backups": backups}))
    assert code_of(load_identity, folder) is Code.BAD_IDENTITY


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("secret.json", lambda text: "{"), ("secret.json", lambda text: '{"curve": "00", "sign": "00"}'),
        ("secret.json", lambda text: json.dumps({"curve": os.urandom(32).hex(), "sign": os.urandom(32).hex()})),
        ("identity.json", lambda text: "[]"), ("identity.json", lambda text: text.replace('"fw-1"', '"fw-2"')),
        ("identity.json", lambda text: text.replace('"acme"', '"other"')),
    ],
    ids=["no JSON", "short keys", "other keys", "no object", "other id", "other fabric"],
)
def test_a_damaged_identity_is_refused(folder, name, change):
    path = folder / name
    path.write_text(change(path.read_text()))
    assert code_of(load_identity, folder) is Code.BAD_IDENTITY


def test_an_identity_is_found_by_id_by_fabric_and_id_and_by_folder(folder, tmp_path):
    for name in ("fw-1", "acme/fw-1", str(folder)):
        assert find_identity(name, tmp_path).id == "fw-1"
    assert code_of(find_identity, "fw-2", tmp_path) is Code.NO_IDENTITY
    assert code_of(find_identity, "../acme/ids/fw-1", tmp_path) is Code.NO_IDENTITY
    other = tmp_path / "other" / "ids" / "fw-1"
    make_private(other)
    (other / "identity.json").write_text("{}")
    assert code_of(find_identity, "fw-1", tmp_path) is Code.USAGE
    assert fabrics(tmp_path) == ["acme", "other"]


def test_names_never_walk_out_of_the_home(tmp_path):
    assert fabric_folder("acme", tmp_path) == tmp_path / "acme"
    for name in ("..", "a/b", "", "A", "-a"):
        assert code_of(fabric_folder, name, tmp_path) is Code.USAGE


def test_a_private_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "f"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two" and path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_secrets_are_not_in_an_error(folder):
    secret = json.loads((folder / "secret.json").read_text())["sign"]
    (folder / "secret.json").write_text(json.dumps({"curve": "zz", "sign": secret}))
    with pytest.raises(FabricError) as caught:
        load_identity(folder)
    assert secret not in str(caught.value)
