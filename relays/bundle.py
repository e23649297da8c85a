"""A bundle: the folder that one relay needs on a machine of its own. Nobody else's keys are in it."""

from __future__ import annotations

from pathlib import Path

from fabric.edge.identity.identity import load_identity
from fabric.files import PROGRAM_MODE, make_private, write_private
from fabric.protocol.base.errors import Code, FabricError

_FILES = ("identity.json", "secret.json", "credential")
_FILES_IF_ANY = ("directory", "policies", "pins")

_START = """#!/bin/sh
# Runs relay {id} of fabric {fabric} in the foreground, with the first Python that has Message Fabric: $PYTHON, one in
# venv/ beside this file, one in /opt/message-fabric, or the system's.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
export FABRIC_HOME="${{FABRIC_HOME:-/var/lib/message-fabric}}"
line='
'
tried=
for python in "${{PYTHON:-}}" "$here/venv/bin/python" /opt/message-fabric/bin/python python3; do
    # A link may lead to where this user may not read: that is worth saying, and a file that is not there is not.
    [ -L "$python" ] || command -v "$python" > /dev/null 2>&1 || continue
    if why=$("$python" -P -c 'import relays.run' 2>&1); then
        exec "$python" -P -m relays.run "$here"
    fi
    tried="$tried$line  $python: ${{why##*"$line"}}"
done
echo "error: no Python 3.11 or newer here has Message Fabric$tried" >&2
echo "  next: copy the checkout of message-fabric here, then" >&2
echo "        python3 -m venv /opt/message-fabric && /opt/message-fabric/bin/pip install ./message-fabric" >&2
exit 78
"""

_UNIT = """# Copy this folder to /etc/message-fabric/{id} and a checkout of message-fabric to here, then as root:
#   python3 -m venv /opt/message-fabric && /opt/message-fabric/bin/pip install ./message-fabric
#   useradd --system --home-dir /var/lib/message-fabric --shell /usr/sbin/nologin message-fabric
#   chown -R message-fabric /etc/message-fabric/{id}
#   systemctl enable --now /etc/message-fabric/{id}/message-fabric-{id}.service
[Unit]
Description=Message Fabric relay {id} ({fabric})
Wants=network-online.target
After=network-online.target
# A disk that fails, or an address that somebody has, may last: it is tried again for as long as it does.
StartLimitIntervalSec=0

[Service]
User=message-fabric
ExecStart=/etc/message-fabric/{id}/start
Environment=FABRIC_HOME=/var/lib/message-fabric
StateDirectory=message-fabric
StateDirectoryMode=0700
Restart=always
RestartSec=1
RestartPreventExitStatus=77 78
LimitNOFILE=65536
MemoryMax=1G
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
CapabilityBoundingSet=
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX

[Install]
WantedBy=multi-user.target
"""


def make_bundle(identity_folder: Path, output: Path) -> list[str]:
    """Write the bundle of a relay's identity to a new or empty folder; the names of its files."""
    identity = load_identity(identity_folder)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FabricError(Code.USAGE, f"{output} is not an empty folder", "name a new folder")
    make_private(output)
    files = [*_FILES, *(name for name in _FILES_IF_ANY if (identity_folder / name).is_file())]
    for name in files:
        write_private(output / name, (identity_folder / name).read_bytes())
    words = {"id": identity.id, "fabric": identity.fabric}
    start, unit = output / "start", output / f"message-fabric-{identity.id}.service"
    write_private(start, _START.format(**words).encode(), mode=PROGRAM_MODE)
    write_private(unit, _UNIT.format(**words).encode())
    return [*files, start.name, unit.name]
