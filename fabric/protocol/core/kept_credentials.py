"""Which credentials are on this node's disk: whoever signed what is there must be known when it is read back.

Guarantee: a disk keeps at least as many of the last as are remembered here, so one that is forgotten is written again.
"""

from __future__ import annotations

from collections import OrderedDict

from fabric.protocol.base.limits import CREDENTIALS_CACHED_MAX
from fabric.protocol.core.ready import KeepCredential, Ready
from fabric.protocol.trust.credentials import Credential


class KeptCredentials:
    """The last that went to disk, by digest."""

    def __init__(self) -> None:
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._digests)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._digests

    def keep(self, credential: Credential, ready: Ready) -> None:
        """Something that it signed goes to disk."""
        if credential.digest not in self._digests:
            self.remember(credential.digest)
            ready.persist.append(KeepCredential(credential.digest, credential.raw))

    def remember(self, digest: bytes) -> None:
        """It is there already."""
        self._digests[digest] = None
        if len(self._digests) > CREDENTIALS_CACHED_MAX:
            self._digests.popitem(last=False)
