"""TLS for senders: the certificate as it is on the disk now, so that a renewed one needs no restart."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any, Final

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.syslog.settings import TlsFiles

LOOK_EVERY_S: Final = 30.0


class Contexts:
    """`current` is for each connection. Raises SYSLOG_TLS only when it is made."""

    def __init__(self, files: TlsFiles, now_s: float) -> None:
        self._files = files
        self._context = make_context(files)
        self._written = self._times()
        self._looked_s = now_s

    def current(self, now_s: float) -> ssl.SSLContext:
        """A new certificate that cannot be used leaves the old one in use."""
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            written = self._times()
            if written != self._written:
                try:
                    self._context = make_context(self._files)
                    self._written = written
                except FabricError:
                    pass  # half of it is written perhaps: it is looked at again
        return self._context

    def _times(self) -> list[int]:
        found = []
        for path in self._files:
            try:
                found.append(path.stat().st_mtime_ns if path else 0)
            except OSError:
                found.append(0)
        return found


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """Raises SYSLOG_TLS, which names the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise FabricError(Code.SYSLOG_TLS, f"{files.certificate} with {files.key}: {_why(error)}") from None
    if files.client_ca is not None:
        try:
            context.load_verify_locations(files.client_ca)
        except (OSError, ValueError) as error:
            raise FabricError(Code.SYSLOG_TLS, f"{files.client_ca}: {_why(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _no_password() -> str:
    """Nobody is here to be asked."""
    raise ValueError("the key has a password")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it cannot be read").lower().replace("_", " ")
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()


def name_of(certificate: Mapping[str, Any] | None) -> str:
    """What a sender's certificate calls it: its common name."""
    for part in (certificate or {}).get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return ""
