"""What a peer needs on this machine, and what to say where it is missing."""

from __future__ import annotations

import importlib.util
import shutil
from typing import NamedTuple


class Need(NamedTuple):
    """`module` or `program`: what is looked for. `install`: the command that brings it."""

    what: str
    install: str
    module: str = ""
    program: str = ""

    @property
    def is_met(self) -> bool:
        """Whether it can be used here, without loading it."""
        if self.module:
            return importlib.util.find_spec(self.module) is not None
        return shutil.which(self.program) is not None


_BENCH = "pip install -c constraints.txt -e '.[bench]'"
_OPENSSL = Need("openssl", "apt-get install openssl", program="openssl")
NATS = (
    Need("nats-py", _BENCH, module="nats"),
    Need("nats-server", _BENCH, program="nats-server"),
    _OPENSSL,
)
ZENOH = (Need("eclipse-zenoh", _BENCH, module="zenoh"), _OPENSSL)


def missing(needs: tuple[Need, ...]) -> tuple[str, str]:
    """What is not there, in words, and the commands that bring it; two empty strings when all is."""
    absent = [need for need in needs if not need.is_met]
    if not absent:
        return "", ""
    return (
        f"{' and '.join(need.what for need in absent)} {'is' if len(absent) == 1 else 'are'} not installed",
        " && ".join(dict.fromkeys(need.install for need in absent)),
    )
