"""For any message and any chain of clearances: what goes is gone, what stays is proven, no change is unseen."""

from functools import reduce

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import decode_envelope, encode_envelope, seal
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.verify import RootCache, Verified, open_envelope
from fabric.protocol.relay.relay import Relay
from fabric.protocol.trust.credentials import NodeKind
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label, may_hold
from tests.support import EVERYTHING, Authority, draft, entropy, message

AUTHORITY = Authority("redaction")
ORIGIN = AUTHORITY.issue("zeek-1", grants=EVERYTHING)
KNOWN = {ORIGIN.credential.digest: ORIGIN.credential}
FIELDS = ("rule", "src", "dst", "user", "note")
LABELS = st.sampled_from(list(Label))
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=40) | st.integers(-(2**40), 2**40), max_size=5),
    min_size=1, max_size=4,
)
RULES = st.dictionaries(st.sampled_from(FIELDS), LABELS, max_size=5)
# Of other organisations "partner" is nothing more, "client" a direct client of acme, and "member" in the community.
OF = {"client": {"client_of": ("acme",)}, "member": {"communities": ("isac",)}}
HOPS = st.lists(
    st.tuples(LABELS, st.sampled_from(["acme", "acme", "acme", "partner", "client", "member"])), min_size=1, max_size=5
)
FAST = settings(max_examples=75, deadline=None)


def relay(clearance: Label, organisation: str) -> Relay:
    member = AUTHORITY.issue(
        f"r-{int(clearance)}-{organisation}", NodeKind.RELAY, clearance, organisation, **OF.get(organisation, {})
    )
    return Relay(member.credential, member.signer, AUTHORITY.key, bytes(16), entropy(0))


def opened(raw: bytes) -> Verified:
    result = open_envelope(raw, KNOWN, RootCache())
    assert isinstance(result, Verified), result
    return result


def event(records, rules, label) -> Verified:
    return opened(message(ORIGIN, records=records, rules=rules, label=label))


@FAST
@given(RECORDS, RULES, LABELS, HOPS)
def test_no_byte_of_a_part_above_a_hop_is_in_what_it_passes_on(records, rules, label, hops):
    travelling = whole = event(records, rules, label)
    for clearance, organisation in hops:
        holder = relay(clearance, organisation)
        passed = holder.strip(travelling, holder.me)
        audience = whole.header.audience
        if isinstance(passed, Reject):
            assert passed.code is Code.WITHHELD
            assert not may_hold(holder.me, label, audience)
            return
        assert may_hold(holder.me, label, audience)
        for entry, part in zip(whole.header.manifest, whole.envelope.parts, strict=True):
            assert part is not None
            if not may_hold(holder.me, entry.label, audience):
                assert part not in passed.raw and part[:16] not in passed.raw
        again = opened(passed.raw)
        assert again.envelope.header == whole.envelope.header and again.id == whole.id
        travelling = again


@FAST
@given(RECORDS, RULES, LABELS, HOPS)
def test_what_is_read_at_the_end_is_what_every_hop_may_hold(records, rules, label, hops):
    travelling = whole = event(records, rules, label)
    for clearance, organisation in hops:
        holder = relay(clearance, organisation)
        passed = holder.strip(travelling, holder.me)
        if isinstance(passed, Reject):
            return
        travelling = passed

    def visible(field_label: Label) -> bool:
        return all(may_hold(relay(*hop).me, field_label, whole.header.audience) for hop in hops)

    readings = read_records(travelling.header, travelling.envelope.parts)
    assert not isinstance(readings, Reject)
    wanted = [{f: v for f, v in record.items() if visible(rules.get(f, label))} for record in records]
    assert [reading.content for reading in readings] == wanted
    hidden = sum(not visible(entry.label) for entry in whole.header.manifest)
    assert all(sum(reading.withheld.values()) == hidden for reading in readings)


@FAST
@given(RECORDS, RULES, HOPS)
def test_the_order_of_hops_does_not_matter_and_twice_is_once(records, rules, hops):
    holders = [relay(*hop) for hop in hops]
    whole = event(records, rules, Label.CLEAR)

    def strip(message_: Verified, holder: Relay) -> Verified:
        passed = holder.strip(message_, holder.me)
        assert isinstance(passed, Verified)
        assert holder.strip(passed, holder.me) is passed
        return passed

    assert reduce(strip, holders, whole).raw == reduce(strip, holders[::-1], whole).raw


@FAST
@given(RULES, LABELS, HOPS)
def test_an_action_passes_whole_or_not_at_all(rules, label, hops):
    record = dict.fromkeys(FIELDS, "x")
    travelling = opened(message(
        ORIGIN, kind=Kind.ACTION, topic="deny.ipv4_net", records=[record], rules=rules, label=label, to="all",
        severity=Severity.HIGH,
    ))
    highest = max(entry.label for entry in travelling.header.manifest)
    for clearance, organisation in hops:
        holder = relay(clearance, organisation)
        passed = holder.strip(travelling, holder.me)
        if isinstance(passed, Reject):
            assert passed.code is Code.WITHHELD
            assert not may_hold(holder.me, max(highest, label), travelling.header.audience)
            return
        assert passed.raw == travelling.raw


# Nested fields, none a part of another; `secret_of` makes each value one that occurs nowhere else.
PATHS = ("rule", "id.orig_h", "id.resp.port", "id.resp.host", "user.name")
AUDIENCES = st.tuples(
    st.lists(st.sampled_from(["acme", "partner"]), max_size=2, unique=True),
    st.lists(st.sampled_from([f"r-{int(c)}-{o}" for c in Label for o in ("acme", "client")]), max_size=3, unique=True),
    st.lists(st.sampled_from(["isac", "other"]), max_size=2, unique=True),
)


def may_read(hop: tuple[Label, str], label: Label, audience: tuple[list[str], list[str], list[str]]) -> bool:
    """SPEC 4.2 written out once more, so that `may_hold` is not its own judge."""
    (clearance, organisation), (organisations, recipients, communities) = hop, audience
    named = organisation in organisations
    as_client = organisation == "client" and "acme" in organisations
    in_community = organisation == "member" and "isac" in communities
    recipient = named and (not recipients or f"r-{int(clearance)}-{organisation}" in recipients)
    return label <= clearance and {
        Label.CLEAR: True, Label.GREEN: named or as_client or in_community, Label.AMBER: named or as_client,
        Label.AMBER_STRICT: named, Label.RED: recipient,
    }[label]


def secret_of(path: str, number: int) -> str:
    return f"<{path}#{number}>"


def nested(paths, number: int) -> dict:
    record: dict = {}
    for path in paths:
        *way, last = path.split(".")
        reduce(lambda node, step: node.setdefault(step, {}), way, record)[last] = secret_of(path, number)
    return record


def leaves_of(value) -> list[str]:
    return [leaf for inner in value.values() for leaf in leaves_of(inner)] if isinstance(value, dict) else [value]


@FAST
@given(
    st.lists(st.lists(st.sampled_from(PATHS), unique=True), min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(PATHS), LABELS), LABELS, AUDIENCES, HOPS,
)
def test_a_value_goes_exactly_as_far_as_its_label_and_audience_let_it(present, rules, label, audience, hops):
    """Judged by the values themselves, not by parts: a field in the wrong part would show here."""
    organisations, recipients, communities = audience
    whole = opened(message(
        ORIGIN, records=[nested(paths, n) for n, paths in enumerate(present)], rules=rules, label=label,
        organisations=organisations, recipients=recipients, communities=communities,
    ))
    reaches = dict.fromkeys(PATHS, True)
    travelling = whole
    for hop in hops:
        holder = relay(*hop)
        passed = holder.strip(travelling, holder.me)
        if isinstance(passed, Reject):
            assert passed.code is Code.WITHHELD and not may_read(hop, label, audience)
            return
        assert may_read(hop, label, audience)
        for path in PATHS:
            reaches[path] &= may_read(hop, rules.get(path, label), audience)
        travelling = opened(passed.raw)
        for n, paths in enumerate(present):
            for path in paths:
                # Short enough not to be compressed, so the bytes on the wire can be searched.
                assert reaches[path] == (secret_of(path, n).encode() in passed.raw)
    readings = read_records(travelling.header, travelling.envelope.parts)
    assert not isinstance(readings, Reject)
    for n, (reading, paths) in enumerate(zip(readings, present, strict=True)):
        assert sorted(leaves_of(reading.content)) == sorted(secret_of(p, n) for p in paths if reaches[p])
        for path in paths:
            assert not reaches[path] or reading.labels[path] == rules.get(path, label)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 4), st.sampled_from([Label.GREEN, Label.AMBER, Label.RED]), st.data())
def test_no_altered_field_of_a_burst_goes_unnoticed(number, clearance, data):
    """Header, signature, every sibling of the path and every part that is left, bit by bit."""
    drafts = [
        draft(ORIGIN, records=[dict.fromkeys(FIELDS, "x" * 9)], rules={"src": Label.AMBER, "user": Label.RED},
              sequence=n)
        for n in range(5)
    ]
    whole = opened(seal(drafts, ORIGIN.credential.digest, ORIGIN.signer)[number])
    holder = relay(clearance, "acme")
    sent = holder.strip(whole, holder.me)
    assert isinstance(sent, Verified)
    envelope = sent.envelope
    assert envelope.path
    at = data.draw(st.sampled_from([
        ("header", None), ("signature", None), ("signer", None), *[("path", i) for i in range(len(envelope.path))],
        *[("parts", i) for i, part in enumerate(envelope.parts) if part is not None],
    ]))
    name, index = at
    before = getattr(envelope, name) if index is None else getattr(envelope, name)[index]
    altered = bytearray(before)
    bit = data.draw(st.integers(0, 8 * len(altered) - 1))
    altered[bit // 8] ^= 1 << bit % 8
    after = bytes(altered)
    if index is not None:
        held = getattr(envelope, name)
        after = (*held[:index], after, *held[index + 1 :])
    assert isinstance(open_envelope(encode_envelope(envelope._replace(**{name: after})), KNOWN, RootCache()), Reject)


@FAST
@given(st.sampled_from(["longer", "shorter", "reversed", "swapped"]), st.integers(0, 4), st.integers(0, 4))
def test_no_other_path_leads_to_the_same_signature(how, one, other):
    sealed = seal([draft(ORIGIN, sequence=n) for n in range(5)], ORIGIN.credential.digest, ORIGIN.signer)
    envelope, another = opened(sealed[one]).envelope, opened(sealed[other]).envelope
    path = {
        "longer": (*envelope.path, envelope.path[0]), "shorter": envelope.path[:-1],
        "reversed": envelope.path[::-1], "swapped": another.path,
    }[how]
    assume(path != envelope.path)
    result = open_envelope(encode_envelope(envelope._replace(path=path)), KNOWN, RootCache())
    assert isinstance(result, Reject) and result.code is Code.BAD_SIGNATURE


@settings(max_examples=100, deadline=None)
@given(st.data(), RULES)
def test_no_altered_byte_goes_unnoticed(data, rules):
    """Anywhere in the envelope, after any redaction: it is refused, or it is another encoding of the same message."""
    whole = event([dict.fromkeys(FIELDS, "x" * 9)], rules, Label.GREEN)
    holder = relay(data.draw(st.sampled_from([Label.GREEN, Label.AMBER, Label.RED])), "acme")
    sent = holder.strip(whole, holder.me)
    assert isinstance(sent, Verified)
    altered = bytearray(sent.raw)
    altered[data.draw(st.integers(0, len(altered) - 1))] ^= data.draw(st.integers(1, 255))
    result = open_envelope(bytes(altered), KNOWN, RootCache())
    if isinstance(result, Verified):
        assert result.envelope == sent.envelope


@FAST
@given(st.data(), RULES)
def test_no_part_is_added_moved_or_taken_from_another_message(data, rules):
    whole = event([{"rule": 1, **{f: f * 3 for f in FIELDS[1:]}}], rules, Label.GREEN)
    envelope = decode_envelope(whole.raw)
    assert not isinstance(envelope, Reject)
    parts = list(envelope.parts)
    other = event([{"rule": 2}], {}, Label.GREEN).envelope.parts[0]
    match data.draw(st.sampled_from(["add", "drop", "swap", "graft"])):
        case "add":
            parts.insert(data.draw(st.integers(0, len(parts))), data.draw(st.sampled_from([None, other])))
        case "drop":
            parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        case "swap":
            assume(len(parts) > 1)
            parts[0], parts[-1] = parts[-1], parts[0]
        case "graft":
            parts[data.draw(st.integers(0, len(parts) - 1))] = other
    result = open_envelope(encode_envelope(envelope._replace(parts=tuple(parts))), KNOWN, RootCache())
    assert isinstance(result, Reject)
    assert result.code in (Code.BAD_MANIFEST, Code.BAD_DIGEST)
