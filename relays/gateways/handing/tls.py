"""TLS towards a receiver: its certificate is verified, always, and ours is shown where one is declared."""

from __future__ import annotations

import ssl
import time
from pathlib import Path
from typing import Final, NamedTuple

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.kinds import Option
from relays.gateways.options import Options
from relays.handlers.posting import is_loopback

OPTIONS: Final = (
    Option("ca", '"/etc/fabric/siem-ca.pem"', "Certificates to trust instead of the system's."),
    Option("certificate", '"/etc/fabric/siem.pem"', "What this machine shows, where it has to."),
    Option("key", '"/etc/fabric/siem.key"', "Its key."),
)
# To read the system's certificates takes as long as many messages do; those that were renewed are used so soon.
_KEPT_S: Final = 60.0


class TlsFiles(NamedTuple):
    """`ca` None: the system's. `certificate` and `key`: both or neither."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


def read_tls(options: Options) -> TlsFiles:
    """What is declared; whether it may be used, `options.faults` says."""
    ca, certificate, key = options.path("ca"), options.path("certificate"), options.path("key")
    for name, given, other in (("key", key, certificate), ("certificate", certificate, key)):
        if given is None and other is not None and not options.has(name):
            options.missing(name, f'"/etc/fabric/siem.{"key" if name == "key" else "pem"}"')
    return TlsFiles(ca, certificate, key)


def check_clear(options: Options, key: str, host: str, instead: str) -> None:
    """What goes to another machine without TLS has to be declared: with `max_label`, how much that may be."""
    if not is_loopback(host) and not options.has("max_label"):
        options.wrong(key, "what it sends crosses the network in the clear",
                      f'write {key} = {instead}, or say how much of it may: max_label = "green"')


def make_context(files: TlsFiles) -> ssl.SSLContext:
    """As the files are now. Raises SOURCE_UNFIT, which names the file."""
    try:
        context = ssl.create_default_context(cafile=files.ca)
    except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
        raise _unfit(f"{files.ca}: it holds no certificates", error) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.certificate is not None:
        try:
            context.load_cert_chain(files.certificate, files.key, password=_no_password)
        except (OSError, ValueError) as error:
            raise _unfit(f"{files.certificate} with {files.key}: they are no certificate and its key", error) from None
    return context


class Contexts:
    """One for each connection, made anew now and then."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._made: ssl.SSLContext | None = None
        self._at_s = 0.0

    def __call__(self) -> ssl.SSLContext:
        """Raises SOURCE_UNFIT."""
        now_s = time.monotonic()
        if self._made is None or now_s - self._at_s > _KEPT_S:
            self._made, self._at_s = make_context(self._files), now_s
        return self._made


def _unfit(words: str, error: Exception) -> FabricError:
    why = (error.strerror or "" if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else "").lower()
    return FabricError(Code.SOURCE_UNFIT, f"{words}{f' ({why})' if why else ''}",
                       "write PEM there, a key without a password, readable by this user")


def _no_password() -> str:
    """Nobody is here to be asked."""
    raise ValueError("the key has a password")
