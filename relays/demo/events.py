"""What the demo's sensors report: records like Zeek's logs, made up here, the same in every run.

Addresses are private or from the ranges kept for documentation, hosts and certificates do not exist.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from typing import Any

Record = dict[str, Any]
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# A certificate with a 2048-bit key is about this long. It cannot be compressed, so a pile of them is a real backlog.
_CERTIFICATE_BYTES = 760


class Zeek:
    """A sensor's logs. `ts_s`: the time of the first record, in seconds since 1970."""

    def __init__(self, seed: int, ts_s: float) -> None:
        self._random = random.Random(seed)  # noqa: S311 - invented traffic, no secret
        self._ts_s = ts_s

    def _stamp(self) -> Record:
        self._ts_s += self._random.expovariate(200)
        uid = "C" + "".join(self._random.choices(_LETTERS, k=17))
        return {"ts": round(self._ts_s, 6), "uid": uid}

    def conn(self) -> Record:
        """A connection of conn.log: an engineering station talks Modbus to a controller that it never talked to."""
        pick = self._random
        return {
            **self._stamp(),
            "id.orig_h": f"10.10.4.{pick.randint(10, 99)}",
            "id.orig_p": pick.randint(49_152, 65_535),
            "id.resp_h": f"10.10.7.{pick.randint(2, 40)}",
            "id.resp_p": 502,
            "proto": "tcp",
            "service": "modbus",
            "conn_state": "SF",
            "duration": round(pick.uniform(0.1, 9.0), 6),
            "orig_bytes": pick.randint(200, 9_000),
            "resp_bytes": pick.randint(200, 9_000),
            "history": "ShADadFf",
            "rule": "first-time Modbus client",
        }

    def x509(self, count: int) -> Iterator[Record]:
        """Certificates of x509.log, each with the certificate itself: routine, and a lot of bytes."""
        for number in range(count):
            yield {
                **self._stamp(),
                "fingerprint": self._random.randbytes(32).hex(),
                "certificate.subject": f"CN=hmi-{number:04}.plant.example",
                "certificate.key_alg": "rsaEncryption",
                "certificate.key_length": 2048,
                "cert": base64.b64encode(self._random.randbytes(_CERTIFICATE_BYTES)).decode(),
            }

    def notice(self) -> Record:
        """The one that matters, of notice.log."""
        return {
            **self._stamp(),
            "note": "Modbus::Unauthorized_Write",
            "msg": "write to safety register 40001 outside a maintenance window",
            "actions": ["Notice::ACTION_ALARM"],
            "suppress_for": 3600.0,
        }
