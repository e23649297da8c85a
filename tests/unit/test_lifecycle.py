"""What may follow what, of an action at one target."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.protocol.vocabulary.lifecycle import (
    BY_RELAY,
    BY_TARGET,
    State,
    may_follow,
    state_from_wire,
    state_named,
    state_of,
)
from fabric.protocol.vocabulary.openc2 import End

WORDS = st.lists(st.tuples(st.sampled_from(State), st.booleans()), max_size=12)


def told(words):
    """The states that a target is in, one after the other, when these are said of it: (state, by the target)."""
    state = State.NONE
    for after, by_target in words:
        if may_follow(state, after, by_target=by_target):
            state = after
            yield state


def test_every_end_is_a_state_and_every_state_is_somebodys_to_say():
    assert {state.end for state in State} - {None} == set(End)
    assert all(state_of(end).end is end and state_named(end) is state_of(end) for end in End)
    assert set(State) - {State.NONE} == BY_TARGET | BY_RELAY


@pytest.mark.parametrize("number", [0, 6, 15, 23, 2**53])
def test_a_state_of_a_later_version_says_nothing(number):
    assert state_from_wire(number) is State.NONE


def test_no_word_is_a_state_by_chance():
    assert state_named("selected") is state_named("") is state_named("COMPLETED") is State.NONE


def test_who_was_away_and_comes_back_and_is_slow():
    said = [(State.HELD, False), (State.DISPATCHED, False), (State.ACCEPTED, True), (State.RUNNING, True),
            (State.RUNNING, True), (State.COMPLETED, True)]
    assert list(told(said)) == [state for state, _ in said]


def test_states_may_be_skipped_and_never_come_back():
    assert list(told([(State.COMPLETED, True), (State.RUNNING, True), (State.HELD, False)])) == [State.COMPLETED]
    assert list(told([(State.RUNNING, True), (State.ACCEPTED, True), (State.DISPATCHED, False)])) == [State.RUNNING]


@pytest.mark.parametrize("state", sorted(BY_TARGET - BY_RELAY))
def test_what_was_done_is_for_the_target_alone_to_say(state):
    assert not may_follow(State.NONE, state, by_target=False)
    assert not may_follow(State.UNKNOWN, state, by_target=False)


@given(words=WORDS)
def test_it_ends_once_and_only_what_was_unknown_ends_again_in_the_targets_words(words):
    ends = [state for state in told(words) if state.end is not None]
    assert len(ends) <= 1 or ends[0] is State.UNKNOWN and len(ends) == 2 and ends[1] in BY_TARGET - {State.UNKNOWN}


@given(words=WORDS)
def test_before_its_end_it_goes_forward_only(words):
    states = [state for state in told(words) if state.end is None]
    assert all(before < after or before is after is State.RUNNING for before, after in itertools.pairwise(states))
