import io

import pytest

from fabric.protocol.base.codec import pack, unpack
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import BODY_DEPTH_MAX
from relays.reading.records import parse_record, read_text
from relays.reading.splitting import LINE_BYTES_MAX

SECRET = "10.66.6.6"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'{"orig_bytes": 340282366920938463463374607431768211456}', "orig_bytes: integer beyond 64 bits"),
        (b'{"a": {"b": [1, {"c": -9223372036854775809}]}}', "a.b[1].c: integer beyond 64 bits"),
        (b'{"x": NaN}', "x: no finite number"), (b'{"x": [-Infinity]}', "x[0]: no finite number"),
        (b'{"x": 1e999}', "x: no finite number"),
        (rb'{"user": "\ud83d 10.66.6.6"}', "user: half of a character (a lone surrogate)"),
        (rb'{"\udc00": 1}', r"\udc00: half of a character in its name (a lone surrogate)"),
        (b'{"id.orig_h": {"\\u001b[31m": NaN}}', "id.orig_h.?[31m: no finite number"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "a" + ".a" * 30 + ": more than 31 levels deep"),
        (b'{"a": ' + b"[" * 100_000, "it is not JSON"),
        (b'{"a": 10.66.6.6', "it is not JSON"), (b"[1]", "it is not a JSON object"),
        (b'{"a": "\xff10.66.6.6"}', "it is not UTF-8"), (b'{"a": ' + b"7" * 5_000 + b"}", "it is not JSON"),
    ],
)
def test_what_no_message_can_hold_is_named_by_its_field(data, said):
    with pytest.raises(FabricError) as refused:
        parse_record(data)
    assert (refused.value.code, refused.value.detail) == (Code.BAD_INPUT, said)
    assert SECRET not in str(refused.value)


def test_a_long_path_is_shown_in_part():
    with pytest.raises(FabricError) as refused:
        parse_record(b'{"' + b"k" * 10_000 + b'": NaN}')
    assert len(refused.value.detail) < 250


@pytest.mark.parametrize("depth", [BODY_DEPTH_MAX - 1, BODY_DEPTH_MAX])
def test_what_passes_here_can_be_packed_and_read(depth):
    data = b'{"a":' * depth + b"[18446744073709551615, -9223372036854775808, true, null, 1.5]"[:1] + b"]" + b"}" * depth
    limits = {"bytes_max": 10**6, "elements_max": 10**4, "depth_max": BODY_DEPTH_MAX}
    try:
        record = parse_record(data)
    except FabricError:
        return
    assert not isinstance(unpack(pack([record]), **limits), Reject)
    assert parse_record(b'{"a": [18446744073709551615, -9223372036854775808, true, null, 1.5]}')


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_standard_input_is_read_in_what_its_mark_says(codec):
    assert parse_record(read_text(io.BytesIO('{"a": "ä"}'.encode(codec)), "the message")) == {"a": "ä"}


def test_standard_input_is_bounded_and_named():
    with pytest.raises(FabricError) as long:
        read_text(io.BytesIO(b"x" * (LINE_BYTES_MAX + 1)), "the message")
    with pytest.raises(FabricError) as bad:
        read_text(io.BytesIO(b"\xff\xfe\x00"), "the message")
    assert long.value.code is Code.LINE_TOO_LONG and bad.value.detail == "the message is not UTF-16"
