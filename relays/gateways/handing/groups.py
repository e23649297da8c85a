"""Groups of messages for a broker, which says of each what became of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from fabric.edge.messages import Message
from fabric.protocol.base.errors import FabricError
from relays.gateways.handing.trying import Trying
from relays.gateways.kinds import Outtake

_Item = TypeVar("_Item")


def hand_over(
    outtake: Outtake, stop: threading.Event, records_max: int, item_of: Callable[[Message], _Item],
    begin: Callable[[list[_Item]], Callable[[], list[FabricError | None]]],
) -> None:
    """Until it is to stop. `item_of`: how a message is handed over; raises FabricError for one that cannot be. `begin`:
    how to hand some over, which is tried until it says of each that it was taken (None), or why it never will be."""
    trying = Trying(outtake, stop)
    for group in outtake.groups(records_max):
        messages: list[Message] = []
        items: list[_Item] = []
        for message in group:
            try:
                items.append(item_of(message))
            except FabricError as error:
                outtake.reject(message, error)
                continue
            messages.append(message)
        ended = trying(begin(items)) if items else []
        for message, refusal in zip(messages, ended, strict=True):
            if refusal is not None:
                outtake.reject(message, refusal)
