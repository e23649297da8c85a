"""How far each source is read: never past what still waits."""

from concurrent.futures import Future

import pytest

from fabric.edge.publishing import sources
from fabric.edge.publishing.drafts import NO_STAMP, Draft, Position
from fabric.edge.publishing.sources import Sources
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.core.ready import KeepPosition, Ready
from tests.support import T0


def draft(n, source="log"):
    return Draft(NO_STAMP, {"n": n}, T0, Future(), 10, Position(source, str(n)) if source else None)


def advance(made):
    ready = Ready()
    made.advance(ready)
    return ready.persist


def test_a_source_goes_as_far_as_nothing_before_it_waits_and_others_go_on():
    made = Sources()
    first, second, third, other = drafts = [draft(1), draft(2), draft(3), draft(1, "other")]
    for one in drafts:
        made.begin(one)
    second.taken = other.taken = True
    assert advance(made) == [KeepPosition("other", "1")]
    first.taken = True
    assert advance(made) == [KeepPosition("log", "2")] and advance(made) == []
    third.taken = True
    assert advance(made) == [KeepPosition("log", "3")] and not made._begun


def test_what_was_cancelled_holds_nothing_back_and_is_not_passed_alone():
    made = Sources()
    first, second, third = drafts = [draft(n) for n in (1, 2, 3)]
    assert made.begin_many(drafts) == 3
    assert first.token.cancel()
    assert advance(made) == [], "it may be given again"
    second.taken, third.dropped = True, True
    assert advance(made) == [KeepPosition("log", "2")] and not made._begun


def test_what_has_no_position_is_not_waited_for():
    made = Sources()
    made.begin(draft(1, None))
    assert made.begin_many([draft(2, None), draft(3)]) == 2 and len(made._begun["log"]) == 1


def test_behind_one_that_waits_so_many_are_begun_and_no_more(monkeypatch):
    monkeypatch.setattr(sources, "BEGUN_MAX", 3)
    made = Sources()
    drafts = [draft(n, None if n == 1 else "log") for n in range(6)]
    assert made.begin_many(drafts) == 4, "without a position there is nothing behind which it would wait"
    with pytest.raises(FabricError) as refused:
        made.begin(draft(6))
    assert refused.value.code is Code.BUSY
    made.begin(draft(1, "other"))
    for one in drafts:
        one.taken = True
    assert advance(made) == [KeepPosition("log", "3")]
