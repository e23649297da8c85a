"""`fabric source test`: what the records of a sample would become, as a source is declared. Nothing is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from fabric.documents import parse_json
from fabric.edge.publishing.drafts import Stamp
from fabric.edge.publishing.options import publish_stamp
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.vocabulary.severity import Phase
from relays.cli.looking.explain import reach_words
from relays.cli.shared.exits import DENIED, DONE, FAILED, PARTLY, command
from relays.cli.shared.options import As, AsJson, needed, wall_ms
from relays.cli.shared.scene import File, Scene, scene_of
from relays.explaining import Explanation, Sample, explain_publish, matched_rules, sample_of
from relays.gateways.declared import (
    SOURCES_KEY,
    DeclaredSource,
    declared_for,
    none_named,
    one_named,
    read_source,
)
from relays.gateways.mapping import Mapped, Unfit
from relays.label_watch import LabelWatch
from relays.reading import Gap, Input, parse_record, read_text
from relays.streams import standard_input
from relays.terminal import say, say_json
from relays.topology import loader
from relays.wall import utc

app = typer.Typer(no_args_is_help=True, help="What a source of a control point makes of records. Nothing is sent.\n\nExample: fabric source test conn conn.log --as zeek-p1")
# A screenful or two; --json says each.
_SHOWN_MAX = 20
_FIELDS_SHOWN = 12
# Of stamps, for which it was asked how far they get: records of one kind have a few.
_STAMPS_MAX = 1_024


class _Record(NamedTuple):
    """`line`: of the sample, or its number in an array."""

    line: int
    record: Mapping[str, Any] | None
    error: FabricError | None = None


class _Outcome(NamedTuple):
    """What one record would become. `error`: why it would be a dead letter."""

    line: int
    error: FabricError | None = None
    field: str = ""
    mapped: Mapped | None = None
    said: Explanation | None = None
    sample: Sample | None = None

    @property
    def verdict(self) -> str:
        """rejected, denied, partly or allowed."""
        return "rejected" if self.said is None else self.said.verdict


@app.callback()
def _group() -> None:
    """What a source of a control point makes of records. Nothing is sent."""


@app.command()
@command
def test(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the source, as the topology has it.")],
    sample: Annotated[str, typer.Argument(metavar="SAMPLE", help="A file, as the source reads it; - is standard input; or one record in JSON.")],
    identity: As = "",
    topology: File = None,
    as_json: AsJson = False,
) -> None:
    """Show what records would become, without sending any: topic, severity, phase, the label of each field and how far up it
    gets, and what is dropped or renamed; which would be rejected, in which line and why. No relay is needed.

    What is declared is read from the identity's folder, or with --topology from that file, also before it is up. How far
    something gets is worked out as `fabric explain publish` does.

    Exit codes: 0 all would be published, and reach the root whole, 1 all would be rejected, 2 usage, or the source cannot be
    used as it is declared, 3 some would be rejected or denied, or do not reach the root whole, 5 all would be denied.

    Example: fabric source test conn /var/log/zeek/conn.log --as zeek-p1

    Example: fabric source test conn '{"sev": 1, "id.orig_h": "10.1.0.7"}' --as zeek-p1 --topology site.toml
    """
    scene = scene_of(needed(identity), topology)
    source = _declared(name, scene, topology)
    trial = _Trial(scene, source)
    shown = 0
    for each in _records(sample, source):
        outcome = trial.of(each)
        shown += 1
        if as_json:
            say_json(_json(outcome))
        elif shown <= _SHOWN_MAX:
            _show(outcome)
    if not shown:
        where = "standard input" if sample == "-" else sample
        raise FabricError(Code.BAD_INPUT, f"there is no record in {where}", "give a file of records, -, or one in JSON")
    missing = [field for field, count in trial.watch.missed.items() if count == trial.watch.records]
    if as_json:
        say_json({"records": shown, **trial.counts, "labels_without_field": missing})
    else:
        if shown > _SHOWN_MAX:
            say(f"and {shown - _SHOWN_MAX:,} more: --json has them")
        say(f"{shown:,} record(s): " + ", ".join(f"{count:,} {word}" for word, count in trial.counts.items() if count))
        say(*[f"warning labels: no record has a field {field}" for field in missing])
    raise typer.Exit(_exit_code(trial.counts))


def _exit_code(counts: Mapping[str, int]) -> int:
    words = [word for word, count in counts.items() if count]
    if len(words) != 1:
        return PARTLY
    return {"allowed": DONE, "rejected": FAILED, "denied": DENIED}.get(words[0], PARTLY)


def _declared(name: str, scene: Scene, topology: Path | None) -> DeclaredSource:
    """The source of this name. Raises USAGE where there is none, and what is wrong with one that cannot be used."""
    id_ = scene.asker.credential.id
    if topology is None:
        assert scene.identity is not None, "without a topology there is an identity"
        declared = declared_for(scene.identity)
        return one_named(name, declared.sources, SOURCES_KEY, declared, id_)
    point = loader.load(topology).points.get(id_)
    if point is None or name not in point.sources:
        raise none_named(name, list(point.sources) if point is not None else [], SOURCES_KEY, id_)
    found, faults = read_source(name, point.sources[name].table)
    assert found is not None and not faults, "the topology was loaded"
    return found


class _Trial:
    """What becomes of records, one after another."""

    def __init__(self, scene: Scene, source: DeclaredSource) -> None:
        self._scene = scene
        self._mapping = source.mapping
        self._said: dict[Stamp, Explanation] = {}
        labels = {name: label for name, label in source.mapping.labels.items() if name != "*"}
        self.watch = LabelWatch(labels, required=False)
        self.counts = dict.fromkeys(("allowed", "partly", "denied", "rejected"), 0)

    def of(self, each: _Record) -> _Outcome:
        """Of this one."""
        outcome = self._of(each)
        self.counts[outcome.verdict] += 1
        return outcome

    def _of(self, each: _Record) -> _Outcome:
        if each.record is None:
            return _Outcome(each.line, each.error)
        self.watch.saw(dict(each.record))
        mapped = self._mapping.apply(each.record, now_ms=wall_ms())
        if isinstance(mapped, Unfit):
            return _Outcome(each.line, mapped.error, mapped.field)
        try:
            stamp = publish_stamp(
                mapped.topic, self._scene.defaults, **mapped.options, clearance=self._scene.asker.credential.clearance
            )
        except FabricError as error:
            return _Outcome(each.line, error)
        there = stamp._replace(rules=matched_rules(stamp, mapped.content))
        if there not in self._said:
            if len(self._said) >= _STAMPS_MAX:
                self._said.clear()
            self._said[there] = explain_publish(self._scene.asker, there, self._scene.tree)
        said = self._said[there]
        return _Outcome(each.line, None, "", mapped, said, sample_of(mapped.content, stamp, said.hops))


def _records(sample: str, source: DeclaredSource) -> Iterator[_Record]:
    """What is in a file, standard input, or the argument itself."""
    text = sample.lstrip()
    if source.kind.parse_all is not None:
        yield from _whole(sample, source, source.kind.parse_all)
        return
    if text[:1] in ("{", "["):
        yield from _document(text)
        return
    file = Path(sample)
    if sample != "-":
        with file.open("rb") as opened:
            if opened.readline(8).strip() in (b"{", b"["):  # one document over many lines
                opened.seek(0)
                yield from _document(read_text(opened, sample))
                return
    else:
        standard_input("the sample")  # raises where it is closed
    for line in Input(file, "", False, lambda _: None):
        if isinstance(line, Gap):
            continue
        if line.fault is not None:
            yield _Record(line.number, None, line.fault)
        elif line.data.strip():
            try:
                yield _Record(line.number, source.kind.parse(source.settings, line.data))
            except FabricError as error:
                yield _Record(line.number, None, error)


def _whole(
    sample: str, source: DeclaredSource, parse_all: Callable[[Any, bytes], Iterator[Mapping[str, Any] | FabricError]]
) -> Iterator[_Record]:
    """The records of a document, by their number in it."""
    if sample.lstrip()[:1] in ("{", "["):
        data = sample.encode("utf-8", "replace")
    elif sample == "-":
        data = standard_input("the sample").read()
    else:
        data = Path(sample).read_bytes()
    for number, read in enumerate(parse_all(source.settings, data), 1):
        yield _Record(number, None, read) if isinstance(read, FabricError) else _Record(number, read)


def _document(text: str) -> Iterator[_Record]:
    """A record, or an array of them."""
    try:
        found = parse_json(text)
    except ValueError:
        raise FabricError(Code.BAD_INPUT, "the sample is not JSON", "give a file of records, -, or one in JSON") from None
    if not isinstance(found, list):
        yield _Record(1, parse_record(text, "the sample"))
        return
    for number, record in enumerate(found, 1):
        if isinstance(record, dict):
            yield _Record(number, record)
        else:
            yield _Record(number, None, FabricError(Code.BAD_INPUT, "it is not a JSON object"))


# -- how it is told -------------------------------------------------------------------------------------------


def _json(outcome: _Outcome) -> dict[str, Any]:
    told: dict[str, Any] = {"line": outcome.line, "verdict": outcome.verdict}
    code = outcome.error.code if outcome.error is not None else outcome.said.code if outcome.said is not None else None
    if code is not None:
        detail = outcome.error.detail if outcome.error is not None else outcome.said.detail if outcome.said else ""
        next_step = outcome.error.next_step if outcome.error else outcome.said.next_step if outcome.said else ""
        told |= {"code": code.label, "cause": code.cause, "detail": detail, "next": next_step or code.next_step}
    if outcome.error is not None:
        return told | {"field": outcome.field}
    mapped, said, sample = outcome.mapped, outcome.said, outcome.sample
    assert mapped is not None and said is not None and sample is not None
    return told | {
        "topic": mapped.topic, "severity": mapped.severity.name.lower(), "phase": mapped.phase.name.lower(),
        "label": said.label.short if said.label is not None else None, "at_ms": mapped.at_ms,
        "fields": [
            {"field": field.name, "label": field.label.short, "reaches": list(field.reaches),
             "stops_before": field.stops_before or None}
            for field in sample.fields
        ],
        "nobody": [{"code": each.code.label, "name": each.detail} for each in said.nobody],
        "dropped": list(mapped.dropped), "renamed": dict(mapped.renamed), "notes": list(mapped.notes),
        "record": mapped.content,
    }


def _show(outcome: _Outcome) -> None:
    if outcome.error is not None:
        say(f"line {outcome.line}: rejected: {outcome.error}", f"  next: {outcome.error.next_step}")
        return
    mapped, said, sample = outcome.mapped, outcome.said, outcome.sample
    assert mapped is not None and said is not None and sample is not None
    phase = f", {mapped.phase.name.lower().replace('_', ' ')}" if mapped.phase is not Phase.NONE else ""
    say(f"line {outcome.line}: {said.verdict}: {mapped.topic}, {mapped.severity.name.lower()}{phase}")
    lines: list[tuple[str, str]] = []
    if said.code is not None:
        lines.append((said.code.label, f"{said.code.cause}: {said.detail}" if said.detail else said.code.cause))
        if said.wanted:
            lines.append(("would do", said.wanted))
        else:
            lines.append(("next", said.next_step or said.code.next_step))
    for each in said.nobody:
        if (each.code, each.detail) != (said.code, said.detail):
            lines += [(each.code.label, f"{each.code.cause}: {each.detail}"), ("next", each.code.next_step)]
    if mapped.at_ms is not None:
        lines.append(("happened", utc(mapped.at_ms)))
    if mapped.dropped:
        lines.append(("dropped", ", ".join(mapped.dropped)))
    if mapped.renamed:
        lines.append(("renamed", ", ".join(f"{old} to {new}" for old, new in mapped.renamed)))
    alike: dict[tuple[str, str], list[str]] = {}
    for field in sample.fields:
        alike.setdefault((field.label.short, reach_words(said, field)), []).append(field.name)
    for (label, reach), names in alike.items():
        more = f" and {len(names) - _FIELDS_SHOWN:,} more" if len(names) > _FIELDS_SHOWN else ""
        lines.append((label, f"{', '.join(names[:_FIELDS_SHOWN])}{more}{': ' if reach else ''}{reach}"))
    lines += [("note", words) for words in mapped.notes]
    say(*[f"  {name:<13} {words}" for name, words in lines])
