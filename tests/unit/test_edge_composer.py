"""From records to envelopes: batches by themselves, one signature a burst, bad records alone."""

import pytest

from fabric.edge.publishing.composer import BATCH_RECORDS_MAX, Composer
from fabric.edge.publishing.drafts import Draft, Stamp
from fabric.edge.publishing.snapshot import Snapshots
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.header import Kind
from fabric.protocol.envelope.layout import decode_envelope
from fabric.protocol.envelope.parts import read_records
from fabric.protocol.envelope.sealed_parts import Opener, recipient
from fabric.protocol.envelope.verify import RootCache
from fabric.protocol.vocabulary.severity import Phase, Severity
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.support import EVERYTHING, T0, Authority, entropy, opened

ORIGIN = Authority("compose").issue("zeek-1", grants=EVERYTHING)


def stamp(topic="detections.x", kind=Kind.EVENT, label=Label.GREEN, **fields):
    return Stamp(kind, topic, Severity.LOW, Phase.NONE, 60_000, label, **fields)


def drafts(count, stamp_=None, size=1):
    return [Draft(stamp_ or stamp(), {"n": n, "x": "y" * size}, T0 + n, n, size + 10) for n in range(count)]


def composer():
    return Composer(ORIGIN.credential, ORIGIN.signer, RootCache(), entropy("composer"))


def records(sealed):
    message = opened(sealed.envelope, ORIGIN)
    return [reading.content["n"] for reading in read_records(message.header, message.envelope.parts)]


def test_one_record_goes_at_once_and_alone():
    (sealed,), failed = composer().compose(drafts(1))
    assert failed == [] and records(sealed) == [0]
    assert decode_envelope(sealed.envelope).path == ()


def test_records_that_share_a_stamp_share_an_envelope_in_order():
    (sealed,), _ = composer().compose(drafts(50))
    assert records(sealed) == list(range(50)) and [d.token for d in sealed.drafts] == list(range(50))
    assert opened(sealed.envelope, ORIGIN).header.issued_at_ms == T0, "the oldest record's"


def test_different_stamps_share_a_signature():
    mixed = [d for n in range(5) for d in drafts(1, stamp(f"detections.t{n}"))]
    sealed, _ = composer().compose(mixed)
    assert len(sealed) == 5
    assert len({decode_envelope(s.envelope).signature for s in sealed}) == 1
    assert all(opened(s.envelope, ORIGIN) for s in sealed)


def test_a_batch_is_bounded_in_records_and_bytes():
    sealed, _ = composer().compose(drafts(BATCH_RECORDS_MAX * 2 + 1))
    assert [len(s.drafts) for s in sealed] == [BATCH_RECORDS_MAX, BATCH_RECORDS_MAX, 1]
    sealed, _ = composer().compose(drafts(10, size=20_000))
    assert [len(s.drafts) for s in sealed] == [3, 3, 3, 1]


def test_actions_stand_alone():
    sealed, _ = composer().compose(drafts(3, stamp("deny.ipv4_net", Kind.ACTION, to="all")))
    assert [records(s) for s in sealed] == [[0], [1], [2]]


def test_a_bad_record_fails_alone():
    many = drafts(8)
    many[3].record["bad"] = object()
    many[5].record["x"] = "y" * 3_000_000
    sealed, failed = composer().compose(many)
    assert sorted(n for s in sealed for n in records(s)) == [0, 1, 2, 4, 6, 7]
    assert {draft.token: error.code for draft, error in failed} == {3: Code.BAD_INPUT, 5: Code.TOO_LARGE}


class Several:
    """As an array of numbers: whether it is true is not to be asked."""

    def __bool__(self):
        raise ValueError("of which of them?")


class Moody(int):
    def __bool__(self):
        raise KeyError


@pytest.mark.parametrize("bad", [Several(), Moody(1), [Several()], {"b": Several()}])
def test_a_record_whose_values_raise_fails_alone(bad):
    many = drafts(4, stamp(rules=(("a.b", Label.AMBER),)))
    many[2].record["a"] = bad
    sealed, failed = composer().compose(many)
    assert sorted(n for s in sealed for n in records(s)) == [0, 1, 3]
    assert {draft.token: error.code for draft, error in failed} == {2: Code.BAD_INPUT}


def test_what_is_known_of_records_changes_nothing_in_their_envelope():
    snapshots = Snapshots()
    same = [{"a": n, "b": "x"} for n in range(5)]
    for contents in (same, [*same, {"a": 1}], [*same, {"a": [1]}], [{}], [{"a.b": 1, "a": {"b": 2}}]):
        envelopes = []
        for known in (True, False):
            group = [
                Draft(stamp(rules=(("a.b", Label.AMBER), ("b", Label.RED))), taken.record, T0, None, taken.size,
                      keys=taken.keys if known else None)
                for taken in map(snapshots.of, contents)
            ]
            envelopes.append([sealed.envelope for sealed in composer().compose(group)[0]])
        assert envelopes[0] == envelopes[1] != []


def test_a_stream_counts_what_the_same_may_see():
    made = composer()
    headers = []
    for stamp_ in (stamp(), stamp(), stamp(label=Label.AMBER), stamp("detections.y"), stamp()):
        (sealed,), _ = made.compose(drafts(1, stamp_))
        headers.append(opened(sealed.envelope, ORIGIN).header)
    assert [h.sequence for h in headers] == [0, 1, 0, 0, 2]
    assert headers[0].stream == headers[1].stream == headers[4].stream
    assert len({headers[0].stream, headers[2].stream, headers[3].stream}) == 3


def test_nothing_to_compose():
    assert composer().compose([]) == ([], [])


def test_a_message_is_for_its_own_organisation_and_for_whom_else_it_says():
    made = composer()
    headers = []
    for audience in (None, Audience(("msp",), ("isac",)), Audience(("acme", "msp")), Audience((), (), ("hq",))):
        (sealed,), _ = made.compose(drafts(1, stamp(audience=audience)))
        headers.append(opened(sealed.envelope, ORIGIN).header)
    assert [header.audience for header in headers] == [
        Audience(("acme",)), Audience(("acme", "msp"), ("isac",)), Audience(("acme", "msp")),
        Audience(("acme",), (), ("zeek-1", "hq")),
    ]
    assert len({header.stream for header in headers}) == 4, "who may see one of a stream may see all of it"


def test_an_answer_has_the_audience_of_what_it_answers_and_no_other():
    answer = stamp("deny.ipv4_net", Kind.RESULT, audience=Audience(("globex",), (), ("soar-1",)))
    (sealed,), _ = composer().compose(drafts(1, answer))
    assert opened(sealed.envelope, ORIGIN).header.audience == answer.audience


# -- what is sealed -------------------------------------------------------------------------------------------

LEAD = Authority("compose").issue("lead-1")
TO_LEAD = Audience((), (), ("lead-1",))


def sealing(recipients):
    return Composer(ORIGIN.credential, ORIGIN.signer, RootCache(), entropy("sealing"), recipients=recipients)


def keys_of(ids):
    assert ids == ("zeek-1", "lead-1"), "its origin reads what it said, too"
    return [recipient(member.credential) for member in (ORIGIN, LEAD)]


def test_what_is_red_is_sealed_to_its_recipients():
    red = stamp(label=Label.GREEN, rules=(("x", Label.RED),), audience=TO_LEAD)
    (sealed,), failed = sealing(keys_of).compose(drafts(3, red))
    message = opened(sealed.envelope, ORIGIN)
    assert failed == [] and [entry.is_sealed for entry in message.header.manifest] == [False, True]
    read = read_records(message.header, message.envelope.parts, Opener("lead-1", LEAD.signer).open)
    assert [reading.content for reading in read] == [{"n": n, "x": "y"} for n in range(3)]


def test_each_of_a_stream_opens_and_what_failed_takes_no_number():
    known = []

    def keys(ids):
        if not known:
            raise FabricError(Code.RECIPIENT_UNKNOWN, "lead-1")
        return keys_of(ids)

    red, made = stamp(label=Label.RED, audience=TO_LEAD), sealing(keys)
    assert [error.code for _, error in made.compose(drafts(2, red))[1]] == [Code.RECIPIENT_UNKNOWN] * 2
    known.append("lead-1")
    numbers = []
    for _ in range(3):
        (sealed,), _ = made.compose(drafts(1, red))
        message = opened(sealed.envelope, ORIGIN)
        numbers.append(message.header.sequence)
        assert read_records(message.header, message.envelope.parts, Opener("lead-1", LEAD.signer).open)[0].content
    assert numbers == [0, 1, 2]


def test_a_result_is_sealed_to_who_asked_and_its_origin():
    asked = []

    def keys(ids):
        asked.append(ids)
        return [recipient(member.credential) for member in (ORIGIN, LEAD)]

    whose = Audience(("acme",), (), ("fw-9", "lead-1"))
    answer = stamp("deny.ipv4_net", Kind.RESULT, Label.RED, to="lead-1", audience=whose)
    (sealed,), _ = sealing(keys).compose(drafts(1, answer))
    message = opened(sealed.envelope, ORIGIN)
    assert asked == [("zeek-1", "lead-1")] and message.header.audience == answer.audience
