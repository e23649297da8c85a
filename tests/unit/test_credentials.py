import dataclasses

import pytest

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, Reject
from fabric.protocol.base.limits import CREDENTIAL_BYTES_MAX, GRANTS_MAX, SESSION_KEEP_MS_MAX, TAGS_MAX
from fabric.protocol.base.signing import TYPE_CREDENTIAL, TYPE_ROUTE
from fabric.protocol.trust.chain import issue, verify_credential
from fabric.protocol.trust.credentials import (
    ApproveGrant,
    Credential,
    DeclassifyGrant,
    Grants,
    Keep,
    NodeKind,
    PublishGrant,
    RequestGrant,
    check_validity,
    digest_of,
    encode_grants,
    name_ok,
)
from fabric.protocol.vocabulary.severity import Severity
from fabric.protocol.vocabulary.tlp import Label
from tests.support import FABRIC, Authority, derive

AUTHORITY = Authority("credentials")
GRANTS = Grants(
    publish=(PublishGrant("detections.>", Severity.HIGH, 50),),
    subscribe=("intel.ipv4.>",),
    request=(RequestGrant("deny *", "role=firewall", Severity.CRITICAL, "ot-1"),),
    execute=("deny ipv4_net",),
    approve=(ApproveGrant("contain", "segment=ot-1"),),
)
MEMBER = AUTHORITY.issue("fw-7", grants=GRANTS, tags=[("role", "firewall")], clearance=Label.AMBER)


def read(raw):
    return verify_credential(raw, AUTHORITY.key, FABRIC)


def body_with(at, value):
    """A credential that the authority signed, with one field changed."""
    outer = unpack(MEMBER.credential.raw, bytes_max=9_999, elements_max=99, depth_max=9)
    fields = unpack(outer[0], bytes_max=9_999, elements_max=999, depth_max=9)
    fields[at] = value
    body = pack(fields)
    return pack([body, AUTHORITY.signer.sign(TYPE_CREDENTIAL, body), []])


def test_what_was_issued_is_read_again():
    written = dataclasses.replace(
        MEMBER.credential, principal="team-1", seal_key=derive("seal"), communities=("energy",), client_of=("msp",)
    )
    read_again = read(issue(written, AUTHORITY.signer))
    assert dataclasses.replace(read_again, raw=b"", digest=b"") == dataclasses.replace(written, raw=b"", digest=b"")


def test_the_digest_is_that_of_the_raw_bytes():
    assert MEMBER.credential.digest == digest_of(MEMBER.credential.raw)
    assert len(MEMBER.credential.digest) == 16


def test_another_authority_is_not_believed():
    assert verify_credential(MEMBER.credential.raw, Authority("another").key, FABRIC) == Reject(Code.BAD_CREDENTIAL)


def test_a_signature_of_the_authority_over_something_else_is_not_believed():
    outer = unpack(MEMBER.credential.raw, bytes_max=9_999, elements_max=99, depth_max=9)
    raw = pack([outer[0], AUTHORITY.signer.sign(TYPE_ROUTE, outer[0]), []])
    assert read(raw).code is Code.BAD_CREDENTIAL


def test_nobody_widens_a_credential():
    raw = bytearray(MEMBER.credential.raw)
    raw[raw.index(b"detections.>")] = ord("e")
    assert read(bytes(raw)).code is Code.BAD_CREDENTIAL


def test_a_credential_of_another_fabric_is_refused():
    assert verify_credential(MEMBER.credential.raw, AUTHORITY.key, "other").code is Code.WRONG_FABRIC


@pytest.mark.parametrize("id_", ["", "..", "a/b", "a b", "Hq", "-x", "hq\n", "ü", "x" * 64, 7, None])
def test_a_name_is_never_a_path_or_a_selector(id_):
    assert not name_ok(id_)
    assert read(body_with(2, id_)).code is Code.MALFORMED


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, 0), (0, "1"), (3, 0), (3, 9), (4, 7), (5, b"short"), (6, bytes(31)), (7, bytes(31)), (9, "acme"),
        (10, [1]), (13, [["k"]]), (13, [["k", 1]]), (14, []), (14, [[], [], [], []]), (14, {}), (15, -1),
        (16, "never"), (17, True), (14, [[["a", 1]], [], [], [], []]), (14, [[{}], [], [], [], []]),
        (14, [[], [], [], [], [], [2**20]]), (14, [[], [], [], [], [], [2**20 - 1, 1]]),
        (14, [[], [], [], [], [], [2**20, 0]]), (14, [[], [], [], [], [], [2**20, SESSION_KEEP_MS_MAX + 1]]),
        (14, [[], [], [], [], [], [2**45, 1]]), (14, [[], [], [], [], [], ["2GB", "7d"]]),
        (13, [["k", "v"]] * (TAGS_MAX + 1)), (14, [[], ["a"] * (GRANTS_MAX + 1), [], [], []]),
    ],
)
def test_a_field_of_the_wrong_form_is_refused_even_when_signed(at, value):
    assert read(body_with(at, value)).code is Code.MALFORMED


@pytest.mark.parametrize("raw", [b"", b"\x93", b"\x90", b"\xc0", pack([b"", b"", []]), pack(["a", "b", []])])
def test_what_is_no_credential_is_refused(raw):
    assert isinstance(read(raw), Reject)


def test_an_oversized_credential_is_refused_unread():
    assert read(bytes(CREDENTIAL_BYTES_MAX + 1)).code is Code.TOO_LARGE


def test_fields_from_the_future_do_not_matter():
    outer = unpack(MEMBER.credential.raw, bytes_max=9_999, elements_max=99, depth_max=9)
    body = pack([*unpack(outer[0], bytes_max=9_999, elements_max=999, depth_max=9), "from version 2"])
    assert read(pack([body, AUTHORITY.signer.sign(TYPE_CREDENTIAL, body), []])).id == "fw-7"


@pytest.mark.parametrize("clearance", [5, 99, -1, "red", None, True, 4.0])
def test_a_clearance_that_is_not_known_opens_nothing(clearance):
    assert read(body_with(11, clearance)).clearance is Label.CLEAR


@pytest.mark.parametrize(
    ("now_ms", "valid"), [(969, False), (970, True), (1_000, True), (2_000, True), (2_030, True), (2_031, False)]
)
def test_validity_has_the_skew_at_both_ends(now_ms, valid):
    credential = AUTHORITY.issue("short", not_before_ms=1_000, not_after_ms=2_000).credential
    problem = check_validity(credential, now_ms, skew_ms=30)
    assert problem == (None if valid else Reject(Code.CREDENTIAL_EXPIRED, "short"))


def test_tags_cannot_hide_who_a_node_is():
    tags = [("id", "hq"), ("segment", "hq"), ("organisation", "other"), ("role", "firewall")]
    seen = AUTHORITY.issue("fw-8", tags=tags, segment="ot-1").credential.attributes()
    assert seen == {"id": "fw-8", "segment": "ot-1", "organisation": "acme", "role": "firewall"}


def test_everything_is_denied_that_is_not_granted():
    assert AUTHORITY.issue("nobody").credential.grants == Grants((), (), (), (), ())
    assert isinstance(AUTHORITY.issue("hq", NodeKind.RELAY).credential, Credential)


def test_what_is_kept_is_appended_and_who_says_nothing_has_what_everybody_has():
    kept = AUTHORITY.issue("soar-1", grants=dataclasses.replace(GRANTS, keep=Keep(2**31, 1_000))).credential
    assert kept.grants.kept == Keep(2**31, 1_000) and MEMBER.credential.grants.kept == Keep()
    assert read(body_with(14, [[], [], [], [], [], [2**20, 7, "later"]])).grants.kept == Keep(2**20, 7)


@pytest.mark.parametrize(("said", "waits"), [
    ([], False), (["wait"], True), (["wait", "later"], True), (["shed"], False), ([True], False), ([["wait"]], False),
])
def test_a_reader_sheds_when_it_is_full_unless_its_credential_says_wait(said, waits):
    assert read(body_with(14, [[], [], [], [], [], [2**20, 7, *said]])).grants.kept == Keep(2**20, 7, waits)
    kept = AUTHORITY.issue("soar-1", grants=dataclasses.replace(GRANTS, keep=Keep(2**20, 7, waits))).credential
    assert encode_grants(kept.grants)[5] == ([2**20, 7, "wait"] if waits else [2**20, 7])


PARTNERS = PublishGrant("intel.>", Severity.HIGH, 7, ("msp", "client-*"), ("isac",))


def test_whom_a_grant_lets_address_is_appended_and_who_says_nothing_addresses_nobody_else():
    grants = dataclasses.replace(GRANTS, publish=(PARTNERS, *GRANTS.publish))
    made = AUTHORITY.issue("feed-1", grants=grants).credential
    assert made.grants == grants and read(made.raw).grants == grants
    assert encode_grants(grants)[0] == [
        ["intel.>", 4, 7, [["msp", "client-*"], ["isac"]]], ["detections.>", 4, 50]
    ]


@pytest.mark.parametrize("said", [7, "isac", [], [["msp"]], ["msp", []], [[7], []], [["msp"] * 65, []], {}])
def test_what_is_no_list_of_names_addresses_nobody_and_is_refused(said):
    assert read(body_with(14, [[["a", 1, 0, said]], [], [], [], []])).code is Code.MALFORMED


def test_what_a_later_version_appends_to_a_grant_is_ignored():
    later = read(body_with(14, [[["a", 6, 0, [["msp"], ["isac"], ["more"]], "more"]], [], [], [], []]))
    assert later.grants.publish == (PublishGrant("a", to_organisations=("msp",), to_communities=("isac",)),)


LOWERS = (DeclassifyGrant("detections.>", Label.AMBER, Label.GREEN), DeclassifyGrant("intel.x", Label.RED, Label.CLEAR))


@pytest.mark.parametrize("keep", [None, Keep(2**20, 7), Keep(2**20, 7, waits=True)])
def test_what_may_be_declassified_comes_after_what_is_kept_whose_place_is_filled(keep):
    """A node of before reads what is kept from the sixth, and stops there."""
    grants = dataclasses.replace(GRANTS, keep=keep, declassify=LOWERS)
    made = AUTHORITY.issue("analyst-1", grants=grants).credential
    assert made.grants == grants and read(made.raw).grants == grants
    said = encode_grants(grants)
    assert said[:6] == encode_grants(dataclasses.replace(GRANTS, keep=grants.kept))
    assert said[6:] == [[["detections.>", 2, 1], ["intel.x", 4, 0]]]


def test_who_may_declassify_nothing_says_what_was_said_before():
    assert len(encode_grants(GRANTS)) == 5
    assert len(encode_grants(dataclasses.replace(GRANTS, keep=Keep(2**20, 7)))) == 6
    assert read(body_with(14, [[], [], [], [], [], [2**20, 7], []])).grants.declassify == ()


@pytest.mark.parametrize("said", [
    7, "amber", [7], [[]], [["a"]], [["a", 2]], [[7, 2, 1]], ["a"], [["a", 2, 1]] * (GRANTS_MAX + 1), [{}],
])
def test_what_is_no_grant_to_declassify_is_refused(said):
    assert read(body_with(14, [[], [], [], [], [], [2**20, 7], said])).code is Code.MALFORMED


def test_of_labels_that_are_not_known_the_least_may_be_lowered_to_the_highest():
    later = read(body_with(14, [[], [], [], [], [], [2**20, 7], [["a", 9, 9, "more"]], "more"]))
    assert later.grants.declassify == (DeclassifyGrant("a", Label.CLEAR, Label.RED),)


def test_credentials_that_say_the_same_share_one_copy_of_it():
    """A relay knows thousands: their raw bytes are read apart, and what they say is kept once."""
    first, second = (read(AUTHORITY.issue(id_, grants=GRANTS).credential.raw) for id_ in ("wall-1", "wall-2"))
    assert first.grants is second.grants and first.grants == GRANTS
    assert first.organisation is second.organisation and first.segment is second.segment
    other = dataclasses.replace(GRANTS, keep=Keep(2**20, 7))
    assert read(AUTHORITY.issue("wall-3", grants=other).credential.raw).grants == other
