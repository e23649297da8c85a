"""What was denied is answered with the command that says what is granted."""

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.cli.shared.denied import grants_named, with_grants
from relays.cli.shared.options import audience_words, to_audience_option


@pytest.mark.parametrize("code", [Code.PUBLISH_DENIED, Code.SUBSCRIBE_DENIED, Code.REQUEST_DENIED])
def test_the_next_command_is_written_out(code):
    error = with_grants(FabricError(code, "deny ipv4_net"), "act", "deny", "ipv4_net=1.2.3.4", "--to", "role=firewall "
                        "and segment=ot", identity="soar-1", severity="high")
    assert error.code is code and error.detail == "deny ipv4_net"
    assert error.next_step == (
        "see what is granted: fabric explain act deny ipv4_net=1.2.3.4 --to 'role=firewall and segment=ot' --as soar-1"
    )


def test_of_a_severity_that_is_too_high_it_says_which_was_asked_for():
    with pytest.raises(FabricError) as raised, grants_named("publish", "x.y", identity="a", severity="fatal"):
        raise FabricError(Code.SEVERITY_DENIED, "x.y")
    assert raised.value.next_step.endswith("fabric explain publish x.y --as a --severity fatal")


def test_what_is_no_denial_stays_as_it_is():
    error = FabricError(Code.UNREACHABLE, "127.0.0.1:1")
    assert with_grants(error, "publish", "x", identity="a") is error


def test_whom_it_was_for_is_in_the_command_that_says_who_may_be_addressed():
    audience = to_audience_option(["msp"], ["isac"], None)
    error = with_grants(FabricError(Code.AUDIENCE_DENIED, "x"), "publish", "x", *audience_words(audience), identity="a")
    assert error.next_step == "see what is granted: fabric explain publish x --to-org msp --community isac --as a"
    assert to_audience_option(None, None, None) is None and audience_words(None) == []
    assert audience_words(to_audience_option([], None, ["b", "c"])) == ["--recipient", "b", "--recipient", "c"]
