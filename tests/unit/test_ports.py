"""Ports that tests give to listeners."""

import socket

from tests.ports import free_port


def test_no_port_is_given_twice_and_none_that_somebody_has_or_an_outgoing_connection_could_get(monkeypatch):
    first = free_port()
    assert free_port() != first
    with socket.socket() as outgoing:
        outgoing.bind(("127.0.0.1", 0))
        assert first < outgoing.getsockname()[1]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        monkeypatch.setattr("tests.ports._given", set())
        monkeypatch.setattr("tests.ports._own", lambda: range(first, first + 200))
        assert free_port() != first
