"""What options of commands say, read."""

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.cli.shared.options import to_names


@pytest.mark.parametrize("name", ["ISAC", "isac ", "is\u0430c", "", "-isac", "is*ac", "*isac"])
@pytest.mark.parametrize("patterns", [False, True])
def test_a_name_that_nobody_can_have_is_refused_where_it_is_typed(name, patterns):
    """Compared byte for byte it would be given, and be of no use to anybody."""
    with pytest.raises(FabricError) as raised:
        to_names(["msp", name], "--community", patterns=patterns)
    assert raised.value.code is Code.USAGE and "--community" in raised.value.next_step


def test_only_who_delegates_says_names_by_their_beginning():
    assert to_names(None, "--community") == () == to_names([], "--community")
    assert to_names(["isac", "*", "is-*"], "--community", patterns=True) == ("isac", "*", "is-*")
    for pattern in ("*", "is-*"):
        with pytest.raises(FabricError):
            to_names([pattern], "--community")
