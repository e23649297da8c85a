"""`fabric bench`: test records through a running tree, from one control point to others, and how fast they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.face import as_identity
from fabric.edge.publishing.options import to_severity
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from relays.benching.marks import SIZE_MAX, SIZE_MIN, Records
from relays.benching.publishing import Publisher
from relays.benching.readers import Reader, reading
from relays.cli.messages.labelled import Watch, course_of
from relays.cli.messages.notices import tell_notice
from relays.cli.shared.denied import with_grants
from relays.cli.shared.exits import PARTLY, command
from relays.cli.shared.options import As, AsJson, Label_, needed
from relays.terminal import Screen, Table, say, say_json

READERS_MAX = 16
_SECONDS_MAX = 3_600.0
_SEVERITIES_MAX = 16
# Until the first record has arrived at every reader: routes are told from relay to relay.
_REACH_S = 10.0
# What is still on its way when the time is over is to arrive; nothing of a test is to wait for anybody longer.
_TTL_SPARE_S = 60


@command
def bench(
    topic: Annotated[str, typer.Option("--topic", help="On which the one may publish, and which the others may subscribe to.")],
    to: Annotated[list[str], typer.Option("--to", metavar="ID", help="Who reads, an identity on this machine like that of --as; again for more.")],
    identity: As = "",
    for_: Annotated[str, typer.Option("--for", metavar="10s", help="How long to publish; an hour at most.")] = "10s",
    rate: Annotated[float | None, typer.Option("--rate", min=0.01, metavar="N", help="So many records a second; default: as fast as they are taken.")] = None,
    size: Annotated[int, typer.Option("--size", min=SIZE_MIN, max=SIZE_MAX, metavar="BYTES", help="Of each record, about, as JSON.")] = 200,
    severity: Annotated[list[str] | None, typer.Option("--severity", help="As for `fabric publish`; again for a mix, in turn.")] = None,
    label: Label_ = None,
    as_json: AsJson = False,
) -> None:
    """Measure a running tree: publish test records as one control point, read them as others, and show how many came, how
    long they took, what was lost, which relays they passed, and what it cost at both ends.

    Both ends are processes on this machine, whose one clock measures; the relays between them may be anywhere. So the
    folders of both identities have to be here (FABRIC_HOME, or name the folder itself).

    Without --label records bear the topology's default, and that is said on standard error, with the relay at which they end.

    Each record says "test": true, and in words that it is no event. Whoever else subscribes to the topic gets them, too, and
    relays carry them like all others: choose a topic for it, and a --rate where others work. What did not arrive within
    a minute after the end expires.

    Without --rate the figures are those of a tree that is given all it takes: most of a latency is then the wait in a queue,
    that of the publisher itself included, and what held records up there is named: a rate that is granted, for example.
    Percentiles are exact to two percent. What a reader did not get although a relay held it counts as lost.

    Nothing is measured before one record has arrived at every reader: who was not reached within 10 seconds is named.

    Exit codes: 0 all arrived, 1 a reader may not see what is published, 2 usage, 3 some was lost, refused or not held, 5
    denied, 6 somebody was not reached, 69 unreachable, 130 and 143 stopped by Ctrl-C and SIGTERM, after what was measured
    until then.

    Examples:

      fabric bench --as zeek-p1 --to analyst-1 --topic detections.test.bench

      fabric bench --as zeek-p1 --to analyst-1 --topic detections.test.bench --rate 100 --for 1m --severity low --severity critical
    """
    seconds = parse_duration(for_) / 1000
    severities = [to_severity(each).name.lower() for each in severity or ["informational"]]
    if not 0 < seconds <= _SECONDS_MAX:
        raise FabricError(Code.USAGE, f"--for {for_}", "give more than nothing, and an hour at most")
    if len(to) > READERS_MAX or len(severities) > _SEVERITIES_MAX:
        raise FabricError(Code.USAGE, "too many of --to or --severity", f"give {READERS_MAX} of each at most")
    who = needed(identity)
    names = {as_identity(each).id: each for each in to}
    records, screen = Records(size), Screen(error=True)
    point = ControlPoint(who)
    heard = Watch(
        course_of(who, topic, label=label, labels={}, severity=severities[0]),
        lambda notice: tell_notice(notice, screen, as_json),
    )
    point.on_notice(heard.take)
    heard.begin(as_json=as_json)
    options: dict[str, Any] = {"label": label, "ttl": f"{int(seconds) + _TTL_SPARE_S}s"}
    publisher = Publisher(point, topic, records, options)
    stopped: KeyboardInterrupt | None = None
    try:
        with point, reading(list(names.items()), topic, records.run, point.identity.id) as readers:
            _reach(publisher, readers, severities[0], topic, who, label)
            total = None if rate is None else int(rate * seconds)
            with screen.progress(shown=not as_json and screen.is_terminal) as begin:
                bar = begin(f"{point.identity.id} to {', '.join(names)}, records that arrived", total)
                try:
                    publisher.run(seconds, rate, severities, lambda: bar.update(_least(readers)))
                except KeyboardInterrupt as error:
                    stopped = error
                for reader in readers:
                    reader.end(publisher.held)
                reports = {reader.id: reader.report() for reader in readers}
                bar.update(min(report["records"] for report in reports.values()))
    except FabricError as error:
        raise _explained(error, topic, who, names, severities) from None
    found = _found(publisher, reports, topic, point.identity.id, size)
    if as_json:
        say_json(found)
    else:
        _show(found)
    if publisher.first_error is not None and not publisher.held:
        raise _explained(publisher.first_error, topic, who, names, severities)
    if stopped is not None:
        raise stopped
    if found["refused"] or found["not_held"] or any(each["lost"] for each in found["readers"]):
        raise typer.Exit(PARTLY)


def _least(readers: Sequence[Reader]) -> int:
    return min(reader.records for reader in readers)


def _reach(
    publisher: Publisher, readers: Sequence[Reader], severity: str, topic: str, who: str, label: str | None,
) -> None:
    """Until every reader got something. Raises who did not, or may not see it."""

    def settled() -> bool:
        for reader in readers:
            reader.check()
        return all(reader.reached or reader.withheld for reader in readers)

    publisher.probe(severity, settled, _REACH_S)
    for reader in readers:
        if reader.withheld and not reader.reached:
            raise FabricError(
                Code.WITHHELD, f"{reader.id} may not see what is {reader.withheld}", "choose a lower --label"
            )
    missed = [reader.id for reader in readers if not reader.reached]
    if missed:
        under = f" --label {label}" if label is not None else ""
        raise FabricError(
            Code.TIMED_OUT, f"nothing on {topic} reached {', '.join(missed)} within {_REACH_S:.0f} s",
            f"see how far it gets: fabric explain publish {topic}{under} --as {who}",
        )


def _explained(
    error: FabricError, topic: str, who: str, names: dict[str, str], severities: Sequence[str]
) -> FabricError:
    """With the command that shows what is granted, to whoever it was denied."""
    if error.code is Code.SUBSCRIBE_DENIED:
        reader = next((given for id_, given in names.items() if error.detail.startswith(f"{id_}:")), next(iter(names.values())))
        return with_grants(error, "subscribe", topic, identity=reader)
    return with_grants(error, "publish", topic, identity=who, severity=severities[0])


def _found(
    publisher: Publisher, reports: dict[str, dict[str, Any]], topic: str, from_: str, size: int
) -> dict[str, Any]:
    """All of it, as `--json` prints it. Rates are per second, from the first record on; processor time is in us."""
    held = publisher.held
    return {
        "from": from_, "topic": topic, "size": size, "published": publisher.published, "held": held,
        "refused": publisher.refused, "not_held": publisher.published - held - publisher.refused,
        "seconds": round(publisher.took_s, 3), "held_per_s": round(held / max(publisher.took_s, 1e-3), 1),
        "cpu_us": round(publisher.cpu_s / max(held, 1) * 1e6, 1),
        "held_up": [{"code": code.label, "cause": code.cause} for code in publisher.held_up],
        "readers": [
            {
                "reader": id_, "records": report["records"], "lost": max(0, held - report["records"]),
                "records_per_s": round(report["records"] / max(report["last_s"] - publisher.began_s, 1e-3), 1),
                "p50_ms": report["p50_ms"], "p99_ms": report["p99_ms"], "max_ms": report["max_ms"],
                "hops": len(report["path"]), "path": report["path"],
                "cpu_us": round(report["cpu_s"] / max(report["records"], 1) * 1e6, 1),
                "severities": report["severities"],
            }
            for id_, report in reports.items()
        ],
    }


def _show(found: dict[str, Any]) -> None:
    table = Table(
        "reader", "severity", "records", "records/s", "p50 ms", "p99 ms", "max ms", "lost", "hops",
        title=f"{found['from']} published {found['published']:,} records of {found['size']} bytes on {found['topic']}",
    )
    for each in found["readers"]:
        kinds = list(each["severities"].items())
        whole = (f"{each['records_per_s']:,.0f}", *_latencies(each), f"{each['lost']:,}", str(each["hops"]))
        table.row(each["reader"], kinds[0][0] if len(kinds) == 1 else "all", f"{each['records']:,}", *whole)
        for severity, of in kinds if len(kinds) > 1 else ():
            table.row("", severity, f"{of['records']:,}", "", *_latencies(of), "", "")
    Screen().table(table)
    say(f"{found['from']}: {found['held']:,} held in {found['seconds']:.1f} s, {found['held_per_s']:,.0f}/s"
        + (f", {found['refused']:,} refused" if found["refused"] else "")
        + (f", {found['not_held']:,} not held" if found["not_held"] else "")
        + f"; {found['cpu_us']:.0f} us of processor time each")
    for why in found["held_up"]:
        say(f"{found['from']}: held up at times: {why['code']} {why['cause']}")
    for each in found["readers"]:
        say(f"{each['reader']}: over {' '.join(each['path'])}; {each['cpu_us']:.0f} us of processor time each")


def _latencies(of: dict[str, Any]) -> tuple[str, str, str]:
    shown = (of["p50_ms"], of["p99_ms"], of["max_ms"])
    p50, p99, most = ("" if ms is None else f"{ms:,.1f}" for ms in shown)
    return p50, p99, most
