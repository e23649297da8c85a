"""`fabric credential ...`: what credentials say, how long they last, and issuing them again."""

from __future__ import annotations

from typing import Annotated

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.home import ids_folder
from fabric.edge.identity.identity import Identity, find_identity, load_identity
from fabric.edge.identity.renewal import renew_at_ms
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import format_duration
from fabric.protocol.trust.credentials import Credential, Grants, NodeKind, PublishGrant
from fabric.protocol.vocabulary.severity import Severity
from relays.authority import open_authority
from relays.authority.credentials import description, identities_here, issue_again, issuer_here, needs_renewal
from relays.authority.sealing import Passphrase
from relays.authority.strays import barred
from relays.cli.shared.exits import PARTLY, command
from relays.cli.shared.options import AlsoFabric, As, needed, wall_ms
from relays.cli.shared.passphrase import PassphraseFile, passphrase_from
from relays.cli.tree.running import one_of_here, the_one
from relays.terminal import Screen, Table, say, say_json
from relays.wall import utc

app = typer.Typer(no_args_is_help=True, help="What credentials say, and how long they last.\n\nExample: fabric credential list")
Identity_ = Annotated[str, typer.Argument(metavar="ID", help="An id, fabric/id, or an identity's folder; the same as --as.")]
AsJson = Annotated[bool, typer.Option("--json", help="One object a line.")]
# What people see of a name that JSON has.
_NAMES = {"serial": "made"}
_MINUTE_MS, _HOUR_MS, _DAY_MS = 60_000, 3_600_000, 86_400_000
# As `step certificate needs-renewal` has it.
_NEEDS_IT, _NEEDS_IT_NOT, _MISSING = 0, 1, 2


@app.command()
@command
def show(identity: Identity_ = "", as_: As = "", as_json: AsJson = False) -> None:
    """What the credential of an identity says: who vouches for it, what it may, and until when.

    Exit codes: 0 shown, 1 no such identity.

    Example: fabric credential show zeek-p1
    """
    found = find_identity(needed(identity or as_))
    credential = found.credential
    said, is_revoked = description(credential), bool(barred(found.fabric, [credential.id]))
    if as_json:
        say_json(said | {"revoked": is_revoked})
        return
    for name, value in said.items():
        if name == "serial":  # the millisecond in which it was made
            value = utc(credential.serial)
        if name == "grants":
            value = _grants_of(credential.grants)
        if value not in ("", [], {}) and not name.endswith("_ms") and name not in ("curve_key", "sign_key"):
            say(f"{_NAMES.get(name, name) + ':':14}{_words(value)}")
    say(f"{'valid:':14}{utc(credential.not_before_ms)} to {utc(credential.not_after_ms)}, {_left(credential)}")
    say(f"{'renewal:':14}{'none' if is_revoked else utc(renew_at_ms(credential))}")
    if is_revoked:
        say(f"{'revoked:':14}no relay lets it in, by the list on this machine")


def _grants_of(grants: Grants) -> list[str]:
    said = [_publish_words(grant) for grant in grants.publish]
    said += [f"subscribe {pattern}" for pattern in grants.subscribe]
    for g in grants.request:
        scope = f", within {g.scope}" if g.scope else ""
        said.append(f"request {g.action} to {g.to} ({_up_to(g.severity_max)}{scope})")
    said += [f"execute {action}" for action in grants.execute]
    said += [f"approve {g.class_} to {g.to}" for g in grants.approve]
    return said + [f"declassify {g.pattern} from {g.from_.short} down to {g.to.short}" for g in grants.declassify]


def _publish_words(grant: PublishGrant) -> str:
    more = [_up_to(grant.severity_max)]
    if grant.rate_per_s:
        more.append(f"{grant.rate_per_s:,} a second")
    for what, names in (("organisations", grant.to_organisations), ("communities", grant.to_communities)):
        if names:
            more.append(f"also for the {what} {' '.join(names)}")
    return f"publish {grant.pattern} ({', '.join(more)})"


def _up_to(severity: Severity) -> str:
    return f"up to {severity.name.lower()}"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{name} {_words(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(" ".join(str(part) for part in each) if isinstance(each, list) else str(each) for each in value)
    return str(value)


def _left(credential: Credential) -> str:
    left_ms = credential.not_after_ms - wall_ms()
    if left_ms <= 0:
        return "over"
    return f"{format_duration(max(_MINUTE_MS, left_ms // _MINUTE_MS * _MINUTE_MS))} left"


def _days_left(credential: Credential) -> str:
    """In the largest unit: enough to see who is next."""
    left_ms = credential.not_after_ms - wall_ms()
    if left_ms < _MINUTE_MS:
        return "over" if left_ms <= 0 else "1m"
    unit_ms = next(unit_ms for unit_ms in (_DAY_MS, _HOUR_MS, _MINUTE_MS) if left_ms >= unit_ms)
    return format_duration(left_ms // unit_ms * unit_ms)


@app.command("list")
@command
def list_(
    fabric: Annotated[str | None, typer.Argument(help="Which fabric; not needed where one is.")] = None,
    fabric_: AlsoFabric = None,
    as_json: AsJson = False,
) -> None:
    """The credentials on this machine, with who vouches for each and when it ends.

    Exit codes: 0 done, 3 some cannot be read.

    Example: fabric credential list enterprise
    """
    name = one_of_here(fabric or fabric_) or the_one("fabric credential list FABRIC", running_only=False)
    found = identities_here(name)
    if not found:
        raise FabricError(Code.NO_IDENTITY, str(ids_folder(name)))
    aside = ("kind", "segment", "issued by", "problem")
    table = Table("id", "kind", "segment", "clearance", "ends in", "renews", "issued by", "problem", aside=aside)
    damaged = 0
    revoked = set(barred(name, [each.credential.id for each in found if isinstance(each, Identity)]))
    for each in found:
        if not isinstance(each, Identity):
            damaged += 1
            id_, error = each
            if as_json:
                say_json({"id": id_, "error": {"code": error.code.label, "detail": error.detail}})
            table.row(id_, "", "", "", "", "", "", f"{error.code.label} {error.code.cause}")
            continue
        credential = each.credential
        is_revoked = credential.id in revoked
        if as_json:
            say_json(description(credential) | {"revoked": is_revoked})
        issuer = credential.issuers[0] if credential.issuers else ""  # else the authority
        due = "now" if needs_renewal(credential, wall_ms()) else utc(renew_at_ms(credential))[:10]
        problem = f"{Code.REVOKED.label} revoked" if is_revoked else ""
        table.row(
            credential.id, credential.kind.name.lower(), credential.segment, credential.clearance.short,
            _days_left(credential), "never" if is_revoked else due, issuer, problem,
        )
    if not as_json:
        Screen().table(table)
    if damaged:
        raise typer.Exit(PARTLY)


@app.command("needs-renewal")
def needs_renewal_(identity: Identity_ = "", as_: As = "", as_json: AsJson = False) -> None:
    """Whether two thirds of a credential's life are over.

    Exit codes: 0 yes, 1 no, 2 there is no such credential, or it cannot be read.

    Example: fabric credential needs-renewal zeek-p1 && fabric credential renew zeek-p1
    """
    name = needed(identity or as_)
    try:
        credential = find_identity(name).credential
    except FabricError as error:
        if as_json:
            say_json({"id": name, "error": error.code.label, "next": error.next_step})
        else:
            say(f"{name}: {error}; {error.next_step}")
        raise typer.Exit(_MISSING) from None
    due = needs_renewal(credential, wall_ms())
    if as_json:
        say_json({"id": credential.id, "needs_renewal": due, "renew_at_ms": renew_at_ms(credential)})
    else:
        say(f"{credential.id}: {'yes' if due else 'no'}, {_left(credential)}")
    raise typer.Exit(_NEEDS_IT if due else _NEEDS_IT_NOT)


@app.command()
@command
def renew(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Ids, fabric/ids, or identities' folders; the same as --as.")] = None,
    as_: As = "",
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Issue credentials again, with their keys and for as long again. Whoever runs under one takes it up by itself,
    without losing its connection.

    The signature is that of whoever vouches for it. An issuer that is not on this machine is asked through the fabric,
    as everybody who runs does by itself when two thirds of the time are over.

    Exit codes: 0 renewed, 1 no such identity, or who vouches for it is not here, 5 wrong passphrase, or revoked, 69 unreachable.

    Example: fabric credential renew zeek-p1 fw-p1
    """
    ask = passphrase_from(passphrase_file)
    for id_ in ids or [needed(as_)]:
        identity = find_identity(id_)
        if barred(identity.fabric, [identity.id]):  # it would be signed, and let in nowhere
            raise FabricError(Code.REVOKED, identity.id)
        fresh = _renewed(identity, ask)
        if as_json:
            say_json(description(fresh))
        else:
            say(f"{fresh.id}: valid until {utc(fresh.not_after_ms)}")


def _renewed(identity: Identity, ask: Passphrase) -> Credential:
    issuer = issuer_here(identity)
    if issuer is not None:
        return issue_again(identity.folder, issuer, wall_ms())
    if identity.credential.issuers:
        return _asked_for(identity)
    return issue_again(identity.folder, open_authority(identity.fabric, passphrase=ask), wall_ms())


def _asked_for(identity: Identity) -> Credential:
    """Through the fabric, from the issuer that vouches for it."""
    if identity.credential.kind is NodeKind.RELAY:
        raise FabricError(
            Code.USAGE, f"{identity.id} is a relay", f"while it runs it asks {identity.credential.issuers[0]} by itself"
        )
    with ControlPoint(identity) as point:
        point.renew()
    return load_identity(identity.folder).credential
