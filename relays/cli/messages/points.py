"""`fabric publish`, `subscribe`: messages from and to the command line. Files of them are `sending`."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.messages import Message
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from relays.cli.messages.labelled import Watch, course_of
from relays.cli.messages.notices import tell_notice
from relays.cli.shared.denied import grants_named, with_grants
from relays.cli.shared.exits import SHORT, command
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
from relays.cli.shared.reaching import reached
from relays.reading import parse_record, read_text
from relays.streams import standard_input
from relays.terminal import LABEL_STYLES, SEVERITY_STYLES, Cell, Screen, json_text, say, say_json
from relays.wall import utc

# With an outbox everything is safe already: how long a command waits for the relay to have it too.
DRAIN_S = 5.0
# Names of fields in one line for a person; --json has all.
_NAMES_SHOWN = 20
_PLAIN_NAME = re.compile(r"[\w.$@/-]+")


def field_labels(given: list[str] | None) -> dict[str, str]:
    """`--field-label NAME=LABEL`, as a map. Raises USAGE; the labels are not looked at yet."""
    labels = {}
    for text in given or []:
        name, equals, label = text.rpartition("=")
        if not equals or not name:
            raise FabricError(Code.USAGE, f"{text!r} is no field label", "write e.g. --field-label id.orig_h=amber")
        labels[name] = label
    return labels


@command
def publish(
    topic: Annotated[str, typer.Argument(help="E.g. detections.zeek.conn; `intel.` begins intelligence.")],
    record: Annotated[str, typer.Argument(metavar="[JSON | -]", help="One JSON object; - reads it from standard input.")] = "-",
    identity: As = "",
    severity: Severity_ = "informational",
    phase: Annotated[str | None, typer.Option("--phase", metavar="NAME", help="Kill chain phase, or an ATT&CK tactic's id.")] = None,
    ttl: Ttl = None,
    label: Label_ = None,
    field_label: FieldLabels_ = None,
    to_org: ToOrg = None,
    community: ToCommunity = None,
    recipient: ToRecipient = None,
    allow_unmatched: AllowUnmatched = False,
    outbox: Outbox_ = None,
    timeout: Annotated[str, typer.Option("--timeout", metavar="60s", help="How long to wait while the relay takes nothing in.")] = "60s",
    as_json: AsJson = False,
) -> None:
    """Publish one message; done when the relay holds it on disk. With --outbox, when this machine's disk has it.

    Without --label it bears the topology's default, and that is said on standard error, with the relay at which such a
    message ends. Where the relays above are not known on this machine it is waited for their word, two seconds at most.

    Exit codes: 0 held, or kept in the outbox, 1 the outbox's disk is short, 2 usage, 5 denied, or too fast for the grant
    all the time of --timeout, 6 not held in that time, 69 unreachable. A --field-label that names no field of the message
    is refused (E604).

    What is red is sealed to those whom --recipient names, at most 15. Without one it is refused (E609, exit code 2); so is
    somebody who was never connected (E605), or may not have it (E608): exit code 1.

    Without --to-org it is for one's own organisation, and what is amber for its direct clients too. Whom else it may be
    for, a publish grant says (E420).

    Example: fabric publish detections.test '{"rule": "scan", "src": "10.1.0.7"}' --as sensor-1 --severity high --field-label src=amber --label green

    Example: fabric publish intel.ipv4 '{"ip": "203.0.113.9"}' --as feed-1 --label amber --to-org guard

    Example: fabric publish intel.ipv4 '{"ip": "203.0.113.9", "from": "agent k"}' --as feed-1 --label green --field-label from=red --recipient lead-1
    """
    timeout_s = parse_duration(timeout) / 1000
    content = parse_record(given_text(record, "the message"), "the message")
    audience = to_audience_option(to_org, community, recipient)
    options: dict[str, Any] = {
        "severity": severity, "phase": phase, "ttl": ttl, "label": label, "labels": field_labels(field_label),
        "labels_required": not allow_unmatched, "audience": audience,
    }
    screen = Screen(error=True)
    course = course_of(needed(identity), topic, label=label, labels=options["labels"], severity=severity, audience=audience)
    asked = ("publish", topic, *audience_words(audience))
    heard = Watch(course, lambda notice: tell_notice(notice, screen, as_json))
    point = ControlPoint(needed(identity), outbox=outbox)
    point.on_notice(heard.take)
    heard.begin(as_json=as_json)
    with grants_named(*asked, identity=identity, severity=severity), point:
        refusals: list[FabricError] = []
        point.on_refused(lambda _id, _records, error: refusals.append(error))
        try:
            id_ = point.publish_later(topic, content, **options).result(timeout_s)
        except TimeoutError:
            raise not_in_time(topic, outbox, point.held_up) from None
        waiting = 0 if outbox is None or point.drain(DRAIN_S) else point.waiting
        if not waiting and not refusals:
            heard.wait()
    if refusals:
        raise with_grants(refusals[0], *asked, identity=identity, severity=severity)
    if as_json:
        say_json({"id": id_, "topic": topic, "waiting": waiting, **heard.to_json()})
    else:
        say(f"kept {id_}: {kept_words(waiting, outbox)}" if waiting else f"held by {holder(point)}, on disk: {id_}")


def holder(point: ControlPoint) -> str:
    """Who answers for it from now on."""
    relay = point.identity.relay
    return relay.id if relay else "the relay"


def given_text(text: str, where: str) -> str:
    """What was typed; all of standard input for `-`."""
    if text != "-":
        return text
    if sys.stdin is not None and sys.stdin.isatty():
        say(f"type {where} as one JSON object, then Ctrl-D", error=True)
    return read_text(standard_input(where), where)


def not_in_time(topic: str, outbox: Path | None, why: FabricError | None) -> FabricError:
    """Why a message was not taken in the time of --timeout. `why`: what holds it up, as far as that is known."""
    if why is not None and why.code is Code.RATE_EXCEEDED:
        return FabricError(Code.RATE_EXCEEDED, topic)
    if why is not None and why.code is Code.DISK_SHORT:
        return FabricError(Code.DISK_SHORT, f"{outbox}: the message was not kept", "make room on it, then try again")
    if why is not None and why.code is Code.READER_FULL:
        kept = "without --outbox it is not kept" if outbox is None else f"no more of it is kept in {outbox}"
        return FabricError(Code.READER_FULL, f"{why.detail}; {topic} was not taken in time, and {kept}")
    if outbox is not None:
        return FabricError(
            Code.TIMED_OUT, f"as much of its lane waits in {outbox} as may: the message was not kept",
            "try again when the relay has taken some: `fabric status` shows whether it runs",
        )
    return FabricError(
        Code.TIMED_OUT, "the relay has not taken it yet; it may have it already",
        "try again when `fabric status` shows less in its queue, or keep it with --outbox",
    )


def kept_words(records: int, outbox: Path | None) -> str:
    """What is said of records that this machine's disk has, and no relay yet."""
    return f"{records} record(s) wait in {outbox} until a command or program with this outbox reaches the relay"


@command
def subscribe(
    pattern: Annotated[str, typer.Argument(help="E.g. 'detections.>'; * is one word, > the rest.")],
    identity: As = "",
    outbox: Annotated[Path | None, typer.Option("--outbox", metavar="FILE", help="Durable: what comes while this command does not run waits, and nothing comes twice.")] = None,
    forget: Annotated[bool, typer.Option("--forget", help="With --outbox: nothing is to wait any more.")] = False,
    as_json: AsJson = False,
    count: Annotated[int | None, typer.Option("--count", min=1, help="Stop after so many messages.")] = None,
    timeout: Annotated[str | None, typer.Option("--timeout", metavar="10s", help="Stop after this time in all.")] = None,
    no_wait: NoWait = False,
) -> None:
    """Print messages as they come. What this identity may not see is withheld, and said to be.

    With --outbox the subscription is durable: the relay keeps what comes while nobody reads, for seven days at most and
    up to 16 MB; beyond that the oldest are lost, and a line of kind `gap` says how many.

    A relay that does not answer yet, or no longer, is waited for, and that is said on standard error.

    Exit codes: 0 --count or the time of --timeout reached, 5 denied, 6 fewer than --count in the time of --timeout, 69 unreachable for all of that time,
    or at once with --no-wait, 130 and 143 stopped by Ctrl-C and SIGTERM.

    Example: fabric subscribe 'detections.>' --as analyst-1 --json --count 10 --timeout 30s
    """
    timeout_s = parse_duration(timeout) / 1000 if timeout else None
    seen = 0
    screen = Screen()
    if forget and outbox is None:
        raise FabricError(Code.USAGE, "--forget needs the --outbox that remembers", "name it with --outbox FILE")
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    with (
        grants_named("subscribe", pattern, identity=needed(identity)),
        reached(identity, as_json, wait=not no_wait, timeout_s=timeout_s, outbox=outbox) as point,
    ):
        if forget:
            point.forget(pattern)
            point.wait_ready()
            if as_json:
                say_json({"forgotten": pattern})
            else:
                say(f"nothing waits for {pattern} any more")
            return
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        messages = point.subscribe(pattern, timeout_s=left_s, durable=outbox is not None)
        if messages.in_force:
            relay = point.identity.relay.id if point.identity.relay else ""
            if as_json:
                say_json({"subscribed": pattern, "relay": relay}, error=True)
            else:
                say(f"subscribed to {pattern} at {relay}", error=True)
        for message in messages:
            seen += 1
            if as_json:
                say_json(message.to_json())
            else:
                _show(screen, message)
            if seen == count:
                messages.close()
                break
    if count is not None and seen < count:
        if not as_json:
            say(f"{seen} of {count} messages", error=True)
        raise typer.Exit(SHORT)


def _show(screen: Screen, message: Message) -> None:
    """The label in the first line is the highest of what is in sight: who copies the lines below goes by it."""
    if message.kind == "gap":
        lost = message.content.get("lost", "some")
        screen.say(Cell(f"gap: {lost} message(s) found no room while nobody read", "yellow"))
        return
    screen.say(
        utc(message.issued_at_ms)[11:], "  ", Cell(message.topic, "bold"), " ",
        Cell(message.severity.name.lower(), SEVERITY_STYLES.get(message.severity, "")), " ",
        Cell(message.highest_label.spelling, LABEL_STYLES[message.highest_label]),
        f" from {message.origin} via {' '.join(message.path)}, {message.age_ms:,} ms old",
    )
    if message.relabelled_from is not None:
        screen.say(
            Cell("  relabelled from ", "dim"),
            Cell(message.relabelled_from.spelling, LABEL_STYLES[message.relabelled_from]),
            Cell(f" by {message.origin}: {message.relabels}", "dim"),
        )
    screen.json(message.content)
    for label, names in message.above().items():
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        named = ", ".join(map(_named, names[:_NAMES_SHOWN]))
        screen.say(Cell(f"  {label.spelling}:", LABEL_STYLES[label]), f" {named}{more}")
    if min(message.labels.values(), default=message.label) <= message.label < message.highest_label:
        screen.say(Cell(f"  {message.label.spelling}:", LABEL_STYLES[message.label]), " the rest")
    for label in message.withheld:
        screen.say(Cell(f"  withheld: all that is {label.spelling}", "dim"))
    if screen.is_terminal:
        screen.say()


def _named(name: str) -> str:
    """A field's name in a list of them: in quotes where it could be read as two, or as another line's label."""
    return name if _PLAIN_NAME.fullmatch(name) else json_text(name, ascii_only=False)
