"""The approval policies in a control point's folder (SPEC 6.7): what it begins with, before any relay tells it more.

Guarantees: it never begins with older ones than it was told last, whatever its next relay withholds; the folder's are
replaced by newer ones only, also where several processes run under one identity.
"""

from __future__ import annotations

import structlog

from fabric.edge.identity.home import write_private
from fabric.edge.identity.identity import POLICIES, Identity, own_policies
from fabric.protocol.trust.policies import Policies
from fabric.protocol.trust.store import TrustStore


class KeptPolicies:
    """`trust`: of this node; it has the folder's from now on."""

    def __init__(
        self, identity: Identity, trust: TrustStore, log: structlog.typing.FilteringBoundLogger
    ) -> None:
        self._identity = identity
        self._trust = trust
        self._log = log
        trust.restore_policies(own_policies(identity.folder))
        self._kept = trust.policies

    def look(self) -> None:
        """Every turn: newer ones go into the folder."""
        held = self._trust.policies
        if held is self._kept:
            return
        self._kept = held
        there = self._trust.read_policies(own_policies(self._identity.folder))
        if isinstance(there, Policies) and not held.supersedes(there):
            return
        try:
            write_private(self._identity.folder / POLICIES, held.raw)
        except OSError as error:  # somebody else's folder: they come again with the next connection
            self._log.warning("approval policies not kept", why=type(error).__name__)
