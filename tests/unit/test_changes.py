"""What a parent is to be told next: turns among those whose it is, and what was invented last of all."""

from fabric.protocol.base.limits import ROUTES_ENTRIES_MAX, WITHDRAWALS_MAX
from fabric.protocol.routes.changes import Changes

SESSION = bytes(16)


def key(name):
    return (name, SESSION)


def names(changes, count=ROUTES_ENTRIES_MAX):
    return [change.key[0] for change in changes.take(count)]


def test_only_the_latest_is_said_of_one_session():
    changes = Changes()
    changes.say(key("fw"), None, "ot-1")
    changes.say(key("fw"), 7, "ot-1")
    changes.say_again(key("fw"), None, "ot-1")
    assert [change.said for change in changes.take(9)] == [7] and not len(changes)


def test_a_newcomer_does_not_wait_behind_what_a_child_invents():
    changes = Changes()
    for n in range(100_000):
        changes.say((f"nobody-{n}", SESSION), 1, "bad-child", known=False)
    assert len(changes) <= WITHDRAWALS_MAX
    changes.say(key("newcomer"), None, "good-child")
    assert "newcomer" in names(changes)


def test_nor_behind_what_one_says_truly_and_too_often():
    changes = Changes()
    for n in range(10_000):
        changes.say((f"fw-{n}", SESSION), None, "busy-child")
        changes.say((f"gone-{n}", SESSION), 1, "busy-child")
    changes.say(key("newcomer"), None, "good-child")
    changes.say(key("left"), 1, "good-child")
    assert {"newcomer", "left"} <= set(names(changes))


def test_invented_withdrawals_push_out_no_honest_one():
    changes = Changes()
    changes.say(key("left"), 3, "good-child")
    changes.say(key("left-long-ago"), 3, "good-child", known=False)
    for n in range(100_000):
        changes.say((f"nobody-{n}", SESSION), 1, "bad-child", known=False)
    assert key("left") in changes and key("left-long-ago") in changes


def test_none_waits_for_ever():
    changes = Changes()
    changes.say(key("invented"), 1, "child", known=False)
    for turn in range(3):
        for n in range(200):
            changes.say((f"fw-{turn}-{n}", SESSION), None, "child")
        if "invented" in names(changes):
            return
    raise AssertionError("it waits")


def test_who_is_alone_fills_the_frame():
    changes = Changes()
    for n in range(100):
        changes.say((f"fw-{n}", SESSION), None, "child")
    assert names(changes) == [f"fw-{n}" for n in range(ROUTES_ENTRIES_MAX)]
