"""A log, who writes it and who rotates it, on virtual time, from a seed: for tests of those who read it.

Everything happens on a real file system, but nothing waits: whoever reads waits by this clock, and that lets the story
go on. Times of files are set by the same clock. `lost` holds what a rotation itself destroys and no reader can have.
"""

from __future__ import annotations

import gzip
import os
import random
import shutil
from pathlib import Path

STEP_S = 0.4
# When nothing happens any more, whoever waits is woken so much later.
_LATER = 5
_EPOCH_S = 1_790_000_000


class Story:
    """`wait` is called by the reader: then something happens, and time passes."""

    def __init__(self, folder: Path, seed: int, steps: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.left = steps
        self.now = 0.0
        self.kind = self.random.choice(["create", "create", "copytruncate", "zeek", "zeekctl", "symlink", "mixed"])
        self.told: list[str] = []
        self.written = 0
        self.lines: list[int] = []  # numbers of whole lines that no rotation destroyed
        self.rotations = 0
        self.pending = b""  # the rest of a line whose beginning was written
        self.half: tuple[int, bool] | None = None
        if self.kind == "symlink":
            self.log = folder / "current.log"
            self.target = folder / "app-1000.log"
            self.log.symlink_to(self.target.name)
        else:
            self.log = folder / "conn.log"
            self.target = self.log
        self.writer = self.target.open("ab", buffering=0)
        self.late = 0  # steps for which the writer stays on the old file

    # -- the reader's clock -------------------------------------------------------------------------------

    def now_s(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.left:
            self.left -= 1
            self.now += STEP_S * self.random.random()
            self.step()
        else:
            self.now += seconds * (_LATER - 1)

    @property
    def is_over(self) -> bool:
        return not self.left and not self.pending

    def end(self) -> None:
        """Nothing happens any more."""
        self.left = 0
        if self.pending:
            self._write(b"")
        self._reopen()

    # -- what happens -------------------------------------------------------------------------------------

    def step(self) -> None:
        if self.late:
            self.late -= 1
            if not self.late:
                self._reopen()
        action = self.random.random()
        if action < 0.62:
            for _ in range(self.random.randrange(1, 5)):
                self._line()
        elif action < 0.72:
            self._part()
        elif action < 0.9 and not self.late:
            self.rotate()
        elif action < 0.95:
            self._compress()

    def _line(self) -> None:
        self._write(b"")
        number, self.written = self.written, self.written + 1
        self._write(b'{"ts": %d, "pad": "%s"}\n' % (number, b"x" * self.random.choice([0, 3, 90, 2_000])))
        self.lines.append(number)

    def _part(self) -> None:
        """A buffered writer: the line's end comes with what it writes next."""
        self._write(b"")
        number, self.written = self.written, self.written + 1
        text = b'{"ts": %d, "pad": "%s"}\n' % (number, b"y" * self.random.choice([0, 90, 2_000]))
        cut = self.random.randrange(1, len(text))
        self._write(text[:cut])
        self.pending = text[cut:]
        self.lines.append(number)

    def _write(self, data: bytes) -> None:
        pending, self.pending = self.pending, b""
        self.writer.write(pending + data)
        self._touch(self.writer.fileno())

    def _touch(self, file: int | Path) -> None:
        self.now += 0.001
        stamp = int((_EPOCH_S + self.now) * 1e9)
        os.utime(file, ns=(stamp, stamp))

    def rotate(self) -> None:
        self.rotations += 1
        kind = self.kind
        if kind == "mixed":
            kind = self.random.choice(["create", "copytruncate", "zeek", "zeekctl"])
        self.told.append(kind)
        getattr(self, f"_{kind}")()

    def _shift(self) -> None:
        """conn.log.2 becomes conn.log.3, and so on."""
        rotated = [path for path in self.folder.glob("conn.log.*") if path.name.split(".")[2].isdecimal()]
        for path in sorted(rotated, key=lambda path: -int(path.name.split(".")[2])):
            _, _, number, *packed = path.name.split(".")
            path.rename(path.with_name(".".join(["conn.log", str(int(number) + 1), *packed])))

    def _create(self) -> None:
        self._shift()
        self.log.rename(self.folder / "conn.log.1")
        if self.random.random() < 0.8:
            self.log.touch()
            self._touch(self.log)
        self.late = self.random.randrange(3)
        if not self.late:
            self._reopen()

    def _copytruncate(self) -> None:
        if self.writer is None or self.late:
            return
        self._shift()
        copy = self.folder / "conn.log.1"
        shutil.copyfile(self.log, copy)
        self._touch(copy)
        os.truncate(self.log, 0)
        self._touch(self.log)
        if self.random.random() < 0.3:  # compressed at once, as logrotate does without delaycompress
            self._pack(copy, copy.with_name(copy.name + ".gz"), keep_time=True)
        if self.random.random() < 0.3:  # grows past the old place before anybody looks
            for _ in range(40):
                self._line()

    def _zeek(self) -> None:
        self._write(b"")
        self.log.rename(self.folder / f"conn-26-11-28_05.{self.rotations // 60:02}.{self.rotations % 60:02}.log")
        self.writer.close()
        self.writer = self.log.open("ab", buffering=0)
        self._touch(self.log)

    def _zeekctl(self) -> None:
        self._zeek()
        old = self.folder / f"conn-26-11-28_05.{self.rotations // 60:02}.{self.rotations % 60:02}.log"
        archive = self.folder / "2026-11-28"
        archive.mkdir(exist_ok=True)
        self._pack(old, archive / f"conn.05:{self.rotations:02}:00-06:00:00.log.gz", keep_time=False)

    def _symlink(self) -> None:
        self._write(b"")
        self.target = self.folder / f"app-{1000 + self.rotations}.log"
        new = self.folder / "new"
        new.symlink_to(self.target.name)
        old_is_late = self.random.random() < 0.5
        self.target.touch()
        self._touch(self.target)
        new.rename(self.log)
        self.late = self.random.randrange(1, 3) if old_is_late else 0
        if not self.late:
            self._reopen()

    def _reopen(self) -> None:
        self._write(b"")
        self.writer.close()
        target = self.target if self.kind == "symlink" else self.log
        self.writer = target.open("ab", buffering=0)
        self.late = 0

    def _compress(self) -> None:
        """One of the rotated files that nobody writes to any more."""
        if self.late:
            return
        rotated = [
            path for path in self.folder.iterdir()
            if path.is_file() and not path.is_symlink() and path not in (self.log, self.target) and path.suffix != ".gz"
        ]
        if rotated:
            path = self.random.choice(sorted(rotated, key=lambda path: path.stat().st_mtime_ns)[-20:])
            # A file that lost its time is read out of order, and then the torn line in it cannot be put together.
            is_torn = not path.read_bytes().endswith(b"\n")
            self._pack(path, path.with_name(path.name + ".gz"), keep_time=is_torn or self.random.random() < 0.7)

    def _pack(self, path: Path, packed: Path, keep_time: bool) -> None:
        before = path.stat()
        with gzip.open(packed, "wb") as file:
            file.write(path.read_bytes())
        if keep_time:  # in whole seconds, as many do
            stamp = before.st_mtime_ns // 10**9 * 10**9
            os.utime(packed, ns=(stamp, stamp))
        else:
            self._touch(packed)
        path.unlink()

    def close(self) -> None:
        self.writer.close()
