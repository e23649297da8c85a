import socket
import time
from contextlib import ExitStack

from fabric.edge.discovery import measuring
from fabric.edge.discovery.measuring import measure


def listening(stack, host="127.0.0.1"):
    server = stack.enter_context(socket.socket())
    server.bind((host, 0))
    server.listen()
    return f"{host}:{server.getsockname()[1]}"


def test_who_answers_has_a_round_trip_and_who_does_not_has_none():
    with ExitStack() as stack:
        one, other = listening(stack), listening(stack, "127.0.0.2")
        closed = listening(closing := ExitStack())
        closing.close()
        found = measure([one, closed, other, one, "no address", "bad..name:1", "127.0.0.1:99999999"])
    assert list(found) == [one, other] and all(0 < took_ms < 1_000 for took_ms in found.values())


def test_nobody_is_asked_nothing():
    assert measure([]) == {}


def test_the_time_is_bounded_also_when_nobody_answers(monkeypatch):
    def silent(address, timeout_s):
        time.sleep(timeout_s)

    monkeypatch.setattr(measuring, "_round_trip_ms", silent)
    began = time.monotonic()
    assert measure([f"192.0.2.{n}:1" for n in range(40)], 0.1) == {}
    assert time.monotonic() - began < 1


def test_a_name_that_hangs_keeps_nobody_waiting(monkeypatch):
    monkeypatch.setattr(measuring, "_round_trip_ms", lambda address, _: time.sleep(3) if "slow" in address else 1.0)
    began = time.monotonic()
    assert measure(["slow.example:1", "quick.example:1"], 0.1) == {"quick.example:1": 1.0}
    assert time.monotonic() - began < 2


def test_the_number_of_addresses_is_bounded(monkeypatch):
    monkeypatch.setattr(measuring, "_round_trip_ms", lambda *_: 1.0)
    assert len(measure([f"host-{n}:1" for n in range(1_000)])) == measuring.ADDRESSES_MAX
