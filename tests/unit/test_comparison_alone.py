"""Rows of Message Fabric alone: how much there is of everything, and what is promised of it."""

from scripts.comparison.alone import Sizes, plans_alone


def test_a_share_of_everything_is_one_at_least():
    assert Sizes(targets=500, relays=20).scaled(0.1)[:2] == (50, 2)
    assert set(Sizes().scaled(1e-9)[:-1]) == {1}
    assert Sizes().scaled(1.0) == Sizes()


def test_the_targets_are_those_that_are_promised():
    targets = {
        (plan.name, figure.name): figure.target
        for plan in plans_alone(Sizes()) for figure in plan.figures if figure.target is not None
    }
    assert targets == {
        ("fanout", "command"): 2.0, ("connections", "memory"): 50.0, ("connections", "processor"): 5.0,
        ("connections", "stayed"): 100.0, ("connect", "attached"): 2.0, ("backlog", "drain"): 100_000.0,
        ("backlog", "memory"): 1.5, ("start", "help"): 0.25, ("start", "relay"): 0.5,
    }


def test_each_says_how_many_it_is_about():
    said = {plan.name: plan.says for plan in plans_alone(Sizes(idle=300, coming=70))}
    assert "300 control points" in said["connections"] and "70 control points" in said["connect"]
