"""The kind `webhook`: posts messages to a URL, one at a time or many in an array.

    [points.siem-1.sinks.soc]
    kind = "webhook"
    url = "https://soc.example/hook"
    secret = { file = "/etc/fabric/hook.secret" }
    topics = ["detections.>"]

Guarantees: a message is posted until it is taken, in order, however long that is; one that the receiver refuses for
good is in the dead letters, alone, and hinders no other. What may have come is sent again under the same id, so a
receiver that remembers ids has each once. Where one message after another is refused, something else is wrong than the
messages: it is waited, so that the dead letters do not fill with good ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

from fabric.protocol.base.errors import Code, FabricError
from relays.gateways.handing.tls import Contexts
from relays.gateways.handing.trying import MOST_S, Trying
from relays.gateways.kinds import Outtake, Place, SinkKind
from relays.gateways.secret import Secret
from relays.gateways.webhook.answers import no_reply, refusal_of
from relays.gateways.webhook.bodies import Item, body_of, item_of, size_of
from relays.gateways.webhook.settings import OPTIONS, Settings, needs_of, read_settings
from relays.gateways.webhook.signing import key_of, signature_headers
from relays.handlers.posting import Cut, Endpoint, NoReplyError, endpoint_of, post
from relays.wall import wall_ms

# So many in a row are messages that are wrong; more are a receiver that is.
REFUSED_MAX: Final = 16


class WebhookSink:
    """`now_ms`: since 1970. `pause_s`: before another message goes to the dead letters when many in a row have."""

    def __init__(self, settings: Settings, now_ms: Callable[[], int] = wall_ms, pause_s: float = MOST_S) -> None:
        self._settings = settings
        self._now_ms = now_ms
        self._pause_s = pause_s
        self._tls = Contexts(settings.tls)
        self._refused = 0  # since one was taken
        self._together = max(1, settings.batch)  # as many as the receiver takes in one body, as far as it is known

    def run(self, outtake: Outtake, stop: threading.Event) -> None:
        """As `kinds.Sink` says."""
        endpoint = self._endpoint()
        sending = _Sending(outtake, Trying(outtake, stop), endpoint)
        for group in outtake.groups(max(1, self._settings.batch)):
            items = []
            for message in group:
                try:
                    items.append(item_of(message, self._settings.format, outtake.identity.fabric))
                except FabricError as error:
                    outtake.reject(message, error)
            self._send(items, sending)

    def _endpoint(self) -> Endpoint:
        url = self._settings.url
        if not isinstance(url, Secret):
            return url
        try:
            return endpoint_of(url.read().strip())
        except ValueError as error:
            raise FabricError(Code.NO_SECRET, f"{url.name}: {error}", 'write https://soc.example/hook there') from None

    def _send(self, items: Sequence[Item], sending: _Sending) -> None:
        """All of them, in order. What is refused together is sent in halves, until it is known which one it is."""
        waiting = [items[at : at + self._together] for at in range(0, len(items), self._together)][::-1]
        while waiting:
            part = waiting.pop()
            refusal = self._refusal(part, sending)
            if refusal is None:
                self._refused = 0
            elif len(part) > 1:
                half = len(part) // 2
                if refusal.code is Code.TOO_LARGE:
                    self._together = half
                waiting += [part[half:], part[:half]]
            else:
                self._refuse(part[0], refusal, sending)

    def _refusal(self, items: Sequence[Item], sending: _Sending) -> FabricError | None:
        """None when they were taken. Raises NotNowError when it is to stop before."""
        size = size_of(items)
        if size > self._settings.body_bytes_max:
            return FabricError(Code.TOO_LARGE, f"{size:,} bytes, and body_max is {self._settings.body_bytes_max:,}",
                               "raise body_max, or let less be in one message")
        return sending.trying(lambda: self._post(items, sending.endpoint))

    def _post(self, items: Sequence[Item], endpoint: Endpoint) -> FabricError | None:
        body = body_of(items, self._settings.format, self._settings.batch > 0)
        headers = {"Content-Type": body.content_type, "User-Agent": "message-fabric", "Connection": "close"}
        keys = [key_of(secret) for secret in self._settings.secrets]  # they may have been changed
        headers |= signature_headers(body.id, self._now_ms() // 1000, body.data, keys)
        if self._settings.token is not None:
            headers["Authorization"] = f"Bearer {_token(self._settings.token)}"
        try:
            reply = post(endpoint, body.data, headers, self._settings.timeout_s, Cut(), self._tls, needs_body=False)
        except NoReplyError as error:
            raise no_reply(endpoint, error) from None
        return refusal_of(endpoint, reply)

    def _refuse(self, item: Item, why: FabricError, sending: _Sending) -> None:
        if self._refused >= REFUSED_MAX:
            sending.trying.pause(
                FabricError(Code.SINK_REFUSED, f"one message after another is refused: {why.detail}", why.next_step),
                self._pause_s,
            )
            again = self._refusal([item], sending)
            sending.outtake.waits(None)
            if again is None:
                self._refused = 0
                return
        self._refused += 1
        sending.outtake.reject(item.message, why)


class _Sending:
    """Of one run."""

    def __init__(self, outtake: Outtake, trying: Trying, endpoint: Endpoint) -> None:
        self.outtake = outtake
        self.trying = trying
        self.endpoint = endpoint


def _token(secret: Secret) -> str:
    """Raises NO_SECRET."""
    token = secret.read().strip()
    if not token.isascii() or not token.isprintable():
        raise FabricError(Code.NO_SECRET, f"{secret.name}: it has letters that no header may have", "write it anew")
    return token


def _open(settings: Settings, _place: Place) -> WebhookSink:
    return WebhookSink(settings)


SINK: Final = SinkKind(
    "webhook", "Posts messages to a URL, as JSON or CloudEvents, signed; in order, until they are taken.", OPTIONS,
    read_settings, _open, needs_of, hands_over=True,
)
