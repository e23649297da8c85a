"""`--handler processes`: holds a process of this Linux machine still, lets it go on, or ends it.

A target names a pid; whatever else it says (name, executable with path or hashes, parent, working directory, command
line) has to be so, and the more it says, the less a number that was used again can be mistaken. Which processes are
held still is kept on disk, by number and start, so that what is let go on later is the same, or nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Final

from fabric.edge.handling.handlers import Answer
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code
from fabric.protocol.vocabulary.openc2 import Status
from fabric.transport.clock import boot_id
from relays.handlers.kept import Entry, Kept, effect_of, held_for
from relays.handlers.kinds import Kind, Need, Option, Options, Pair, Place, failed, refused
from relays.handlers.linux_processes import Held, Stat, ancestors, differs, held, stat_of
from relays.wall import wall_ms

STILL_MAX: Final = 1_000
_KILLED_S: Final = 2.0


class Processes:
    """`grace_s`: between SIGTERM and SIGKILL."""

    def __init__(self, kept: Kept, never: frozenset[str], grace_s: float, boot: str) -> None:
        self._kept = kept
        self._never = never
        self._grace_s = grace_s
        self._boot = boot

    def start(self) -> None:
        """Who was held still before the machine started anew is gone."""
        with self._kept.changing():
            for name in [name for name, entry in self._kept.entries.items() if not self._is_one(name, entry)]:
                self._kept.drop(name)

    def tend(self) -> None:
        """Whoever lets one go on that is held still has a reason."""

    def stop(self) -> None:
        """Who is held still stays so: nobody said that its time is over."""

    def __call__(self, action: Action) -> Answer:
        if action.action == "allow":
            with self._kept.changing():
                return self._go_on(action.target.value.get("pid"), lambda _: True)
        return self._with(action, self._contain if action.action == "contain" else self._end)

    def revert(self, action: Action) -> Answer:
        """It goes on, where it is held for this effect, and for no other one."""
        effect = effect_of(action)
        with self._kept.changing():
            pid = action.target.value.get("pid")
            for name in self._named(pid):
                if self._kept.is_for(name, effect) and self._kept.let_go(name, effect):
                    return Answer(result={"was_held": True, "goes_on": False, "still_held": True})
            return self._go_on(pid, lambda name: self._kept.is_for(name, effect))

    def _named(self, pid: object) -> list[str]:
        return [name for name in self._kept.entries if name.partition("/")[0] == str(pid)]

    def _go_on(self, pid: Any, is_meant: Callable[[str], bool]) -> Answer:
        names = [name for name in self._named(pid) if is_meant(name)]
        if not names:
            return Answer(result={"was_held": False})
        resumed = False
        for name in names:
            with held(pid) as process:
                if process is not None and self._is_one(name, self._kept.entries[name]) and process.is_there():
                    try:
                        process.send(signal.SIGCONT)
                    except PermissionError:
                        return _may_not()
                    except ProcessLookupError:
                        pass  # it has ended meanwhile
                    else:
                        resumed = True
            self._kept.drop(name)
        return Answer(result={"was_held": True, "goes_on": resumed})

    def _with(self, action: Action, do: Callable[[Action, Held, Stat], Answer]) -> Answer:
        """Hold the process that is meant, and nobody else."""
        wanted: dict[str, Any] = action.target.value
        if "pid" not in wanted:
            return refused(Code.BAD_ACTION, "target.process.pid: this handler needs it")
        pid = wanted["pid"]
        with held(pid) as process:
            stat = stat_of(pid)
            if process is None or stat is None:
                return failed(Code.NOT_THERE, "", Status.NOT_FOUND)
            why_not = self._why_not(stat)
            if why_not:
                return refused(Code.PROTECTED, why_not)
            try:
                other = differs(pid, wanted)
                if not process.is_there():
                    return failed(Code.NOT_THERE, "it has ended meanwhile", Status.NOT_FOUND)
                if other:
                    return refused(Code.TARGET_DIFFERS, f"it has another {other}")
                return do(action, process, stat)
            except PermissionError:
                return _may_not()
            except (ProcessLookupError, FileNotFoundError):
                return failed(Code.NOT_THERE, "it has ended meanwhile", Status.NOT_FOUND)

    def _why_not(self, stat: Stat) -> str:
        if stat.kernel:
            return "it is the kernel's"
        if stat.pid == 1 or stat.pid in ancestors():
            return "it is this control point's own, or one that it descends from"
        return "its name is one that the handler was told never to touch" if stat.name in self._never else ""

    def _contain(self, action: Action, process: Held, stat: Stat) -> Answer:
        name = f"{stat.pid}/{stat.start}"
        with self._kept.changing():
            already = name in self._kept.entries
            if not already:
                if not self._kept.has_room(action.requester):
                    full = f"{STILL_MAX:,} processes are held, or as many as one requester may have"
                    return failed(Code.HANDLER_FAILED, full)
                more = {"boot": self._boot, **held_for(action)}
                self._kept.put(name, Entry(action.requester, wall_ms(), action.id, more))
            elif not self._kept.hold_for(name, effect_of(action)):
                return failed(Code.HANDLER_FAILED, "too many other actions hold it")
            try:
                process.send(signal.SIGSTOP)
            except BaseException:
                if not already:
                    self._kept.drop(name)
                raise
        return Answer(result={"held": stat.pid, "name": stat.name, "already": already})

    def _end(self, action: Action, process: Held, stat: Stat) -> Answer:
        # One that is held still hears nothing.
        kill = stat.state in ("T", "t")
        if not kill:
            process.send(signal.SIGTERM)
            kill = not process.ends_in(self._grace_s)
            if kill and action.control.cancelled:
                return failed(Code.CANCELLED, "it was asked to end (SIGTERM), and has not")
        if kill:
            process.send(signal.SIGKILL)
            if not process.ends_in(_KILLED_S):
                return failed(Code.HANDLER_FAILED, "it was killed, and has not ended yet")
        with self._kept.changing():
            self._kept.drop(f"{stat.pid}/{stat.start}")
        return Answer(result={"ended": stat.pid, "name": stat.name, "killed": kill})

    def _is_one(self, name: str, entry: Entry) -> bool:
        """Whether the process that was held is that of its number."""
        pid, _, start = name.partition("/")
        found = stat_of(int(pid))
        return entry.more["boot"] == self._boot and found is not None and str(found.start) == start


def _may_not() -> Answer:
    return failed(Code.HANDLER_FAILED, "this user may not touch it: run the control point as root, or as its user")


def _check(name: str, entry: Entry) -> None:
    pid, _, start = name.partition("/")
    if not (pid.isdigit() and start.isdigit() and isinstance(entry.more["boot"], str)):
        raise ValueError("no process")


def make(options: Options, place: Place) -> Processes:
    """Raises USAGE."""
    kept = Kept(place.folder / "held.json", STILL_MAX, _check)
    return Processes(kept, frozenset(options.many("never")), options.seconds("grace", "5s"), boot_id())


def needs(_options: Options) -> list[Need]:
    """A Linux that has descriptors of processes."""
    with held(1) as process:
        there = process is not None and stat_of(1) is not None
    return [Need("Linux 5.3 or later, with /proc", "" if there else "it is not there", "" if there else "use --exec")]


KIND: Final = Kind(
    "processes",
    "Hold a process of this Linux machine still, or end it, by its pid.",
    lambda _options: [
        Pair("contain", "process", "holds it still (SIGSTOP)", reverts=True),
        Pair("allow", "process", "lets it go on (SIGCONT)"),
        # A second time, the number may be somebody else's.
        Pair("stop", "process", "ends it: SIGTERM, and SIGKILL after a while", again=False),
    ],
    [
        Option("never", "NAME", "Never touch processes of this name; nor pid 1, the kernel's, its own.", True),
        Option("grace", "5s", "Between SIGTERM and SIGKILL; default: 5s."),
    ],
    needs,
    make,
)
