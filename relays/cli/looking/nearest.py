"""`fabric nearest`: which relay a control point finds from this machine, and why."""

from __future__ import annotations

from typing import Any

import typer

from fabric.edge.discovery.addresses import own_addresses
from fabric.edge.discovery.measuring import measure
from fabric.edge.discovery.nearest import DIALLED_MAX, ROUND_TRIP_STEP_MS, rank, why_not
from fabric.edge.identity.home import fabric_folder, revocations_path
from fabric.edge.identity.identity import Identity, find_identity, own_directory
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.base.limits import SKEW_MS
from fabric.protocol.trust.directory import RelayDirectory, verify_directory
from fabric.protocol.trust.revocations import Revocations
from relays.authority.lists import read_revocations
from relays.cli.shared.exits import PARTLY, UNREACHABLE, command
from relays.cli.shared.options import As, AsJson, needed, wall_ms
from relays.terminal import Screen, Table, say, say_json
from relays.wall import of_version


@command
def nearest(identity: As = "", as_json: AsJson = False) -> None:
    """Which relay a control point that names none finds from this machine: the order, and why.

    First the relays that serve a network with one of this machine's own addresses, the longest prefix first; then by
    round trip (the time in which TCP connects, in whole milliseconds, one second at most); then in the directory's order. It dials the first,
    and keeps the next seven as its backups. A relay that is revoked or not valid now is shown, and is nobody's.

    Exit codes: 0 the first answers, 1 there is no directory here, 3 the first does not answer and another does, 69 none
    answers.

    Example: fabric nearest --as laptop-1
    """
    who = find_identity(needed(identity))
    directory, revocations = _directory(who), _revocations(who)
    candidates = [address for relay in directory.relays for address in relay.addresses]
    addresses, now_ms = own_addresses(candidates), wall_ms()
    ranking = rank(directory, revocations, addresses, measure(candidates), (now_ms,), SKEW_MS)
    rows: list[dict[str, Any]] = [
        {
            "place": place, "relay": ranked.relay.id, "segment": ranked.relay.segment, "address": ranked.address,
            "network": None if ranked.network is None else str(ranked.network),
            "round_trip_ms": None if ranked.round_trip_ms is None else round(ranked.round_trip_ms, 2),
            "clearance": ranked.relay.clearance.short,
            "cleared_for_less": not ranked.is_cleared_for(who.credential.clearance),
            "dialled": who.nearest and place <= DIALLED_MAX, "left_out": None,
        }
        for place, ranked in enumerate(ranking, 1)
    ]
    rows += [
        {
            "place": None, "relay": relay.id, "segment": relay.segment, "address": relay.addresses[0], "network": None,
            "round_trip_ms": None, "clearance": relay.clearance.short, "cleared_for_less": False, "dialled": False,
            "left_out": problem.label,
        }
        for relay in directory.relays if (problem := why_not(relay, revocations, (now_ms,), SKEW_MS)) is not None
    ]
    if as_json:
        for row in rows:
            say_json(row)
    else:
        if not who.nearest:
            say(f"{who.id} does not look for the nearest: its identity names {_names(who)}. If it did:")
        _draw(rows)
        say(f"this machine: {', '.join(map(str, addresses)) or 'no address'}; directory {of_version(directory.version)}")
    answering = [ranked.round_trip_ms is not None for ranked in ranking]
    if not any(answering):
        raise typer.Exit(UNREACHABLE)
    if not answering[0]:
        raise typer.Exit(PARTLY)


def _names(who: Identity) -> str:
    return ", ".join(dial.id for dial in who.dials) or "no relay to dial"


def _draw(rows: list[dict[str, Any]]) -> None:
    aside = ("segment", "")
    table = Table("place", "relay", "address", "serves your net", "round trip", *aside, aside=aside)
    for row in rows:
        trip = row["round_trip_ms"]
        table.row(
            str(row["place"] or "-"), row["relay"], row["address"], row["network"] or "", _trip_words(trip),
            row["segment"] if row["segment"] != row["relay"] else "", ", ".join(_remarks(row)),
        )
    Screen().table(table)


def _trip_words(trip_ms: float | None) -> str:
    if trip_ms is None:
        return ""
    return f"{int(trip_ms)} ms" if trip_ms >= ROUND_TRIP_STEP_MS else f"< {ROUND_TRIP_STEP_MS} ms"


def _remarks(row: dict[str, Any]) -> list[str]:
    if row["left_out"] is not None:
        return ["revoked" if row["left_out"] == Code.REVOKED.label else "not valid at this time"]
    silent = ["not answering"] if row["round_trip_ms"] is None else []
    return silent + ([f"cleared for {row['clearance']} only"] if row["cleared_for_less"] else [])


def _directory(who: Identity) -> RelayDirectory:
    """The newest on this machine. Raises where there is none that is its authority's."""
    newest, refused = RelayDirectory(), None
    for folder in (who.folder, fabric_folder(who.fabric)):
        raw = own_directory(folder)
        found = verify_directory(raw, who.authority_key, who.fabric) if raw else None
        if isinstance(found, Reject):
            refused = FabricError(found.code, f"{folder / 'directory'}: {found.detail}")
        elif found is not None and found.supersedes(newest):
            newest = found
    if not newest.version:
        raise refused or FabricError(
            Code.BAD_IDENTITY, f"{who.folder} has no directory of relays",
            "run `fabric up FILE` where the authority is, and copy the folder again",
        )
    return newest


def _revocations(who: Identity) -> Revocations:
    return read_revocations(revocations_path(who.fabric), who.authority_key, who.fabric)
