"""`--handler nftables`: blocks networks with a table of its own.

What is blocked is in a file of the identity (`blocklist`), and the table follows from it: it is made again at each
start, after a reboot too, with each change, and where somebody else changed it. The file is written first; where the
kernel then says no, it is put back, and the action failed. So to block or to allow twice does no harm, and an effect
can be ended at any time. What must not be blocked any more, as this machine or a relay has another address by now, is
left out of the table while that is so.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final

import structlog

from fabric.edge.handling.handlers import Answer
from fabric.edge.messages import Action
from fabric.protocol.base.errors import Code, FabricError
from relays.handlers.blocklist import NETWORKS_MAX, Blocklist, Network, without
from relays.handlers.kept import Entry
from relays.handlers.kinds import Kind, Need, Option, Options, Pair, Place, failed, refused
from relays.handlers.protected import Protected
from relays.handlers.ruleset import (
    HOOKS,
    VERDICTS,
    NftError,
    Table,
    apply,
    check_rights,
    listing,
    nft_path,
    script,
)
from relays.wall import wall_ms

_TABLE: Final = "message_fabric"
# An IPv6 socket shows IPv4's addresses so; no packet of IPv6 has one.
_MAPPED: Final = ipaddress.ip_network("::ffff:0:0/96")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}")


class Nftables:
    """`program` puts a table into the kernel, and raises NftError; `listed`: as that has it, empty where it has not."""

    def __init__(
        self, table: Table, blocklist: Blocklist, protected: Protected, program: Callable[[str], None] = apply,
        listed: Callable[[Table], str] = listing,
    ) -> None:
        self._table = table
        self._blocklist = blocklist
        self._protected = protected
        self._program = program
        self._listed = listed
        self._spared: list[Network] = []
        self._made, self._is_made = "", False  # the table as the kernel shows it; whether it is what it is to be
        self._is_less = False  # what is never to be blocked is left out of it
        self._log = structlog.get_logger()

    def start(self) -> None:
        """What was blocked is so again."""
        self._spared = self._never()
        with self._blocklist.changing():
            self._listed(self._table)  # and nobody else's
            self._make_anew()

    def tend(self) -> None:
        """Each start of the service `nftables`, and each reload of some others, flushes all tables; people at keyboards
        flush sets and chains. And who is never to be blocked may have another address."""
        spared = self._never()  # names are looked up: nobody waits for that
        with self._blocklist.changing():
            is_same = self._is_made and spared == self._spared
            self._spared = spared
            found = self._listed(self._table)
            is_changed = found != self._made
            if is_same and not is_changed:
                return
            self._make_anew()
        if is_changed:
            event = "table was changed, and is as it was again" if found else "table was gone, and is there again"
            self._log.warning(event, table=self._table.name, networks=len(self._blocklist))

    def _never(self) -> list[Network]:
        return [network for network, _ in self._protected.networks()]

    def stop(self) -> None:
        """What is blocked stays blocked: nobody said that its time is over."""

    def __call__(self, action: Action) -> Answer:
        network = ipaddress.ip_network(action.target.value)
        if network.version == 6 and network.prefixlen >= _MAPPED.prefixlen and network.overlaps(_MAPPED):
            return refused(Code.BAD_ACTION, "its packets are IPv4's: ask for this address as an ipv4_net")
        with self._blocklist.changing():
            return self._block(network, action) if action.action == "deny" else self._allow(network, action)

    def revert(self, action: Action) -> Answer:
        """Of `deny`: exactly this network is blocked no more."""
        with self._blocklist.changing():
            return self._release(ipaddress.ip_network(action.target.value), action)

    def _block(self, network: Network, action: Action) -> Answer:
        why_not = self._protected.why_not(network)
        if why_not:
            return refused(Code.PROTECTED, why_not)
        already = network in self._blocklist
        if not already:
            if not self._blocklist.has_room(action.requester):
                full = f"{NETWORKS_MAX:,} networks are blocked, or as many as one requester may have"
                return failed(Code.HANDLER_FAILED, full)
            self._blocklist.hold(network, Entry(action.requester, wall_ms(), action.id))
        try:
            self._make()  # also where it is in the list: somebody may have flushed the table
        except NftError as error:
            if not already:
                self._blocklist.release(network)
            return failed(Code.HANDLER_FAILED, str(error))
        return Answer(result={"blocked": action.target.value, "already": already})

    def _allow(self, network: Network, action: Action) -> Answer:
        answer = self._release(network, action)
        still = (answer.result or {}).get("still_blocked")
        if answer.code is not None or not still:
            return answer
        # Who asked for it to be let through is not told that it is.
        return failed(Code.TARGET_DIFFERS, "all or some of it is blocked by other networks", **(answer.result or {}))

    def _release(self, network: Network, action: Action) -> Answer:
        held = self._blocklist.release(network)
        try:
            self._make()
        except NftError as error:
            if held is not None:
                self._blocklist.hold(network, held)
            return failed(Code.HANDLER_FAILED, str(error))
        still = [str(each) for each in self._blocklist.overlapping(network)[:100]]
        return Answer(result={"allowed": action.target.value, "was_blocked": held is not None,
                              **({"still_blocked": still} if still else {})})

    def _text(self) -> str:
        merged = [self._blocklist.merged(version) for version in (4, 6)]
        kept = [without(networks, self._spared) for networks in merged]
        self._is_less = kept != merged
        return script(self._table, *kept)

    def _make(self) -> None:
        """Raises NftError."""
        self._is_made = False
        self._program(self._text())
        self._made, self._is_made = self._listed(self._table), True

    def _make_anew(self) -> None:
        try:
            self._make()
        except NftError as error:
            raise FabricError(Code.HANDLER_UNFIT, f"nftables: {error}") from None
        if self._is_less:
            self._log.warning("some of what is blocked is let through", why="it is never to be blocked, by now")


def _networks(options: Options) -> list[Network]:
    found = []
    for text in options.many("never"):
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            raise options.wrong("never", text, "an address or a network, e.g. 10.0.0.1") from None
    return found


def _table(options: Options, owner: str) -> Table:
    name = options.one("table", _TABLE)
    if not _NAME.fullmatch(name):
        raise options.wrong("table", name, "letters, digits and _")
    hooks = options.many("hook") or list(HOOKS)
    for hook in hooks:
        if hook not in HOOKS:
            raise options.wrong("hook", hook, ", ".join(HOOKS))
    return Table(name, owner, tuple(dict.fromkeys(hooks)), options.choice("verdict", VERDICTS, VERDICTS[0]))


def make(options: Options, place: Place) -> Nftables:
    """Raises USAGE."""
    blocklist = Blocklist(place.folder / "blocked.json")
    return Nftables(_table(options, place.id), blocklist, Protected(_networks(options), place.relays))


def needs(_options: Options) -> list[Need]:
    """The program, and the right to change tables."""
    if nft_path() is None:
        return [Need("nft, on PATH", "it is not there", "install it, e.g. apt-get install nftables")]
    problem = check_rights()
    return [
        Need("nft, on PATH"),
        Need("root, or CAP_NET_ADMIN", problem,
             "run it as root, or under systemd with AmbientCapabilities=CAP_NET_ADMIN" if problem else ""),
    ]


KIND: Final = Kind(
    "nftables",
    "Block networks on this Linux machine, as a host or a router, in a table of its own.",
    lambda _options: [
        Pair(action, f"ipv{version}_net", does, reverts)
        for action, does, reverts in (("deny", "blocks it", True), ("allow", "blocks it no more", False))
        for version in (4, 6)
    ],
    [
        Option("never", "NETWORK", "Never block what touches it; nor the relays, this machine, loopback.", True),
        Option("hook", "|".join(HOOKS), "Where packets are looked at; default: all three.", True),
        Option("verdict", "|".join(VERDICTS), "What becomes of them; default: drop."),
        Option("table", "NAME", f"The table in family inet; default: {_TABLE}."),
    ],
    needs,
    make,
)
