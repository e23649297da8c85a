"""Who was handed what, and by which way: what is known of it, for how long, and how much of whom."""

from fabric.protocol.base.limits import TTL_MAX_MS
from fabric.protocol.core.ready import KeepDispatch, Ready
from fabric.protocol.envelope.header import Kind
from fabric.protocol.relay.actions.dispatches import _NAMES_MAX, Dispatches
from fabric.protocol.vocabulary.tlp import Audience, Label
from tests.support import EVERYTHING, HOUR_MS, MINUTE_MS, T0, Authority, derive, draft

AUTHORITY = Authority("dispatches")
SOAR, EVE = (AUTHORITY.issue(name, grants=EVERYTHING) for name in ("soar-1", "eve"))
DENY = derive("an action")


def header(member=SOAR):
    return draft(member, kind=Kind.ACTION, topic="deny.ipv4_net", to="all", label=Label.AMBER)[0]


def handed(dispatches, *targets, way="relay:east", digest=DENY, member=SOAR, at_ms=T0):
    ready = Ready()
    for target in targets:
        dispatches.handed(digest, target, way, header(member), at_ms, ready)
    return ready.persist


def test_who_was_handed_it_is_known_with_its_label_and_by_which_way():
    dispatches = Dispatches()
    handed(dispatches, "fw-1")
    assert dispatches.label_of(DENY, "fw-1") is Label.AMBER and dispatches.label_of(DENY, "fw-2") is None
    assert dispatches.label_of(derive("another"), "fw-1") is None
    assert dispatches.ways(DENY, ["fw-1", "fw-2"]) == ["relay:east", ""]
    assert not dispatches.turned_here(DENY)
    dispatches.turned(DENY, header(), T0, Ready())
    assert dispatches.turned_here(DENY)


def test_for_whom_it_was_is_known_as_far_as_it_was_kept():
    dispatches, restored = Dispatches(), Dispatches()
    (kept,) = handed(dispatches, "fw-1")
    restored.restore(kept, T0)
    for known in (dispatches, restored):
        assert not known.was_for_others(DENY, header().audience)
        assert known.was_for_others(DENY, Audience(("acme", "bank")))
        assert not known.was_for_others(derive("another"), Audience(("bank",)))
        assert known.was_for_others(DENY, Audience((), ("acme",))), "a community of the same name is another"


def test_only_what_is_new_is_written_and_the_last_way_counts():
    dispatches = Dispatches()
    until_ms = T0 + MINUTE_MS + HOUR_MS
    (kept,) = handed(dispatches, "fw-1")
    assert kept._replace(audience=b"") == KeepDispatch(
        DENY, "fw-1", int(Label.AMBER), until_ms, "soar-1", "relay:east"
    )
    assert handed(dispatches, "fw-1") == []
    assert [op.way for op in handed(dispatches, "fw-1", way="relay:west")] == ["relay:west"]
    assert dispatches.ways(DENY, ["fw-1"]) == ["relay:west"] and len(dispatches) == 1


def test_it_is_forgotten_when_no_result_can_come_any_more_and_not_before():
    dispatches = Dispatches()
    handed(dispatches, "fw-1", "fw-2")
    dispatches.sweep(T0 + MINUTE_MS + HOUR_MS - 1)
    assert len(dispatches) == 2
    dispatches.sweep(T0 + MINUTE_MS + HOUR_MS)
    assert len(dispatches) == 0 and not dispatches.full("soar-1", 1)


def test_many_actions_of_one_requester_leave_room_for_others_and_push_nobody_s_out():
    dispatches, n = Dispatches(entries_max=1_000), 0
    handed(dispatches, "fw-1")
    while not dispatches.full("eve", 10):
        handed(dispatches, *(f"fw-{k}" for k in range(10)), digest=derive(n), member=EVE)
        n += 1
    assert 0.75 * 1_000 < len(dispatches) <= 0.8 * 1_000 + 1
    assert not dispatches.full("soar-1", 10) and dispatches.label_of(DENY, "fw-1") is Label.AMBER


def test_names_are_kept_once_and_so_many_of_them():
    dispatches = Dispatches()
    for n in range(_NAMES_MAX + 10):
        dispatches.restore(KeepDispatch(DENY, f"fw-{n}", 1, T0 + HOUR_MS, "eve", f"relay:{n}"), T0)
    assert len(dispatches._names) <= _NAMES_MAX and len(dispatches) == _NAMES_MAX + 10
    assert dispatches.ways(DENY, ["fw-0", "fw-20"]) == ["relay:0", "relay:20"], "nothing is lost with them"


def test_an_action_with_more_targets_than_are_left_waits():
    dispatches = Dispatches(entries_max=100)
    assert dispatches.full("soar-1", 101) and not dispatches.full("soar-1", 50)


def test_what_an_earlier_process_kept_is_bounded_and_no_clock_makes_it_last_for_ever():
    dispatches = Dispatches(entries_max=10)
    for n in range(1_000):
        dispatches.restore(KeepDispatch(derive(n), "fw-1", 1, 2**50, "eve", "relay:east"), T0)
    assert len(dispatches) == 10
    dispatches.sweep(T0 + TTL_MAX_MS["action"] + HOUR_MS)
    assert len(dispatches) == 0


def test_a_row_of_an_earlier_version_says_who_was_a_target_and_no_way():
    dispatches = Dispatches()
    dispatches.restore(KeepDispatch(DENY, "fw-1", int(Label.GREEN), T0 + HOUR_MS), T0)
    assert dispatches.label_of(DENY, "fw-1") is Label.GREEN and dispatches.ways(DENY, ["fw-1"]) == [""]


DAY_MS = 24 * HOUR_MS


def lasting(dispatches, *targets, digest=DENY, member=SOAR, at_ms=T0, lasts_ms=DAY_MS):
    ready = Ready()
    dispatches.turned(digest, header(member), at_ms, ready, lasts_ms)
    return ready.persist + handed(dispatches, *targets, digest=digest, member=member, at_ms=at_ms)


def test_where_it_turned_it_is_known_for_as_long_as_its_effect_lasts_and_takes_no_room_of_others():
    dispatches, over_ms = Dispatches(entries_max=10), T0 + MINUTE_MS + HOUR_MS
    ops = lasting(dispatches, "fw-1", "fw-2")
    assert {op.until_ms for op in ops} == {over_ms + DAY_MS} and dispatches.lasts(DENY)
    assert (len(dispatches), dispatches.lasting) == (3, 0)
    dispatches.sweep(over_ms)
    assert (len(dispatches), dispatches.lasting) == (0, 3) and dispatches.turned_here(DENY)
    assert dispatches.label_of(DENY, "fw-1") is Label.AMBER and dispatches.had_it(DENY) == {"fw-1", "fw-2"}
    for at_ms in (T0 + HOUR_MS, over_ms + HOUR_MS):  # read again, before and after results may come
        again = Dispatches(entries_max=10)
        for op in ops:
            again.restore(op, at_ms)
        assert (len(again), again.lasting) == ((3, 0) if at_ms < over_ms else (0, 3))
        again.sweep(over_ms)
        assert (len(again), again.lasting) == (0, 3)
        again.sweep(over_ms + DAY_MS)
        assert (len(again), again.lasting) == (0, 0) and not again.turned_here(DENY)


def test_of_those_whose_effect_lasts_a_requester_s_own_oldest_go_first():
    dispatches, over_ms = Dispatches(lasting_max=100), T0 + MINUTE_MS + HOUR_MS
    lasting(dispatches, "fw-1", member=EVE, digest=derive("eve's"))
    dispatches.sweep(over_ms)
    for n in range(60):
        lasting(dispatches, "fw-1", digest=derive(f"n{n}"), at_ms=over_ms + n)
        dispatches.sweep(over_ms + n + MINUTE_MS + HOUR_MS)
    assert dispatches.lasting <= 100 and dispatches.turned_here(derive("eve's"))
    assert dispatches.turned_here(derive("n59")) and not dispatches.turned_here(derive("n0"))


def test_who_was_on_the_way_is_known_with_the_last_way():
    dispatches, ready = Dispatches(), Ready()
    dispatches.handed(DENY, "fw-1", "relay:east", header(), T0, ready, "cell/site")
    assert all(dispatches.was_between(DENY, "fw-1", name) for name in ("cell", "site"))
    assert not any(dispatches.was_between(DENY, "fw-1", name) for name in ("east", ""))
    assert not dispatches.was_between(DENY, "fw-2", "cell") and not dispatches.was_between(derive("x"), "fw-1", "cell")
    dispatches.handed(DENY, "fw-1", "relay:east", header(), T0, ready, "hall")
    assert dispatches.was_between(DENY, "fw-1", "hall") and not dispatches.was_between(DENY, "fw-1", "cell")
    handed(dispatches, "fw-1", way="away")
    assert not dispatches.was_between(DENY, "fw-1", "hall") and len(dispatches) == 1
    again = Dispatches()
    again.restore(ready.persist[0], T0)
    assert again.was_between(DENY, "fw-1", "site")
