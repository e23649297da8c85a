"""A node takes up its own newer credential, and nothing else."""

import os
from dataclasses import replace

import pytest

from fabric.edge.identity.renewal import OwnCredential, renew_at_ms
from fabric.protocol.trust.chain import issue
from fabric.protocol.trust.credentials import NodeKind
from tests.support import DAY_MS, T0, Authority

AUTHORITY = Authority("renewal")
HELD = AUTHORITY.issue("zeek-1", serial=5).credential


def issued(authority=AUTHORITY, **changed):
    return issue(replace(HELD, **{"serial": 6, **changed}), authority.signer)


@pytest.fixture
def own(tmp_path):
    (tmp_path / "credential").write_bytes(HELD.raw)
    return OwnCredential(tmp_path, AUTHORITY.key, HELD)


def put(folder, raw):
    (folder / "new").write_bytes(raw)
    os.replace(folder / "new", folder / "credential")


def test_two_thirds_of_a_life():
    assert renew_at_ms(replace(HELD, not_before_ms=T0, not_after_ms=T0 + 3 * DAY_MS)) == T0 + 2 * DAY_MS


def test_a_newer_one_is_taken_up_once(tmp_path, own):
    assert own.newer() is None
    put(tmp_path, issued())
    fresh = own.newer()
    assert fresh is not None and fresh.serial == 6 and own.held is fresh
    assert own.newer() is None


@pytest.mark.parametrize(
    "raw",
    [
        issued(serial=5), issued(serial=4), issued(id="zeek-2"), issued(kind=NodeKind.OPERATOR),
        issued(curve_key=bytes(32)), issued(sign_key=bytes(32)), issued(fabric="other"), issued(Authority("another")),
        b"", b"nonsense", bytes(100_000),
    ],
    ids=["the same", "older", "another id", "another kind", "another key", "another signing key", "another fabric",
         "another authority", "empty", "nonsense", "large"],
)
def test_whatever_else_is_there_is_let_be(tmp_path, own, raw):
    put(tmp_path, raw)
    assert own.newer() is None and own.held is HELD
    put(tmp_path, issued(serial=7))
    assert own.newer().serial == 7


def test_a_file_that_is_gone_or_cannot_be_read_changes_nothing(tmp_path, own):
    (tmp_path / "credential").unlink()
    assert own.newer() is None
    (tmp_path / "credential").mkdir()
    assert own.newer() is None and own.held is HELD
