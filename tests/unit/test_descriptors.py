"""How many descriptors a process may have: towards what the machine lets it, within reason."""

import resource

import pytest

from relays.process import descriptors
from relays.process.descriptors import DESCRIPTORS_MAX, raise_limit

NONE = resource.RLIM_INFINITY


@pytest.fixture
def machine(monkeypatch):
    """Its limits: what they are, and whether they may be changed."""
    limits, said = {"may": True}, []

    def set_(_, both):
        if not limits["may"]:
            raise ValueError("not allowed")
        said.append(both)

    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: (limits["soft"], limits["hard"]))
    monkeypatch.setattr(descriptors.resource, "setrlimit", set_)

    def with_(soft, hard, *, may=True):
        limits.update(soft=soft, hard=hard, may=may)
        return raise_limit(), said

    return with_


@pytest.mark.parametrize(("soft", "hard", "holds", "said"), [
    (1_024, 4_096, 4_096, [(4_096, 4_096)]),
    (1_024, 10**9, DESCRIPTORS_MAX, [(DESCRIPTORS_MAX, 10**9)]),
    (1_024, NONE, DESCRIPTORS_MAX, [(DESCRIPTORS_MAX, NONE)]),
    (4_096, 4_096, 4_096, []),
    (10**6, 10**9, DESCRIPTORS_MAX, []),
    (NONE, NONE, DESCRIPTORS_MAX, []),
])
def test_it_is_raised_as_far_as_it_may_and_never_lowered(machine, soft, hard, holds, said):
    assert machine(soft, hard) == (holds, said)


def test_where_it_may_not_be_raised_what_there_is_holds(machine):
    assert machine(1_024, 4_096, may=False) == (1_024, [])
