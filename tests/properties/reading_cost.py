"""What it costs a process to read messages of these shapes: `python -m tests.properties.reading_cost`.

Each is read in a fork of its own, of a process that has made none, so that nothing that was freed before hides what it
takes. Counting every allocation instead would say the same, and take seven times as long as reading does. Writes JSON:
by shape the bytes that were taken at most, the refusal or nothing, and the characters of all names of fields.
"""

from __future__ import annotations

import gc
import json
import os
import pickle
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fabric.protocol.base.errors import Reject
from fabric.protocol.envelope.parts import read_records
from scripts.comparison.resident import peak_kb, resident_kb
from tests.properties.reading_shapes import SHAPES, Message


def cost(message: Message) -> tuple[int, list[str], int]:
    """Peak bytes, the refusal as (code, detail), and how long all names are together."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the most memory that was ever taken counts from here
    before = resident_kb("self")
    result = read_records(message, message.parts)
    peak = (peak_kb("self") - before) * 1024
    if isinstance(result, Reject):
        return peak, [result.code.name, result.detail], 0
    return peak, [], sum(len(path) for reading in result for path in reading.labels)


def in_fork(work: Callable[[], object]) -> Any:
    read, write = os.pipe()
    if not (child := os.fork()):
        with os.fdopen(write, "wb") as told:
            pickle.dump(work(), told)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        result = pickle.load(answer)
    os.waitpid(child, 0)
    return result


def main() -> None:
    found = {}
    for name, make in SHAPES.items():
        message = in_fork(make)
        found[name] = in_fork(partial(cost, message))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
