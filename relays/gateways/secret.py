"""A secret that a source or sink needs: a declaration says where it is, never what it is.

    token = { file = "/etc/fabric/token" }      the first line of a file
    token = { env = "SIEM_TOKEN" }              a variable of the environment of `fabric edge run`
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from fabric.files import open_regular
from fabric.protocol.base.errors import Code, FabricError

SECRET_BYTES_MAX = 65_536


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a secret is: `where` is "file" or "env". What it is, is read each time that it is needed."""

    where: str
    name: str

    def read(self, environment: Mapping[str, str] | None = None) -> str:
        """Without the end of its line. Raises NO_SECRET, which never says what was read."""
        if self.where == "env":
            value = (os.environ if environment is None else environment).get(self.name, "")
            if not value:
                raise FabricError(Code.NO_SECRET, f"the variable {self.name} is not set", "set it, and start again")
            return value
        try:
            with open_regular(os.path.realpath(self.name)) as file:  # over links: secrets are mounted as such
                data = file.read(SECRET_BYTES_MAX + 1)
            # Editors begin a file with a byte order mark, which nobody sees and no client sends.
            value = data.decode("utf-8-sig").split("\n", 1)[0].rstrip("\r")
        except OSError as error:
            why = (error.strerror or type(error).__name__).lower()
            raise FabricError(Code.NO_SECRET, f"{self.name}: {why}", "write it there, readable by this user") from None
        except UnicodeDecodeError:
            raise FabricError(Code.NO_SECRET, f"{self.name} is no text", "write it there as UTF-8") from None
        if not value or len(data) > SECRET_BYTES_MAX:
            raise FabricError(Code.NO_SECRET, f"{self.name} is empty, or no secret", "write it into its first line")
        return value
