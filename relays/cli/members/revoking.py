"""`fabric revoke`: revokes identities, and shows which relays have the list."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from fabric.edge.identity.home import ids_folder
from fabric.protocol.base.errors import Code, FabricError
from fabric.protocol.envelope.lifetime import parse_duration
from fabric.protocol.trust.credentials import name_ok
from fabric.protocol.trust.revocations import Revocations
from relays.authority import open_authority, revoke
from relays.authority.reach import applied, relays_here
from relays.cli.shared.exits import PARTLY, command
from relays.cli.shared.passphrase import PassphraseFile, passphrase_from
from relays.cli.tree.running import one_of_here, running_relays, tell_unreached, the_one
from relays.issuing.members import members_here
from relays.terminal import say, say_json
from relays.wall import of_version

_POLL_S = 0.05


@command
def revoke_(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="Relays, control points or issuers that must go.")] = None,
    fabric_: Annotated[str | None, typer.Option("--fabric", help="The fabric's name; not needed where one is.")] = None,
    why: Annotated[str, typer.Option("--why", help="Kept beside the authority's key, on this machine only.")] = "",
    wait: Annotated[str | None, typer.Option("--wait", metavar="30s", help="Show relay by relay when it is in force, for this long at most.")] = None,
    renew: Annotated[bool, typer.Option("--renew", help="Sign the list as it is, for another 30 days.")] = False,
    unknown: Annotated[bool, typer.Option("--unknown", help="Also ids that this machine does not know.")] = False,
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One object a line.")] = False,
) -> None:
    """Put identities on the authority's revocation list. The relays of this machine take it up at once and pass it on
    ahead of everything: live links are cut, queued messages end, and nobody selects them any more. An issuer takes
    along whoever it vouched for. An id that was revoked is never used again.

    Exit codes: 0 done (with --wait: in force at every relay that is known here), 3 not everywhere in the time of
    --wait, 1 no such identity, 5 wrong passphrase.

    Examples:

      fabric revoke zeek-p1 --fabric enterprise --why 'laptop stolen' --wait 30s

      fabric revoke --renew --fabric enterprise
    """
    named = ids or []
    if not named and not renew:
        raise FabricError(Code.USAGE, "who must go?", "name one or more ids, or --renew to sign the list again")
    words = f"fabric revoke {' '.join(named)} --fabric FABRIC"
    fabric = one_of_here(fabric_) or the_one(words, running_only=False)
    known = {member.credential.id for member in members_here(fabric)} if named else set()
    for id_ in named:
        if not name_ok(id_) or not (unknown or id_ in known or (ids_folder(fabric) / id_).is_dir()):
            raise FabricError(
                Code.NO_IDENTITY, id_, f"name one of those in {ids_folder(fabric)}, or add --unknown if you are sure"
            )
    authority = open_authority(fabric, passphrase=passphrase_from(passphrase_file))
    lists = revoke(authority, named, why=why)
    if as_json:
        say_json({"version": lists.version, "revoked": named, "until_ms": lists.not_after_ms,
                  "relays_here": running_relays(fabric)})
    else:
        signed = f"list {of_version(lists.version)}"
        say(f"revoked {', '.join(named)} ({signed})" if named else f"signed again ({signed})")
    if not as_json:
        tell_unreached(fabric)
    if wait is not None:
        _wait(fabric, lists, set(named), parse_duration(wait) / 1_000, as_json)


def _wait(fabric: str, lists: Revocations, gone: set[str], timeout_s: float, as_json: bool) -> None:
    deadline = time.monotonic() + timeout_s
    known, told = relays_here(fabric), set[str]()
    while True:
        there = applied(fabric)
        missing = (known | there.keys()) - gone - lists.ids - told
        reached = [(at_ms, relay) for relay, (version, at_ms) in there.items() if version >= lists.version]
        for at_ms, relay in sorted(reached):
            if relay in missing:
                told.add(relay)
                _tell(relay, lists, at_ms, as_json)
        missing -= told
        if not missing or time.monotonic() >= deadline:
            break
        time.sleep(_POLL_S)
    for relay in sorted(missing):
        _tell(relay, lists, None, as_json)
    if missing:
        raise typer.Exit(PARTLY)


def _tell(relay: str, lists: Revocations, at_ms: int | None, as_json: bool) -> None:
    after_ms = None if at_ms is None else max(0, at_ms - lists.issued_at_ms)
    if as_json:
        say_json({"relay": relay, "version": lists.version, "after_ms": after_ms})
    else:
        words = "NOT REACHED" if after_ms is None else f"in force after {after_ms / 1_000:.2f} s"
        say(f"{relay}: {words}")
