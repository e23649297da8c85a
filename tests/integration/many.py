"""Many command lines, each in a fork of the process that `main` runs in: what they import is imported once.

Reads JSON from standard input: a list of {"args", "closed": descriptors, "out": a path or null}. Writes a list of
{"code", "out", "err"}. What Python makes of a descriptor that is closed is done here as it does it at its start.
"""

from __future__ import annotations

import gc
import io
import json
import os
import sys
import tempfile
from typing import Any

from relays.cli.app import app
from relays.cli.shared.exits import run
from tests.integration.warm import read_modules


def _child(case: dict[str, Any], out: int, err: int) -> None:
    os.dup2(os.open(case["out"], os.O_WRONLY) if case["out"] else out, 1)
    os.dup2(err, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if number in case["closed"]:
            os.close(number)
            setattr(sys, name, None)
        else:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, io.TextIOWrapper(io.FileIO(number, mode, closefd=False), encoding="utf-8"))
    sys.argv = ["fabric", *case["args"]]
    code: Any = 0
    try:
        run(app)
    except SystemExit as ended:
        code = ended.code
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else 99)


def main() -> None:
    read_modules()
    gc.collect()
    gc.freeze()  # a fork that looked for garbage in it would copy it
    results = []
    for case in json.load(sys.stdin):
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                try:
                    _child(case, out.fileno(), err.fileno())
                finally:
                    os._exit(98)
            _, status = os.waitpid(child, 0)
            said = []
            for file in (out, err):
                file.seek(0)
                said.append(file.read().decode(errors="replace"))
            results.append({"code": os.waitstatus_to_exitcode(status), "out": said[0], "err": said[1]})
    json.dump(results, sys.stdout)
