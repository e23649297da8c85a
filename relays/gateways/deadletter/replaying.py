"""Dead letters on their way again: through the mapping as it is declared now, into an outbox.

Guarantees: what is rejected again is in the store again, with the new reason, before anything after it is published. A
replay that was interrupted, whenever, goes on with the next one: no letter is lost, and none published twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, Unpack

from fabric.edge.publishing.options import PublishOptions
from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.deadletter.claims import Claim, claim, end_claim, open_claim
from relays.gateways.deadletter.letter import Form, Letter
from relays.gateways.deadletter.store import Store
from relays.gateways.mapping import RecordMapping, Unfit

_POSITIONS = "deadletters "


class Point(Protocol):
    """What is used of a control point with an outbox."""

    def position_of(self, source: str) -> str | None: ...

    def publish_later(
        self, topic: str, content: Mapping[str, Any], *, labels_required: bool = True,
        position: tuple[str, str] | None = None, wait_s: float | None = None, **options: Unpack[PublishOptions],
    ) -> Future[str]: ...


@dataclass
class Replayed:
    """`rejected`: again, with why."""

    published: int = 0
    rejected: list[tuple[Letter, FabricError]] = field(default_factory=list)


class Replay:
    """Of one source. `record_of`: what its kind makes of bytes; raises FabricError for what is no record."""

    def __init__(
        self, store: Store, mapping: RecordMapping, record_of: Callable[[bytes], Mapping[str, Any]],
        record_of_json: Callable[[bytes], Mapping[str, Any]], point: Point, now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._mapping = mapping
        self._record_of = {Form.RAW: record_of, Form.RECORD: record_of_json}
        self._point = point
        self._now_ms = now_ms
        self._sent: dict[str, Letter] = {}  # by the id of its message
        self.replayed = Replayed()

    def run(self, letters: Sequence[Letter]) -> None:
        """What an interrupted replay left, then these. Raises FabricError where nothing more is taken in: what was not
        published by then is left for the next one."""
        left = open_claim(self._store)
        if left is not None:
            self._run(left)
        there = {letter.number for letter in self._store.letters()}
        again = {letter.number for letter, _ in self.replayed.rejected}
        wanted = [each for each in letters if each.number in there and each.number not in again]
        if wanted:
            self._run(claim(self._store, wanted))

    def refused(self, id_: str, error: FabricError) -> bool:
        """A relay would not have a message. Whether it is one of this replay: then its letter is back in the store."""
        letter = self._sent.pop(id_.partition(".")[0], None)
        if letter is None:
            return False
        self.replayed.published -= 1
        self._reject(letter, error)
        return True

    def _run(self, claimed: Claim) -> None:
        source = _POSITIONS + self._store.source
        done = claimed.passed(self._point.position_of(source))
        # Where it ended between claiming them and taking them out they are in both.
        self._store.remove([letter.number for letter in claimed.letters[done:]])
        for index, letter in enumerate(claimed.letters[done:], done + 1):
            try:
                id_ = self._publish(letter, (source, claimed.position(index)))
            except FabricError as error:
                if error.code in (Code.CLOSED, Code.UNREACHABLE, Code.DISK_SHORT):
                    raise
                self._reject(letter, error)
            else:
                self.replayed.published += 1
                self._sent[id_.partition(".")[0]] = letter
        end_claim(self._store)

    def _publish(self, letter: Letter, position: tuple[str, str]) -> str:
        """One at a time: the next one's position says that this one is published, or back in the store."""
        if letter.is_cut:
            raise FabricError(Code.LETTER_CUT, f"{len(letter.raw):,} of {letter.bytes_:,} bytes")
        if letter.form is Form.MESSAGE:
            raise FabricError(Code.USAGE, "a message that a sink could not write is not published again",
                              "look at it, then drop it")
        mapped = self._mapping.apply(
            self._record_of[letter.form](letter.raw), now_ms=self._now_ms(), severity=letter.severity
        )
        if isinstance(mapped, Unfit):
            raise mapped.error
        return self._point.publish_later(
            mapped.topic, mapped.content, labels_required=False, position=position, **mapped.options
        ).result()

    def _reject(self, letter: Letter, error: FabricError) -> None:
        again = letter._replace(code=error.code.number, detail=error.detail[:1_024], again=letter.again + 1)
        self._store.put_back(again)
        self.replayed.rejected.append((again, error))
