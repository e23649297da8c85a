"""`fabric relabel`: messages that were received, again at a lower label, each as a new one that names the old one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.messages import Message
from fabric.edge.publishing.options import to_label
from fabric.edge.publishing.relabelling import highest_of
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.vocabulary.tlp import Audience, Label
from relays.cli.messages.points import DRAIN_S, holder, kept_words, not_in_time
from relays.cli.shared.denied import with_grants
from relays.cli.shared.exits import PARTLY, command, exit_code_of, tell
from relays.cli.shared.options import (
    As,
    AsJson,
    Outbox_,
    ToCommunity,
    ToOrg,
    audience_words,
    needed,
    to_audience_option,
)
from relays.reading import parse_record
from relays.reading.received import message_in
from relays.reading.splitting import LINE_BYTES_MAX
from relays.streams import standard_input
from relays.terminal import say, say_json


@command
def relabel(
    message: Annotated[str, typer.Argument(metavar="[JSON | -]", help="A line of `fabric subscribe --json`; - reads one or more from standard input.")] = "-",
    label: Annotated[str, typer.Option("--label", help="The lower label: clear, green, amber or amber+strict.")] = "",
    identity: As = "",
    field: Annotated[list[str] | None, typer.Option("--field", metavar="NAME", help="Only this field of it; again for more. Default: all.")] = None,
    to_org: ToOrg = None,
    community: ToCommunity = None,
    ttl: Annotated[str | None, typer.Option("--ttl", metavar="30s", help="Life span; default: the old one's, which begins anew.")] = None,
    outbox: Outbox_ = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="60s", help="How long to wait while the relay takes nothing in.")] = "60s",
    as_json: AsJson = False,
) -> None:
    """Re-issue messages that were received at a lower label: each as a new message of this identity's, which names the
    old one. It takes a declassify grant, and a publish grant on the topic.

    All of it bears the new label. Topic, severity and phase stay; so does whom it is for, unless --to-org or --community
    say it. Of a message of which something was withheld here, --field names what is to be re-issued. The audit logs of
    this identity and of relays have who lowered what, and readers see which message it relabels.

    Exit codes: 0 all re-issued, 2 usage, a label that is not lower, or something was withheld and no --field is named,
    3 some of several were not, 5 denied, 6 not held in the time of --timeout, 69 unreachable.

    Example: fabric subscribe 'detections.>' --as analyst-1 --json --count 1 | fabric relabel --as analyst-1 --label green

    Example: fabric relabel --as analyst-1 --label green --field rule --field src_ip < chosen.jsonl
    """
    if not label:
        raise FabricError(Code.USAGE, "no label is named", "add --label green, or another below the message's own")
    lower = to_label(label)
    audience = to_audience_option(to_org, community, None)
    timeout_s = parse_duration(timeout) / 1000
    done, failed = 0, []
    point = ControlPoint(needed(identity), outbox=outbox)
    with point:
        for number, given in enumerate(_lines(message), 1):
            where = f"line {number}" if message == "-" else "it"
            old: Message | None = None
            try:
                old = message_in(parse_record(given, where), where)
                new = _reissued(point, old, lower, field, audience, ttl, timeout_s, outbox)
            except FabricError as error:
                asked = [] if old is None else [
                    "relabel", old.topic, "--from", highest_of(old, field).short, "--label", lower.short,
                ]
                failed.append(with_grants(error, *asked, *audience_words(audience), identity=identity))
                tell(failed[-1], as_json)
                continue
            done += 1
            if as_json:
                say_json({"id": new, "topic": old.topic, "label": lower.short, "relabels": old.id,
                          "relabelled_from": highest_of(old, field).short})
            else:
                held = f"held by {holder(point)}" if outbox is None else f"kept in {outbox}"
                say(f"{held}, on disk: {new}, {lower.short} instead of {highest_of(old, field).short}, relabels {old.id}")
        waiting = 0 if outbox is None or point.drain(DRAIN_S) else point.waiting
    if waiting and not as_json:
        say(kept_words(waiting, outbox), error=True)
    if not done and not failed:
        raise FabricError(Code.BAD_INPUT, "there was no message", "give lines as `fabric subscribe --json` prints them")
    if failed:
        raise typer.Exit(PARTLY if done else exit_code_of(failed[0].code))


def _lines(message: str) -> Iterator[str | bytes]:
    """What was typed; for `-` each line of standard input as it comes, empty ones left out."""
    if message != "-":
        yield message
        return
    if sys.stdin is not None and sys.stdin.isatty():
        say("type each message as one line of JSON, then Ctrl-D", error=True)
    stream = standard_input("the message")
    while line := stream.readline(LINE_BYTES_MAX + 1):
        if len(line) > LINE_BYTES_MAX:
            raise FabricError(Code.LINE_TOO_LONG, f"more than {LINE_BYTES_MAX} bytes in one line")
        if line.strip():
            yield line


def _reissued(
    point: ControlPoint, old: Message, label: Label, fields: list[str] | None, audience: Audience | None,
    ttl: str | None, timeout_s: float, outbox: Path | None,
) -> str:
    try:
        return point.relabel_later(old, label=label, fields=fields, audience=audience, ttl=ttl).result(timeout_s)
    except TimeoutError:
        raise not_in_time(old.topic, outbox, point.held_up) from None
