"""`fabric send`: a file of JSON lines, a message each, with how far it is and what became of which line."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.face import CONNECT_TIMEOUT_S
from fabric.protocol.base.errors import Code, FabricError
from relays.cli.messages.labelled import Watch, course_of
from relays.cli.messages.notices import tell_notice
from relays.cli.messages.points import DRAIN_S, field_labels, holder, kept_words
from relays.cli.shared.denied import with_grants
from relays.cli.shared.exits import FAILED, PARTLY, command
from relays.cli.shared.holdups import Holdups
from relays.cli.shared.options import (
    AllowUnmatched,
    As,
    AsJson,
    FieldLabels_,
    Label_,
    NoWait,
    Outbox_,
    Severity_,
    ToCommunity,
    ToOrg,
    ToRecipient,
    Ttl,
    audience_words,
    needed,
    to_audience_option,
)
from relays.label_watch import WINDOW_RECORDS, LabelWatch, words_of
from relays.reading import Gap, Input, Line
from relays.terminal import Screen, say, say_json

# After Ctrl-C or SIGTERM, how long it waits for the relay to hold what was read by then.
_STOP_S = 5.0


@command
def send(
    file: Annotated[Path, typer.Argument(help="JSON lines, also compressed (gzip, bzip2, xz); - is standard input.")],
    topic: Annotated[str, typer.Option("--topic", help="Where to publish them.")],
    identity: As = "",
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what is appended, over rotations too, until Ctrl-C.")] = False,
    severity: Severity_ = "informational",
    ttl: Ttl = None,
    label: Label_ = None,
    field_label: FieldLabels_ = None,
    to_org: ToOrg = None,
    community: ToCommunity = None,
    recipient: ToRecipient = None,
    allow_unmatched: AllowUnmatched = False,
    outbox: Outbox_ = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Publish a file of JSON lines, a message each, with progress. Lines that are not JSON objects are named and skipped.

    With --outbox a line is kept on this disk together with how far the file is read: nothing is lost while no relay can
    be reached, and the same command goes on where it stopped, over rotations too, without a line twice. Rotated files
    are found beside the file, by name and content, compressed ones too; what cannot be found again is named and counted.

    Nothing is sent before each --field-label named a field of some record: one that names none in the first 1,000, or in
    the whole file, is an error (E604). Records that lack such a field later are counted.

    Without --label they bear the topology's default, and that is said on standard error, with the relay at which such
    messages end. Where the relays above are not known on this machine it is waited for their word at the end, two
    seconds at most. A relay that does not answer yet, or no longer, is waited for, and that is said there, too.

    Ctrl-C and SIGTERM end it when what was read by then is held, or after five seconds: then it says how much was not.

    Exit codes: 0 all held, or kept in the outbox (with --follow also when it is stopped), 2 usage, 3 some lines were
    skipped, refused or lost, 5 denied, 6 stopped before all was held, 69 unreachable with --no-wait, 130 and 143 stopped
    before the end of what was to be read.

    Example: fabric send conn.log --as zeek-p1 --topic detections.zeek.conn --label green --field-label id.orig_h=amber
    """
    audience = to_audience_option(to_org, community, recipient)
    options: dict[str, Any] = {
        "severity": severity, "ttl": ttl, "label": label, "labels": field_labels(field_label), "labels_required": False,
        "audience": audience,
    }
    watch = LabelWatch(options["labels"], required=not allow_unmatched)
    if not (follow or outbox or file.exists() or str(file) == "-"):
        raise FabricError(Code.BAD_INPUT, f"there is no file {file}", "name a file of JSON lines, or -")
    screen = Screen(error=True)
    began = time.monotonic()
    sender = _Sender(screen, as_json)
    patience_s = CONNECT_TIMEOUT_S if no_wait else None
    point = ControlPoint(
        needed(identity), outbox=outbox, connect_timeout_s=patience_s, wait_for_relay=not no_wait
    )
    connected = threading.Event()
    point.on_refused(sender.refuse)
    over: list[FabricError] = []  # what ended the connection for good, while no line may come for hours
    point.on_end(over.append)
    course = course_of(needed(identity), topic, label=label, labels=options["labels"], severity=severity, audience=audience)
    heard = Watch(course, lambda notice: tell_notice(notice, screen, as_json))
    point.on_notice(heard.take)
    heard.begin(as_json=as_json)
    unheld: FabricError | None = None
    stopped: KeyboardInterrupt | None = None

    def why_held_up() -> FabricError | None:
        if over:
            return over[0]
        return point.held_up if point.waiting or not connected.is_set() else None

    holdups = Holdups(
        why_held_up, lambda: (sender.held, sender.refused, point.waiting),
        lambda: (f"{point.waiting:,} record(s) wait" if point.waiting else "", point.waiting), screen, as_json,
    )
    with holdups, point, screen.progress(shown=not as_json and screen.is_terminal) as begin:
        connected.set()
        lines = Input(file, topic, follow, point.position_of)
        if lines.is_awaited and not as_json:
            screen.say(f"waiting for {file}")
        bar = begin(f"sending {file.name}, records held", lines.total() if screen.is_terminal and not as_json else None)
        try:
            tell = sender.note if lines.may_wait else None
            for line in watch.ahead(lines, _record_of, _size_of, tell):
                sender.settle(block=False)
                bar.update(sender.held)
                if over:
                    raise over[0]
                if isinstance(line, Gap):
                    sender.lose(line)
                    continue
                if line.fault is None and not line.data.strip():
                    continue
                try:
                    content = line.record()
                except FabricError as error:
                    sender.skip(line.number, error)
                    continue
                for name in watch.saw(content):
                    sender.warn(name, line.number)
                position = None if outbox is None or line.place is None else (lines.source, line.place.text())
                sender.add(line.number, point.publish_later(topic, content, position=position, **options))
        except KeyboardInterrupt as error:
            stopped = error
            sender.note("stopping: waiting for what is on its way")
            if outbox is None:
                try:
                    point.close(_STOP_S)
                except FabricError as error:
                    unheld = error
        sender.settle(block=True)
        bar.update(sender.held)
        waiting = 0 if outbox is None or point.drain(DRAIN_S) else point.waiting
        if sender.held and not waiting and stopped is None:
            heard.wait()
    took = time.monotonic() - began
    summary = {"held": sender.held, "skipped": sender.skipped, "refused": sender.refused, "gaps": sender.gaps,
               "waiting": waiting, "without_field": watch.missed, "seconds": round(took, 3)}
    if as_json:
        say_json({**summary, **heard.to_json()})
    else:
        gaps = f", {sender.gaps} gap(s) where lines were lost," if sender.gaps else ""
        by = outbox or holder(point)
        say(f"{sender.held:,} record(s) held by {by}, {sender.skipped:,} line(s) skipped, "
            f"{sender.refused:,} record(s) refused{gaps} in {took:.1f} s")
        if waiting:
            say(kept_words(waiting, outbox))
        for words in words_of(watch.missed, watch.records):
            screen.say(words)
    if watch.held_back:
        raise watch.error()
    if unheld is not None:
        raise unheld
    if sender.last_error is not None and not sender.held:
        asked = ("publish", topic, *audience_words(audience))
        raise with_grants(sender.last_error, *asked, identity=identity, severity=severity)
    if sender.skipped or sender.refused or sender.gaps:
        raise typer.Exit(PARTLY if sender.held or not (sender.skipped or sender.refused) else FAILED)
    if stopped is not None and not follow:  # not all was read that was to be
        raise stopped


def _record_of(line: Line | Gap) -> dict[str, Any] | None:
    if isinstance(line, Gap) or not line.data:
        return None
    try:
        return line.record()
    except FabricError:
        return None


def _size_of(line: Line | Gap) -> int:
    return 0 if isinstance(line, Gap) else len(line.data)


class _Sender:
    """What is on its way, in order, and what became of it."""

    _TOLD_MAX = 10

    def __init__(self, screen: Screen, as_json: bool) -> None:
        self._screen = screen
        self._as_json = as_json
        self._waiting: deque[tuple[int, Future[str]]] = deque()
        self._told = 0
        self.held = self.skipped = self.refused = self.gaps = 0
        self.last_error: FabricError | None = None

    def add(self, number: int, future: Future[str]) -> None:
        self._waiting.append((number, future))

    def skip(self, number: int, error: FabricError) -> None:
        self.skipped += 1
        self._tell(number, error)

    def lose(self, gap: Gap) -> None:
        """Always told: each is of its own, and there are few."""
        self.gaps += 1
        if self._as_json:
            say_json({"gap": gap.to_json()}, error=True)
        else:
            self._screen.say(str(gap.error))

    def refuse(self, _id: str, records: int, error: FabricError) -> None:
        """What was in the outbox, from this run or an earlier one, ended without delivery."""
        self.refused += records
        self.last_error = error

    def settle(self, *, block: bool) -> None:
        while self._waiting and (block or self._waiting[0][1].done()):
            number, future = self._waiting.popleft()
            try:
                future.result()
                self.held += 1
            except FabricError as error:
                self.refused += 1
                self.last_error = error
                self._tell(number, error)

    def _tell(self, number: int, error: FabricError) -> None:
        self._told += 1
        if self._told > self._TOLD_MAX:
            return
        if self._as_json:
            told = {"line": number, "code": error.code.label, "cause": error.code.cause, "detail": error.detail}
            say_json(told, error=True)
        else:
            self._screen.say(f"line {number}: {error}")
        if self._told == self._TOLD_MAX:
            self.note("more lines like this are counted only")

    def note(self, words: str) -> None:
        """On standard error, as everything that is not about one line or one field."""
        if self._as_json:
            say_json({"note": words}, error=True)
        else:
            self._screen.say(words)

    def warn(self, field: str, number: int) -> None:
        """A field that bears a label of its own was in none of the last records."""
        if self._as_json:
            say_json({"warning": {"field": field, "line": number, "missed": WINDOW_RECORDS}}, error=True)
        else:
            self._screen.say(
                f"warning {field}: no such field in the last {WINDOW_RECORDS:,} records, at line {number:,}"
            )
