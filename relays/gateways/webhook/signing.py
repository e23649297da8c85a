"""Signatures as Standard Webhooks 1.0 has them, with HMAC-SHA256.

    webhook-id: <id>    webhook-timestamp: <seconds>    webhook-signature: v1,<base64> v1,<base64>

What is signed is "<id>.<seconds>.<body>", once with each secret, so that a receiver has either during a change. A
secret is "whsec_" and base64 of 24 to 64 bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.secret import Secret

_PREFIX: Final = "whsec_"
_BYTES_MIN, _BYTES_MAX = 24, 64


def key_of(secret: Secret, environment: Mapping[str, str] | None = None) -> bytes:
    """Raises NO_SECRET, which never says what was read."""
    text = secret.read(environment).strip()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not _BYTES_MIN <= len(key) <= _BYTES_MAX:
        raise FabricError(
            Code.NO_SECRET, f"{secret.name}: it is no secret as Standard Webhooks has them",
            f"write {_PREFIX} and base64 of {_BYTES_MIN} to {_BYTES_MAX} bytes: "
            f"echo {_PREFIX}$(openssl rand -base64 32)",
        )
    return key


def signature_headers(id_: str, at_s: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers of one attempt; `at_s`: since 1970, by which a receiver knows a copy that somebody kept."""
    headers = {"webhook-id": id_, "webhook-timestamp": str(at_s)}
    if keys:
        signed = f"{id_}.{at_s}.".encode() + body
        headers["webhook-signature"] = " ".join(
            f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in keys
        )
    return headers
