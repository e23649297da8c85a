"""`python -m relays.fork_server N IDS RELAY...`: reads a relay's modules once, and forks a process for each relay that
its supervisor asks for on the socket N.

Guarantees: a relay is what it would be if it were started anew: a process of its own with its own session, log, command
line and numbers of chance, whose parent is the supervisor, which adopts it. None begins before the supervisor says so,
who knows its process by then; else it ends. This process has one thread and nothing open but the socket, and ends with
its supervisor. Refuses to serve where reading the modules left a thread, since a fork would keep its locks for ever.

What all relays of one supervisor have in common: where their memory lies, and the secret in Python's hashes of text.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import gc
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from relays import run
from relays.starting import command_of

# A request is a relay's name; with it come the descriptors of its log, and of the socket by which it is told to begin.
REQUEST_BYTES_MAX = 1_024
_DESCRIPTORS = 2
_NUMBER_BYTES_MAX = 32
# Of /proc/PID/stat after the name: where the command line begins and ends (proc_pid_stat(5), fields 48 and 49).
_ARG_START, _ARG_END = 45, 46


class Begun(Exception):  # noqa: N818 - no error: a fork's way out of all that is the server's
    """Which relay this fork is; its log, and where it is told to begin."""

    def __init__(self, relay: str, log: int, go: int) -> None:
        super().__init__(relay)
        self.relay, self.log, self.go = relay, log, go


def serve(channel: socket.socket) -> None:
    """Until the channel ends. Raises Begun in each fork.

    Answers each request with the number of a process, or with a negative one: why there is none (`errno`).
    """
    with channel:
        while True:
            request, descriptors, _, _ = socket.recv_fds(channel, REQUEST_BYTES_MAX, _DESCRIPTORS)
            if not request:
                return
            try:
                number = _fork_adopted()
            except OSError as error:
                number = -(error.errno or errno.EAGAIN)
            if not number:
                raise Begun(request.decode(), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            channel.send(b"%d" % number)


def _fork_adopted() -> int:
    """The process of a fork whose parent is the supervisor: who came between has ended by now. 0 in the fork itself."""
    answers, answer = socket.socketpair()
    with answers, answer:
        if between := os.fork():
            os.waitpid(between, 0)
            # It was killed where nothing is there to be read: EAGAIN, then.
            return int(answers.recv(_NUMBER_BYTES_MAX, socket.MSG_DONTWAIT))
        try:
            relay = os.fork()
        except OSError as error:
            relay = -(error.errno or errno.EAGAIN)
        if relay:
            answer.send(b"%d" % relay)
            os._exit(0)
        return 0


def begin(begun: Begun, command: Sequence[str]) -> bool:
    """In a fork: become what this command would be, once the supervisor says so; False when it does not."""
    os.setsid()
    may = os.read(begun.go, 1)
    os.close(begun.go)
    if not may:
        return False
    for stream in (sys.stdout.fileno(), sys.stderr.fileno()):
        os.dup2(begun.log, stream)
    os.close(begun.log)
    _show(command)
    return True


def _show(command: Sequence[str]) -> None:
    """What `ps` shows of this process, as far as there is room and the system lets it be written."""
    shown = b"".join(os.fsencode(each) + b"\0" for each in command)
    with suppress(OSError, ValueError, IndexError):
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
        if len(shown) <= end - start:
            ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def threads() -> int:
    """Those of this process, also those that no Python made."""
    return len(list(Path("/proc/self/task").iterdir()))


def main() -> int:
    """Serves; in a fork, runs the relay. The exit code: 0 the supervisor has gone, 1 a thread is in the way; of a fork
    the relay's."""
    parser = argparse.ArgumentParser(prog="python -m relays.fork_server", description="Fork relays for a supervisor.")
    parser.add_argument("channel", type=int, help="descriptor of the socket to the supervisor")
    parser.add_argument("ids", type=Path, help="where the identity folders are")
    parser.add_argument("relays", nargs="+", help="which relays it may be asked for")
    parser.add_argument("--supervisor", type=int, required=True, help="stop when this process, the parent, is gone")
    parser.add_argument("--home", type=Path, default=None, help="where state lives; default: FABRIC_HOME")
    parsed = parser.parse_args()
    run.stop_with(parsed.supervisor)
    if threads() > 1:
        sys.stderr.write("reading a relay's modules started a thread: none can be forked\n")
        return 1
    # What is here stays: a relay that looked for garbage in it would only make copies of its memory.
    gc.collect()
    gc.freeze()
    try:
        serve(socket.socket(fileno=parsed.channel))
    except Begun as begun:
        this = begun
    else:
        return 0
    command = command_of(parsed.ids / this.relay, parsed.supervisor, parsed.home)
    if not begin(this, command):
        return 0
    sys.argv[:] = [run.__file__, *command[3:]]
    return _end(run.main(sys.argv[1:]))


def _end(code: int) -> NoReturn:
    """The relay has let go of all that it had. What is left are modules, and to take them apart as the interpreter does
    at its end would copy nearly all of the memory that all relays share."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
