import re

import pytest

from fabric.protocol.base.errors import Code, FabricError, Reject, code_of, describe


def test_numbers_are_unique_and_so_are_reasons():
    # Equal values would make one an alias of the other, and `Code` would be shorter than what is written.
    assert len({code.number for code in Code}) == len({code.reason for code in Code}) == len(Code.__members__)


@pytest.mark.parametrize("code", list(Code))
def test_every_code_says_what_happened_and_what_to_do(code):
    assert 100 <= code.number <= 999
    assert re.fullmatch(r"[a-z_]+", code.reason)
    assert code.name == code.reason.upper()
    assert len(code.cause) > 10 and len(code.next_step) > 3
    assert not code.cause.endswith(".") and not code.next_step.endswith(".")


@pytest.mark.parametrize("code", list(Code))
def test_a_number_is_read_again(code):
    assert code_of(code.number) is code
    assert code.label == f"E{code.number}"


@pytest.mark.parametrize("number", [0, 1, 100, 999, 2**53])
def test_a_number_from_the_future_is_malformed(number):
    assert code_of(number) is Code.MALFORMED


def test_numbers_that_were_published_never_move():
    # Some of each hundred: what programs outside compare with.
    published = {
        101: "malformed", 107: "bad_topic", 201: "unknown_key", 205: "revoked", 301: "bad_signature",
        401: "publish_denied", 407: "wrong_direction", 501: "expired", 601: "withheld", 701: "unroutable",
        704: "busy", 901: "unreachable",
    }
    assert {number: code_of(number).reason for number in published} == published


def test_a_reject_is_one_line_with_number_cause_and_detail():
    assert str(Reject(Code.BUSY, "medium")) == "E704 the relay's queue for this lane is full: medium"
    assert str(Reject(Code.BUSY)) == "E704 the relay's queue for this lane is full"


def test_an_error_carries_the_next_step_of_its_code_or_a_better_one():
    assert FabricError(Code.USAGE).next_step == Code.USAGE.next_step
    assert FabricError(Code.USAGE, "no file", "name a file").next_step == "name a file"
    assert str(FabricError(Code.USAGE, "no file")) == describe(Code.USAGE, "no file")
