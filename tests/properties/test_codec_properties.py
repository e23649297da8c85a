import msgpack
from hypothesis import example, given
from hypothesis import strategies as st

from fabric.protocol.base.codec import pack, scan, unpack
from fabric.protocol.base.errors import Code, Reject

WIDE = {"elements_max": 10_000, "depth_max": 500}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.binary(max_size=300)
)
keys = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.integers(-(2**63), 2**64 - 1)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(keys, inner, max_size=20),
    max_leaves=40,
)


def is_one_value(data: bytes) -> bool:
    """What msgpack itself says of the structure. It knows extensions, which we refuse."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data) + 1)
    unpacker.feed(data)
    try:
        unpacker.skip()
    except (ValueError, msgpack.UnpackException):
        return False
    return unpacker.tell() == len(data)


def size_and_depth(value: object) -> tuple[int, int]:
    if not isinstance(value, list | dict):
        return 1, 0
    inner = [size_and_depth(item) for item in (value.values() if isinstance(value, dict) else value)]
    own = 1 + (len(value) if isinstance(value, dict) else 0)
    return own + sum(size for size, _ in inner), 1 + max((depth for _, depth in inner), default=0)


@given(values)
def test_any_value_survives_a_round_trip(value):
    data = pack(value)
    assert unpack(data, bytes_max=len(data), **WIDE) == value
    assert pack(unpack(data, bytes_max=len(data), **WIDE)) == data


@given(values)
def test_the_bounds_are_exact(value):
    data = pack(value)
    size, depth = size_and_depth(value)
    assert scan(data, elements_max=size, depth_max=depth) is None
    assert scan(data, elements_max=size - 1, depth_max=depth).code is Code.TOO_LARGE
    assert depth == 0 or scan(data, elements_max=size, depth_max=depth - 1).code is Code.TOO_DEEP


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xc1")
@example(b"\xd9")
@example(b"\xdd\x00\x00")
def test_any_bytes_are_answered_and_as_msgpack_sees_them(data):
    refused = scan(data, **WIDE)
    assert (scan(memoryview(data), **WIDE) is None) == (refused is None)
    if refused is None:
        assert is_one_value(data)
    elif is_one_value(data):
        assert "extension" in refused.detail
    value = unpack(data, bytes_max=200, **WIDE)
    assert refused is None or value == refused
    if not isinstance(value, Reject):
        # repr: NaN is not equal to itself
        assert repr(value) == repr(msgpack.unpackb(data, strict_map_key=False))


@given(values, st.data())
def test_damaged_values_are_answered_too(value, data):
    packed = bytearray(pack(value))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packed)))
    for damaged in (bytes(packed), bytes(packed[:cut])):
        refused = scan(damaged, **WIDE)
        assert refused is not None or is_one_value(damaged)
        unpack(damaged, bytes_max=100_000, **WIDE)


@given(
    st.sampled_from([b"\xdc", b"\xdd", b"\xde", b"\xdf"]), st.integers(10_000, 65_535), st.binary(max_size=50)
)
def test_a_huge_declared_length_is_refused_whatever_follows(first, count, rest):
    length = count.to_bytes(2 if first in (b"\xdc", b"\xde") else 4, "big")
    assert scan(first + length + rest, **WIDE).code is Code.TOO_LARGE


@given(st.integers(501, 50_000), st.sampled_from([b"\x91", b"\x81\x01", b"\xdc\x00\x01"]))
def test_deep_nesting_is_refused(depth, opening):
    refused = scan(opening * depth + b"\xc0", elements_max=200_000, depth_max=500)
    assert refused.code is Code.TOO_DEEP
