import ipaddress
from dataclasses import replace

import pytest

from fabric.protocol.base.codec import pack
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import DIRECTORY_BYTES_MAX, FRAME_BYTES_MAX
from fabric.protocol.base.signing import TYPE_DIRECTORY, TYPE_REVOCATIONS
from fabric.protocol.trust.directory import Descriptor, RelayDirectory, issue_directory, verify_directory
from fabric.protocol.vocabulary.tlp import Label
from fabric.protocol.wire.codec import encode_frame
from fabric.protocol.wire.frames import Directory
from tests.support import DAY_MS, FABRIC, T0, Authority, derive

AUTHORITY = Authority("directory")


def relay(id_="ot-1", *networks, addresses=("127.0.0.1:7700",)):
    serves = tuple(ipaddress.ip_network(network) for network in networks)
    return Descriptor(id_, addresses, derive(id_), "ot", serves, Label.AMBER, T0, T0 + DAY_MS)


RELAYS = (relay("hq"), relay("ot-1", "10.1.0.0/16", "2001:db8::/48", addresses=("ot.example:7700", "[::1]:7701")))


def issued(version=1, relays=RELAYS, authority=AUTHORITY, fabric=FABRIC):
    return issue_directory(fabric, version, T0, T0 + DAY_MS, relays, authority.signer)


def read(raw):
    return verify_directory(raw, AUTHORITY.key, FABRIC)


def test_what_was_issued_is_read_again_in_its_order():
    raw = issued(7)
    assert read(raw) == RelayDirectory(7, T0, T0 + DAY_MS, RELAYS, raw)


def test_only_a_higher_version_supersedes():
    one, two = read(issued(1)), read(issued(2, ()))
    assert two.supersedes(one) and one.supersedes(RelayDirectory())
    assert not one.supersedes(two) and not one.supersedes(read(issued(1, RELAYS[:1])))


def test_a_relay_is_valid_as_its_credential_is_with_the_skew_at_both_ends():
    assert [RELAYS[0].is_valid(at, 5) for at in (T0 - 6, T0 - 5, T0 + DAY_MS + 5, T0 + DAY_MS + 6)] == [
        False, True, True, False
    ]


def test_a_directory_of_another_authority_is_refused():
    assert read(issued(authority=Authority("another"))).code is Code.STALE_DIRECTORY


def test_a_directory_of_another_fabric_is_refused():
    assert read(issued(fabric="other")).code is Code.WRONG_FABRIC


def test_nobody_moves_a_relay_to_another_address():
    raw = bytearray(issued())
    raw[raw.index(b"127.0.0.1") + 8] ^= 3
    assert read(bytes(raw)).code is Code.STALE_DIRECTORY


def test_a_revocation_list_is_no_directory():
    body = pack([1, FABRIC, 9, T0, T0, []])
    assert read(pack([body, AUTHORITY.signer.sign(TYPE_REVOCATIONS, body)])).code is Code.STALE_DIRECTORY


ENTRY = ["ot-1", ["127.0.0.1:7700"], bytes(32), "ot", ["10.1.0.0/16"], 2, T0, T0]


def signed(body):
    packed = pack(body)
    return pack([packed, AUTHORITY.signer.sign(TYPE_DIRECTORY, packed)])


def altered(at, value):
    return [1, FABRIC, 1, T0, T0, [[value if n == at else field for n, field in enumerate(ENTRY)]]]


@pytest.mark.parametrize(
    "body",
    [
        [1, FABRIC, 1, T0, T0], [2, FABRIC, 1, T0, T0, []], [1, 7, 1, T0, T0, []], {}, 1, [1, FABRIC, "1", T0, T0, []],
        [1, FABRIC, 1, T0, T0, "ot-1"], [1, FABRIC, 1, T0, T0, [7]], [1, FABRIC, 1, T0, T0, [ENTRY[:7]]],
        [1, FABRIC, 1, T0, T0, [ENTRY, ENTRY]], altered(0, "../hq"), altered(0, 7), altered(1, []), altered(1, [""]),
        altered(1, ["a:1"] * 5), altered(1, ["a" * 301]), altered(1, "a:1"), altered(1, [7]), altered(1, 7),
        altered(2, bytes(31)), altered(2, "k" * 32), altered(3, ""), altered(4, ["10.1.0.1/16"]), altered(4, [10]),
        altered(4, ["ten"]), altered(4, "10.1.0.0/16"), altered(4, ["10.1.0.0/16"] * 257), altered(6, True),
        altered(7, "soon"), altered(4, None),
    ],
)
def test_a_body_of_the_wrong_form_is_refused_even_when_signed(body):
    assert read(signed(body)) == Reject(Code.MALFORMED, "directory")


def test_what_later_versions_append_is_ignored():
    found = read(signed([1, FABRIC, 1, T0, T0, [[*ENTRY, "later"]], {"later": 1}]))
    assert found.relays[0].id == "ot-1" and found.relays[0].serves == (ipaddress.ip_network("10.1.0.0/16"),)


def test_every_prefix_is_refused():
    raw = issued()
    assert all(isinstance(read(raw[:cut]), Reject) for cut in range(len(raw)))


@pytest.mark.parametrize("raw", [b"", b"\x90", b"\x92\xc0\xc0", pack([b"", b"", b""]), bytes(FRAME_BYTES_MAX + 1)])
def test_what_is_no_directory_is_refused(raw):
    assert read(raw).code is Code.MALFORMED


def test_one_that_fits_fits_into_a_frame_and_a_larger_one_is_not_made():
    many = [relay(f"relay-{n}", "10.1.0.0/16") for n in range(1_500)]
    raw = issued(1, many)
    assert len(raw) <= DIRECTORY_BYTES_MAX and len(encode_frame(Directory(raw))) <= FRAME_BYTES_MAX
    assert len(read(raw).relays) == 1_500
    with pytest.raises(FabricError, match="E102"):
        issued(1, [relay(f"relay-{n}", *["10.1.0.0/16"] * 9) for n in range(1_500)])


def test_a_descriptor_with_an_unknown_clearance_is_read_like_a_credential():
    assert read(signed(altered(5, 77))).relays[0] == replace(
        read(signed(altered(5, 4))).relays[0], clearance=Label.RED
    )
