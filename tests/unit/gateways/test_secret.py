"""Where a secret is, and reading it."""

import os

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.secret import SECRET_BYTES_MAX, Secret


def test_it_is_the_first_line_of_a_file_or_a_variable(tmp_path):
    (tmp_path / "token").write_text("s3cret\r\nmore\n")
    assert Secret("file", str(tmp_path / "token")).read() == "s3cret"
    assert Secret("env", "TOKEN").read({"TOKEN": "other"}) == "other"


def test_a_byte_order_mark_is_no_part_of_it_and_a_link_leads_to_it(tmp_path):
    (tmp_path / "token").write_bytes(b"\xef\xbb\xbfs3cret\r\n")
    (tmp_path / "mounted").symlink_to("token")
    assert Secret("file", str(tmp_path / "mounted")).read() == "s3cret"


def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("fifo", "."):
        with pytest.raises(FabricError) as raised:
            Secret("file", str(tmp_path / name)).read()
        assert raised.value.code is Code.NO_SECRET


@pytest.mark.parametrize("content", [None, b"", b"\nsecond", b"\xff\xfe", b"x" * (SECRET_BYTES_MAX + 1)])
def test_one_that_is_not_there_has_a_number_and_is_not_said(tmp_path, content):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    with pytest.raises(FabricError) as raised:
        Secret("file", str(tmp_path / "token")).read()
    assert raised.value.code is Code.NO_SECRET and "xxx" not in str(raised.value) and raised.value.next_step
    with pytest.raises(FabricError, match="TOKEN is not set"):
        Secret("env", "TOKEN").read({})
