"""Which kinds of sources and sinks there are."""

import importlib.metadata
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import SinkKind, SourceKind
from relays.gateways.registry import SINKS, SOURCES

BOTH = [*((SOURCES, name) for name in SOURCES.ours), *((SINKS, name) for name in SINKS.ours)]


@pytest.mark.parametrize(("registry", "name"), BOTH, ids=[name for _, name in BOTH])
def test_each_says_what_it_is_and_what_it_takes(registry, name):
    kind = registry.kind(name)
    assert kind.name == name and kind.summary.endswith(".") and len(kind.summary) < 100
    assert len({option.name for option in kind.options}) == len(kind.options)
    assert all(option.help.endswith(".") and len(f"{option.name} = {option.metavar}") < 60 for option in kind.options)


@pytest.fixture
def brought(monkeypatch, tmp_path):
    """A package that somebody else brings; its module is imported when it is used."""
    (tmp_path / "brought_source.py").write_text(
        "from relays.gateways.kinds import SourceKind\n"
        "KIND = SourceKind('queue', 'Reads.', [], lambda o: None, lambda s, p: None)\nNONE = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint(name, value, SOURCES.group) for name, value in [
            ("queue", "brought_source:KIND"), ("none", "brought_source:NONE"), ("gone", "no_such_module:KIND"),
            ("other", "brought_source:KIND"),
        ]
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if group == SOURCES.group else [])
    yield
    sys.modules.pop("brought_source", None)


def test_another_package_brings_one_that_is_imported_when_it_is_asked_for(brought):
    assert SOURCES.names()[-1] == "queue" and "brought_source" not in sys.modules
    assert isinstance(SOURCES.kind("queue"), SourceKind) and SINKS.type is SinkKind


@pytest.mark.parametrize("name", ["none", "gone", "other"])
def test_one_that_cannot_be_used_has_a_number(brought, name):
    with pytest.raises(FabricError) as raised:
        SOURCES.kind(name)
    assert raised.value.code is Code.SOURCE_UNFIT and name in raised.value.detail


def test_a_name_that_is_none_gets_the_near_ones(brought):
    with pytest.raises(FabricError) as raised:
        SOURCES.kind("qeue")
    assert raised.value.code is Code.USAGE and "write queue" in raised.value.next_step


def test_an_edge_without_the_extras_starts_and_says_what_to_install():
    """Where a package is not installed its kind is named, and nothing of it is imported."""
    program = """
import sys
sys.modules.update(dict.fromkeys(("nats", "confluent_kafka", "httpx"), None))
from relays.gateways.declared import read_sink
for kind, more in (("nats", {"stream": "F"}), ("kafka", {})):
    servers = "nats://127.0.0.1:1" if kind == "nats" else "127.0.0.1:1"
    sink, faults = read_sink("x", {"kind": kind, "servers": servers, "topics": "a", **more})
    assert not faults, faults
    print([(need.what, need.problem, need.next_step) for need in sink.missing()])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    nats, kafka = done.stdout.splitlines() or [done.stderr, ""]
    assert "the package nats" in nats and "it is not installed" in nats and "message-fabric[nats]" in nats
    assert "the package confluent_kafka" in kafka and "message-fabric[kafka]" in kafka
