"""Chains of three hops, with processes at their ends: of relays, of NATS servers, and of zenoh routers.

Each says what it does with a record on the way, because a figure without that compares nothing.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from scripts.bench_relays import TOPOLOGY
from scripts.comparison.processes import Failed, Program
from tests.integration.harness import House, house_in, wait_for
from tests.ports import free_port

RELAYS = ("plant", "mid", "hq")
# `plant` is where everything is published; `hq` is three hops away.
_POINTS = """
probe-p      = { relay = "plant", role = "sensor",  clearance = "amber" }
collector-hq = { relay = "hq",    role = "analyst", clearance = "red" }
"""
_WAIT_S = 60.0
_ZENOH = "scripts.comparison.zenoh_ends"


class Chain(Protocol):
    """What runs. `does`: with a record, in words. `pids`: of what stands between the ends, by name."""

    @property
    def does(self) -> str: ...

    @property
    def pids(self) -> dict[str, int]: ...

    def publisher(self, who: str, how: str, *, apart: bool = False) -> Program:
        """`who`: "sensor" or "probe"."""

    def reader(self, who: str, pattern: str, how: str, *, apart: bool = False) -> Program:
        """`who`: "analyst" or "collector"."""


class FabricChain:
    does = (
        "signs each envelope, encrypts each hop; every hop verifies, filters fields by label, and has it on disk "
        "before it acknowledges; the reader verifies"
    )

    def __init__(self, house: House, logs: Path) -> None:
        self._house, self._logs = house, logs
        self.pids = {relay: house.pid(relay) for relay in RELAYS}

    def publisher(self, who: str, how: str, *, apart: bool = False) -> Program:
        return self._program(f"fabric {who}", "publish", f"{who}-p", how, apart=apart)

    def reader(self, who: str, pattern: str, how: str, *, apart: bool = False) -> Program:
        return self._program(f"fabric {who}", "read", f"{who}-hq", pattern, how, apart=apart)

    def _program(self, name: str, what: str, id_: str, *more: str, apart: bool) -> Program:
        return Program(
            self._logs / f"{name}.log", "scripts.comparison.fabric_ends", what,
            str(self._house.folder / "ids" / id_), *more, apart=apart,
        )


@contextmanager
def fabric_chain(folder: Path) -> Iterator[FabricChain]:
    folder.mkdir()
    with house_in(folder, TOPOLOGY + _POINTS, anew=True) as house:
        house.up()
        house.wait_whole()
        yield FabricChain(house, folder)
        house.down()


class NatsServer:
    """One of a chain. `more`: lines of its configuration. Its clients and the servers below it come over TLS."""

    def __init__(self, folder: Path, name: str, more: str) -> None:
        self.port = free_port()
        conf, self._log = folder / f"{name}.conf", folder / f"{name}.log"
        conf.write_text(f'server_name: {name}\nlisten: "127.0.0.1:{self.port}"\n{tls(folder)}\n{more}\n')
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([program_of_nats(), "-c", conf], stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        wait_for(self._listens, "nats-server listens", _WAIT_S)

    def _listens(self) -> bool:
        if self._process.poll() is not None:
            raise Failed(f"nats-server ended early. {self.log()[-300:]}")
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as made:
            return made.recv(4).startswith(b"INFO")
        return False

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class NatsChain:
    """`servers`: from where records are published to where they are read."""

    def __init__(self, servers: dict[str, NatsServer], folder: Path, does: str) -> None:
        self._folder, self.does = folder, does
        self.pids = {name: server.pid for name, server in servers.items()}
        *_, last = servers.values()
        self._first_port, self._last_port = next(iter(servers.values())).port, last.port

    def publisher(self, who: str, how: str, *, apart: bool = False) -> Program:
        return self._program(who, "publish", self._first_port, how, apart=apart)

    def reader(self, who: str, pattern: str, how: str, *, apart: bool = False) -> Program:
        return self._program(who, "read", self._last_port, pattern, how, apart=apart)

    def _program(self, who: str, what: str, port: int, *more: str, apart: bool) -> Program:
        return Program(
            self._folder / f"nats {who}.log", "scripts.comparison.nats_ends", what, str(port),
            str(self._folder / "host.pem"), *more, apart=apart,
        )


@contextmanager
def leaf_chain(folder: Path) -> Iterator[NatsChain]:
    """Three servers, each a leaf of the next."""
    make_certificate(folder)
    leaf_ports = {"hq": free_port(), "mid": free_port()}

    def more(name: str, parent: str) -> str:
        lines = []
        if name in leaf_ports:
            lines += [f'listen: "127.0.0.1:{leaf_ports[name]}"', tls(folder)]
        if parent:
            remote = f'url: "tls://127.0.0.1:{leaf_ports[parent]}", tls {{ ca_file: "{folder}/host.pem" }}'
            lines.append(f"remotes: [{{ {remote} }}]")
        return "leafnodes {\n" + "\n".join(lines) + "\n}"

    servers: dict[str, NatsServer] = {}
    try:
        for name, parent in (("hq", ""), ("mid", "hq"), ("plant", "mid")):
            servers[name] = NatsServer(folder, name, more(name, parent))
            servers[name].wait()
        yield NatsChain(
            {name: servers[name] for name in RELAYS}, folder,
            f"{versions_of_nats()}, NATS core, three leaf servers, TLS on each hop: forwards bytes by subject; signs, "
            "verifies, filters and keeps nothing, and acknowledges nothing",
        )
    finally:
        for server in servers.values():
            server.end()


@contextmanager
def jetstream(folder: Path) -> Iterator[NatsChain]:
    """One server that has on disk what it acknowledged."""
    make_certificate(folder)
    server = NatsServer(folder, "hq", f'jetstream {{ store_dir: "{folder}/js", sync_interval: always }}')
    try:
        server.wait()
        yield NatsChain(
            {"hq": server}, folder,
            f"{versions_of_nats()}, one JetStream server (one hop) with TLS and sync_interval: always, which has a "
            "record on disk before it acknowledges, with thousands under way; signs, verifies and filters nothing",
        )
    finally:
        server.end()


class ZenohChain:
    """`ports`: of the first router and the last."""

    def __init__(self, pids: dict[str, int], ports: tuple[str, str], folder: Path) -> None:
        self.pids, self._ports, self._folder = pids, ports, folder
        self.does = (
            f"zenoh {version('eclipse-zenoh')}, three routers, TLS on each hop: forwards bytes by key, and waits where "
            "there is no room; signs, verifies, filters and keeps nothing, and acknowledges nothing"
        )

    def publisher(self, who: str, how: str, *, apart: bool = False) -> Program:
        return self._program(who, "publish", self._ports[0], how, apart=apart)

    def reader(self, who: str, pattern: str, how: str, *, apart: bool = False) -> Program:
        return self._program(who, "read", self._ports[1], pattern, how, apart=apart)

    def _program(self, who: str, what: str, port: str, *more: str, apart: bool) -> Program:
        return Program(
            self._folder / f"zenoh {who}.log", _ZENOH, what, port, str(self._folder / "host.pem"), *more, apart=apart
        )


@contextmanager
def zenoh_chain(folder: Path) -> Iterator[ZenohChain]:
    """Three routers, each of which dials the next."""
    make_certificate(folder)
    certificate, key = str(folder / "host.pem"), str(folder / "host.key")
    ports = {name: str(free_port()) for name in RELAYS}
    with ExitStack() as stack:
        pids = {}
        for name, parent in (("hq", ""), ("mid", "hq"), ("plant", "mid")):
            of_parent = [ports[parent]] if parent else []
            log = folder / f"zenoh {name}.log"
            router = stack.enter_context(Program(log, _ZENOH, "route", ports[name], certificate, key, *of_parent))
            router.hear()
            pids[name] = router.pid
        yield ZenohChain({name: pids[name] for name in RELAYS}, (ports["plant"], ports["hq"]), folder)


def program_of_nats() -> str:
    found = shutil.which("nats-server")
    if found is None:
        raise Failed("there is no program nats-server")
    return found


def versions_of_nats() -> str:
    said = subprocess.run([program_of_nats(), "--version"], capture_output=True, text=True, check=True).stdout
    return f"{said.strip().replace(': v', ' ')} with nats-py {version('nats-py')}"


def tls(folder: Path) -> str:
    return f'tls {{ cert_file: "{folder}/host.pem", key_file: "{folder}/host.key" }}'


def make_certificate(folder: Path) -> None:
    """Of 127.0.0.1, which is all that it vouches for: `host.pem` and `host.key`, in a folder that is made for it."""
    folder.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", "host.key", "-out", "host.pem", "-subj", "/CN=host", "-days", "2",
         "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:false"],
        cwd=folder, check=True, capture_output=True,
    )
