"""A flood leaves a bounded number of entries, and all of it is counted."""

from fabric.protocol.audit import kinds
from fabric.protocol.audit.damping import WINDOW_MS, WRITTEN_MAX, WRITTEN_OF_ALL_MAX, Damper
from fabric.protocol.audit.kinds import Audited

T0 = 1_000_000


def refused(who, code="E403"):
    return Audited(kinds.MESSAGE_REFUSED, who, {"code": code})


def test_the_first_of_each_doer_are_written_and_the_rest_is_counted_at_the_minute_s_end():
    damper = Damper()
    written = sum(damper.take(refused("soar-1"), T0 + n) for n in range(1_000))
    assert written == WRITTEN_MAX and damper.due_ms == T0 + WINDOW_MS
    assert damper.counted(T0 + WINDOW_MS - 1) == []
    (told,) = damper.counted(T0 + WINDOW_MS)
    assert told == Audited(kinds.LOG_REPEATED, "soar-1", {"of": kinds.MESSAGE_REFUSED, "code": "E403", "times": 996})
    assert damper.due_ms is None and damper.take(refused("soar-1"), T0 + WINDOW_MS + 1)


def test_actions_and_approvals_are_never_counted_instead():
    damper = Damper()
    assert all(damper.take(Audited(kinds.ACTION_TAKEN, "soar-1", {}), T0) for _ in range(10_000))


def test_a_flood_of_names_is_bounded_and_loses_no_count():
    damper = Damper()
    written = sum(damper.take(Audited(kinds.LINK_REFUSED, f"key-{n}", {"code": "E203"}), T0) for n in range(5_000))
    told = damper.counted(T0, at_once=True)
    assert written == WRITTEN_OF_ALL_MAX and len(told) < 32
    assert written + sum(each.fields["times"] for each in told) == 5_000
    assert told[-1].who == ""


def test_who_makes_up_codes_takes_room_from_nobody():
    damper = Damper()
    for n in range(500):
        damper.take(refused("loud", f"E{n}"), T0)
    for _ in range(WRITTEN_MAX + 3):
        damper.take(refused("quiet", "E401"), T0)
    told = damper.counted(T0, at_once=True)
    assert Audited(kinds.LOG_REPEATED, "quiet", {"of": kinds.MESSAGE_REFUSED, "code": "E401", "times": 3}) in told
    assert len([each for each in told if each.who == "loud"]) <= 5


def test_who_is_let_in_is_written_though_many_come_up_to_as_many_as_the_specification_says():
    damper = Damper()
    written = [damper.take(Audited(kinds.LINK_OPENED, f"fw-{n}", {}), T0) for n in range(5_000)]
    assert all(written[:4_096]) and not any(written[4_096:])
