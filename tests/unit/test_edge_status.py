"""What whoever waits for a connection is told, and when."""

import threading

import pytest

from fabric.edge.connection.status import Status
from fabric.protocol.base.errors import Code, FabricError

CLOSED, EXPIRED, SILENT = FabricError(Code.CLOSED), FabricError(Code.CREDENTIAL_EXPIRED), FabricError(Code.UNREACHABLE)


def code_of(standing, **needed):
    with pytest.raises(FabricError) as raised:
        standing.wait_connected(0.0, **(needed or {"needed": True}))
    return raised.value.code


def test_who_hears_nothing_is_told_the_addresses():
    standing = Status(["127.0.0.1:1", "127.0.0.1:2"])
    with pytest.raises(FabricError) as raised:
        standing.wait_connected(0.0, needed=True)
    assert raised.value.code is Code.UNREACHABLE and "127.0.0.1:1, 127.0.0.1:2" in raised.value.detail


def test_with_one_relay_its_word_is_final_and_with_several_that_of_all():
    one, two = Status(["a"]), Status(["a", "b"])
    for standing in (one, two):
        standing.has_no_answer("a", SILENT)
    assert code_of(one) is Code.UNREACHABLE
    two.wait_connected(0.0, needed=False)  # the other may answer yet
    two.has_no_answer("b", EXPIRED)
    assert code_of(two, needed=False) is Code.CREDENTIAL_EXPIRED


def test_the_reason_is_not_lost_in_its_echo():
    standing = Status(["a"])
    standing.is_refused(EXPIRED, final=True)
    standing.has_no_answer("a", CLOSED)
    assert code_of(standing) is Code.CREDENTIAL_EXPIRED


def test_a_connection_ends_the_wait_and_its_end_begins_another():
    standing = Status(["a"])
    standing.is_connected()
    standing.attached.set()
    standing.wait_connected(0.0, needed=True)
    standing.wait_attached(0.0)
    standing.is_refused(CLOSED, final=False)
    assert not standing.connected.is_set()
    with pytest.raises(FabricError):
        standing.wait_attached(0.0)


def test_each_time_that_a_relay_knows_what_is_taken_or_is_gone_is_told_once():
    standing, told = Status(["a"]), []
    standing.on_link(told.append)
    standing.has_no_answer("a", SILENT)
    for _ in range(2):
        standing.is_connected()
        assert told == []
        standing.is_attached()
        standing.is_attached()
        standing.is_refused(CLOSED, final=False)
        standing.has_no_answer("a", SILENT)
        assert told == [None, CLOSED]
        told.clear()
    standing.is_connected()
    standing.is_attached()
    standing.has_ended(EXPIRED)
    assert told == [None, EXPIRED]


def test_a_handshake_that_was_cut_off_says_nothing_for_good():
    for standing in (Status(["a"]), Status(["a", "b"])):
        for _ in standing._addresses:
            standing.was_cut_off(CLOSED)
        standing.wait_connected(0.0, needed=False)
        assert code_of(standing) is Code.CLOSED


def test_the_end_of_the_connection_ends_every_wait():
    standing = Status(["a"])
    standing.is_connected()
    standing.has_ended(EXPIRED)
    assert code_of(standing) is Code.CREDENTIAL_EXPIRED
    with pytest.raises(FabricError) as raised:
        standing.wait_attached(10.0)
    assert raised.value.code is Code.CREDENTIAL_EXPIRED


def test_a_relay_that_does_not_answer_is_waited_for_by_who_is_patient_and_by_nobody_else():
    standing = Status(["a"])
    standing.has_no_answer("a", SILENT)
    assert code_of(standing) is Code.UNREACHABLE
    standing.has_no_answer("a", SILENT)
    coming = threading.Timer(0.05, standing.is_connected)
    coming.start()
    standing.wait_connected(20.0, needed=True, patient=True)
    coming.join()


def test_who_is_patient_waits_no_longer_than_its_time_and_for_no_refusal():
    silent, refused = Status(["a"]), Status(["a"])
    silent.has_no_answer("a", SILENT)
    assert code_of(silent, needed=True, patient=True) is Code.UNREACHABLE
    refused.is_refused(EXPIRED, final=True)
    with pytest.raises(FabricError) as raised:
        refused.wait_connected(None, needed=True, patient=True)
    assert raised.value.code is Code.CREDENTIAL_EXPIRED


def test_and_hears_of_the_end_while_it_waits_without_end():
    standing = Status(["a"])
    standing.has_no_answer("a", SILENT)
    ending = threading.Timer(0.05, standing.has_ended, (CLOSED,))
    ending.start()
    with pytest.raises(FabricError) as raised:
        standing.wait_connected(None, needed=True, patient=True)
    ending.join()
    assert raised.value.code is Code.CLOSED


def test_where_there_is_something_to_do_without_a_relay_its_silence_is_no_reason_not_to_begin():
    standing = Status(["a"])
    standing.has_no_answer("a", SILENT)
    standing.wait_connected(1.0, needed=False)
