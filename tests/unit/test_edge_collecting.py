"""Who has the session for results, and what happens to who has not; with a relay in `integration/test_keys.py`."""

import os
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace

import pytest
import structlog

from fabric.edge.collecting import Collector
from fabric.edge.requesting.recorder import NotKeptError
from fabric.protocol.base.errors import Code, FabricError
from fabric.spool.book import NAME, Book
from fabric.spool.file import take_lock
from tests.support import EVERYTHING, Authority
from tests.unreachable import unreachable_relay

AUTHORITY = Authority("edge-collecting")
ME = AUTHORITY.issue("soar-1", grants=EVERYTHING)


@pytest.fixture
def identity(tmp_path):
    """Its relay does not answer."""
    with unreachable_relay(AUTHORITY, ME, tmp_path) as identity:
        yield identity


@pytest.fixture
def collector(identity, monkeypatch):
    """At its end it tries for a moment to end the session that another program left."""
    monkeypatch.setattr("fabric.edge.collecting._INHERIT_MAX_S", 0.1)
    made = Collector(identity, 0.2, structlog.get_logger())
    yield made
    made.release()


@pytest.fixture
def held(identity):
    """By another program."""
    lock = take_lock(identity.folder / NAME)
    yield
    os.close(lock)


def keep(identity, *, is_kept):
    with closing(Book(identity.folder / NAME)) as book:
        book.keep(b"s" * 16, is_kept=is_kept)


def asks(*outcomes):
    left = list(outcomes)

    def ask():
        future = Future()
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
        return future

    return ask


def test_while_another_program_keeps_the_session_it_is_asked_at_once(collector, identity, held):
    keep(identity, is_kept=True)
    assert collector.while_kept(asks(b"id")) == b"id"


def test_where_it_was_just_ended_it_is_waited_for_again(collector, identity, held):
    keep(identity, is_kept=True)
    assert collector.while_kept(asks(NotKeptError(), NotKeptError(), b"id")) == b"id"


def test_what_else_is_raised_is_raised(collector, identity, held):
    keep(identity, is_kept=True)
    with pytest.raises(FabricError, match="E730"):
        collector.while_kept(asks(FabricError(Code.KEY_TAKEN)))


def test_one_who_begins_to_keep_it_is_waited_for_so_long(collector, identity, held):
    keep(identity, is_kept=False)
    with pytest.raises(FabricError) as raised:
        collector.while_kept(asks(b"id"))
    assert raised.value.code is Code.BUSY


def test_without_a_relay_nothing_is_asked_and_the_lock_is_free_again(collector, identity):
    with pytest.raises(FabricError) as raised:
        collector.while_kept(asks(b"id"))
    assert raised.value.code is Code.UNREACHABLE
    os.close(take_lock(identity.folder / NAME))
    with closing(Book(identity.folder / NAME)) as book:
        session, is_kept = book.session()
    assert len(session) == 16 and not is_kept, "it is gone on with, and nobody relies on it"


def test_where_nothing_can_be_written_it_says_so(identity, tmp_path):
    made = Collector(replace(identity, folder=tmp_path / "nowhere"), 0.2, structlog.get_logger())
    with pytest.raises(FabricError) as raised:
        made.while_kept(asks(b"id"))
    assert raised.value.code is Code.BOOK_FAILED
    made.release()


def test_who_never_used_a_key_makes_nothing(collector, identity):
    collector.release()
    assert list(identity.folder.iterdir()) == []
