"""`fabric join`, `fabric token ...`, `fabric issuer run`: how a new node joins, and who admits it."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Annotated

import typer

from fabric.edge.blocking import ControlPoint
from fabric.edge.identity.home import fabrics
from fabric.edge.identity.identity import Identity, find_identity
from fabric.edge.identity.joining import join as join_fabric
from fabric.edge.publishing.options import to_label
from fabric.protocol.base.errors import Code, FabricError, Reject
from fabric.protocol.enrolment.joining import read_token
from fabric.protocol.envelope.lifetime import format_duration, parse_duration
from fabric.protocol.trust.credentials import NodeKind, names_cover
from relays.authority.credentials import description, identities_here
from relays.authority.keeping import fingerprint
from relays.authority.strays import barred
from relays.cli.shared.exits import command
from relays.cli.shared.options import to_kinds, to_names, to_tags, wall_ms
from relays.issuing import Issuer, KnownToken, Register, TokenTerms, register_path
from relays.issuing.serving import serve
from relays.logs import set_up_logs
from relays.streams import input_line
from relays.terminal import say, say_json, say_whole
from relays.wall import signing_ms

token_app = typer.Typer(no_args_is_help=True, help="Tokens with which control points join.\n\nExample: fabric token list")
issuer_app = typer.Typer(no_args_is_help=True, help="The process that answers those who join.\n\nExample: fabric issuer run --as plant-1-issuer")
AsIssuer = Annotated[str | None, typer.Option("--as", envvar="FABRIC_AS", metavar="ISSUER", help="Which issuer; not needed where one on this machine fits.")]
AsJson = Annotated[bool, typer.Option("--json", help="One object a line.")]


# -- joining ------------------------------------------------------------------------------------------------


@command
def join(
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="What `fabric token issue` printed; - reads it from standard input, where no list of processes shows it.")],
    id_: Annotated[str, typer.Option("--id", help="An id of your choice, where the token leaves it to you.")] = "",
    timeout: Annotated[str, typer.Option("--timeout", metavar="30s", help="How long to try.")] = "30s",
    as_json: AsJson = False,
) -> None:
    """Become a member of a fabric: make keys on this machine, get a credential for them from the token's issuer, and
    connect.

    Compare the authority's fingerprint with the one that `fabric authority show` prints where the authority is.

    Exit codes: 0 joined and connected, 5 refused (the token is used, over, or damaged), 6 not answered in time,
    69 the relay does not answer. After 6 and 69 the same command goes on where it was, and uses up nothing.

    Examples:

      fabric join mf1-kgGmc21hbGzEIA...

      fabric join - --id plant-1-cam-7 < token.txt
    """
    said = input_line("the token") if token == "-" else token  # noqa: S105 - a dash is no secret
    read = read_token(said)
    if isinstance(read, Reject):
        raise FabricError(read.code, read.detail)

    def progress(words: str) -> None:
        if not as_json:
            say(words, error=True)

    progress(f"relay     {read.relay}  {fingerprint(read.relay_key)}")
    progress(f"authority {read.fabric}  {fingerprint(read.authority_key)}")
    identity = join_fabric(read, id_, parse_duration(timeout) / 1_000, progress=progress)
    with ControlPoint(identity):
        pass
    if as_json:
        say_json({**description(identity.credential), "folder": str(identity.folder), "relay": read.relay})
        return
    say(f"joined {identity.fabric} as {identity.id}, connected to {read.relay}",
        f"go on with: fabric credential show {identity.fabric}/{identity.id}")


# -- tokens -------------------------------------------------------------------------------------------------


@token_app.command("issue")
@command
def issue(
    role: Annotated[str, typer.Option("--role", help="One of the issuer's roles.")],
    segment: Annotated[str | None, typer.Option("--segment", help="Default: the issuer's own.")] = None,
    uses: Annotated[int, typer.Option("--uses", min=1, max=10_000, help="How many may join with it.")] = 1,
    ttl: Annotated[str, typer.Option("--ttl", metavar="15m", help="Until when.")] = "15m",
    clearance: Annotated[str | None, typer.Option("--clearance", help="Default: the highest that the issuer may give.")] = None,
    kind: Annotated[str, typer.Option("--kind", help="point or operator.")] = "point",
    id_: Annotated[str, typer.Option("--id", help="The id that it is for. Default: the newcomer's choice within the issuer's.")] = "",
    principal: Annotated[str, typer.Option("--principal", help="Who counts in a quorum. Default: the id.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="A tag; again for more.")] = None,
    community: Annotated[list[str] | None, typer.Option("--community", help="A community that it is in. Default: the issuer's own; again for more.")] = None,
    client_of: Annotated[list[str] | None, typer.Option("--client-of", help="Whose client it is. Default: the issuer's own; again for more.")] = None,
    life: Annotated[str, typer.Option("--life", metavar="30d", help="How long its credential is valid; it renews itself.")] = "30d",
    issuer: AsIssuer = None,
    as_json: AsJson = False,
) -> None:
    """Print the one command that a new machine runs to join. Run this where the issuer's folder is.

    Whoever has the token can join as what it says: hand it over like a password.

    Exit codes: 0 issued, 1 no issuer here, 5 more than the issuer may give, or it is revoked.

    Examples:

      fabric token issue --segment plant-1 --role sensor --uses 1 --ttl 15m

      fabric token issue --role sensor --uses 40 --ttl 8h --tag vendor=zeek --as enterprise/plant-1-issuer
    """
    label = None if clearance is None else to_label(clearance)
    (node_kind,) = to_kinds([kind], ("point", "operator"))
    if id_ and uses > 1:
        raise FabricError(Code.USAGE, "one id is for one", "leave out --id, or --uses")
    identity = _issuer_here(issuer, role, segment)
    if _is_revoked(identity):
        raise FabricError(
            Code.REVOKED, identity.id, "make another issuer, with an id of its own: fabric authority delegate --help"
        )
    may = identity.credential.issuing
    assert may is not None
    terms = TokenTerms(
        role, segment or identity.credential.segment, identity.credential.organisation,
        may.clearance if label is None else label, node_kind, id_, principal, to_tags(tag), parse_duration(life),
        _given(community, "--community", identity.credential.communities, may.communities),
        _given(client_of, "--client-of", identity.credential.client_of, may.client_of),
    )
    now_ms, ttl_ms = signing_ms(), parse_duration(ttl)
    with Register(register_path(identity.folder)) as register:
        token = Issuer(identity, register, os.urandom).issue_token(terms, uses, ttl_ms, now_ms)
    if as_json:
        say_json({
            "token": token.encode(), "id": token.id.hex(), "issuer": identity.id, "relay": token.relay,
            "segment": terms.segment, "role": role, "clearance": terms.clearance.short, "uses": uses,
            "until_ms": now_ms + ttl_ms,
        })
        return
    who = f"{uses} new members" if uses > 1 else "one new member"
    say(
        f"for {who} as {role} in {terms.segment}, cleared for {terms.clearance.short}, within {format_duration(ttl_ms)}; "
        f"{identity.id} has to be online", f"authority {identity.fabric}  {fingerprint(identity.authority_key)}",
        error=True,
    )
    say_whole(f"fabric join {token.encode()}")


def _given(said: list[str] | None, option: str, own: tuple[str, ...], may: tuple[str, ...]) -> tuple[str, ...]:
    """What was said; else what the issuer is itself, as far as it may give that."""
    return tuple(name for name in own if names_cover(may, (name,))) if said is None else to_names(said, option)


def _issuer_here(name: str | None, role: str = "", segment: str | None = None) -> Identity:
    """The one that is named; else the only one on this machine that fits, of those that are not revoked where one is
    not."""
    if name:
        return find_identity(name)
    found = [
        identity for fabric in fabrics() for identity in identities_here(fabric)
        if isinstance(identity, Identity) and identity.credential.kind is NodeKind.ISSUER
    ]
    found = [identity for identity in found if not _is_revoked(identity)] or found
    fitting = [
        identity for identity in found
        if role in identity.extra.get("roles", {}) and segment in (None, *_segments(identity))
    ] or found
    if not fitting:
        raise FabricError(Code.NO_IDENTITY, "no issuer on this machine", "make one: fabric authority delegate --help")
    if len(fitting) > 1:
        choices = " or ".join(f"{identity.fabric}/{identity.id}" for identity in fitting)
        raise FabricError(Code.USAGE, "more than one issuer on this machine", f"add --as {choices}")
    return fitting[0]


def _is_revoked(issuer: Identity) -> bool:
    """As far as this machine knows: nobody joins with its tokens any more."""
    return bool(barred(issuer.fabric, [issuer.id]))


def _segments(identity: Identity) -> tuple[str, ...]:
    return identity.credential.issuing.segments if identity.credential.issuing is not None else ()


@token_app.command("list")
@command
def list_(issuer: AsIssuer = None, as_json: AsJson = False) -> None:
    """The tokens of an issuer: what each is for, and how often and until when it may be used; revoked are all of an
    issuer that is. Never their secrets.

    Exit codes: 0 listed, 1 no such issuer here.

    Example: fabric token list
    """
    identity = _issuer_here(issuer)
    with Register(register_path(identity.folder)) as register:
        tokens, members = register.tokens(), register.members()
    is_revoked = _is_revoked(identity)
    for token in tokens:
        used = [member.id for member in members if member.token == token.id]
        state = "revoked" if is_revoked else _state_of(token)
        if as_json:
            say_json({
                "id": token.id.hex(), "state": state, "uses_left": token.uses_left, "until_ms": token.until_ms,
                "role": token.terms.role, "segment": token.terms.segment, "members": used,
            })
        else:
            joined = f", joined: {' '.join(used)}" if used else ""
            say(f"{token.id.hex()}  {state}  {token.terms.role} in {token.terms.segment}, "
                f"{token.uses_left} left{joined}")


def _state_of(token: KnownToken) -> str:
    if token.withdrawn:
        return "withdrawn"
    if token.until_ms <= wall_ms():
        return "over"
    return "open" if token.uses_left else "used up"


@token_app.command()
@command
def withdraw(
    token: Annotated[str, typer.Argument(metavar="TOKEN-ID", help="As `fabric token list` shows it.")],
    issuer: AsIssuer = None,
    as_json: AsJson = False,
) -> None:
    """Nobody joins with this token any more. Who joined already stays: see `fabric revoke`.

    Exit codes: 0 withdrawn, 1 no such issuer here, 2 no such token.

    Example: fabric token withdraw 3fa2c1d0b4e59687 --as plant-1-issuer
    """
    identity = _issuer_here(issuer)
    try:
        id_ = bytes.fromhex(token)
    except ValueError:
        raise FabricError(Code.USAGE, f"{token!r} is no token's id", "see `fabric token list`") from None
    with Register(register_path(identity.folder)) as register:
        if not register.withdraw(id_):
            raise FabricError(Code.USAGE, f"no token {token}", "see `fabric token list`")
    if as_json:
        say_json({"withdrawn": token})
    else:
        say(f"withdrew {token}")


# -- the issuer's process -----------------------------------------------------------------------------------


@issuer_app.callback()
def group() -> None:
    """An issuer is made by `fabric authority delegate`."""


@issuer_app.command("run")
@command
def run(
    issuer: AsIssuer = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
    as_json: Annotated[bool, typer.Option("--json", help="Logs as JSON, also on a terminal.")] = False,
) -> None:
    """Answer those who join with this issuer's tokens, and renew its members, in the foreground. Stops on SIGTERM.

    Exit codes: 0 stopped, 1 cannot run, 5 its relay refuses it.

    Example: fabric issuer run --as plant-1-issuer
    """
    set_up_logs(log_level, True if as_json else None)
    identity = _issuer_here(issuer)
    stop = threading.Event()

    def stopped(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for signal_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_, stopped)
    serve(identity, stop)
