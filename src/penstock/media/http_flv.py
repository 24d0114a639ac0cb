"""FLV over HTTP and HTTPS as a source: connect, work, raise. No retry, no state."""

from collections.abc import Callable

from penstock.errors import MediaError, SourceError
from penstock.media.flv import FlvChunks
from penstock.media.http import Response, get
from penstock.media.pump import OnMessage, Pump
from penstock.media.rtmp.chunk import Shortcut, Take
from penstock.media.supervisor import Counted
from penstock.media.transport import SourceLeaf
from penstock.net import Policy


class HttpFlvSource:
    """Plays one live stream. What turns out to be a file (its server knows its length) is left to `file`'s leaf,
    which plays it at its own pace."""

    def __init__(self, policy: Policy, pump: Pump, file: Callable[[str], SourceLeaf], url: str) -> None:
        self._policy = policy
        self._pump = pump
        self._file = file
        self._url = url

    async def run(self, connected: Callable[[Counted], None], on_media: OnMessage) -> None:
        """Play until it ends; always raises `SourceError` (or `AddressRefused`)."""
        try:
            response = await get(self._policy, self._url)
        except MediaError as error:
            raise SourceError(error.message) from error
        if response.length is None:
            await self._play(response, connected, on_media)
        else:
            response.close()
            await self._file(self._url).run(connected, on_media)

    async def _play(self, response: Response, connected: Callable[[Counted], None], on_media: OnMessage) -> None:
        reader = BodyReader(response)
        connection = self._pump.add(response.sock, reader, on_media=on_media)
        connected(connection)
        try:
            reader.read(response.first, connection.dispatch)
            reason = await connection.wait_closed()
        except MediaError as error:
            reason = error.message
        finally:
            connection.close(None)
        raise SourceError(reason or "ended")


class BodyReader(FlvChunks):
    """Turns what comes through the socket into messages, once the transfer coding is off."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self._response = response

    def read(self, data: bytes | bytearray | memoryview, take: Take, shortcut: Shortcut | None = None) -> None:
        """Hand each message that `data` completes to `take`. Raise `SourceError` at the end, or if it is not FLV."""
        try:
            super().read(self._response.decode(bytes(data)), take, shortcut)
        except MediaError as error:
            named = self._response.media_type
            raise SourceError(error.message + (f" (the server calls it {named})" if named else "")) from error
        if self._response.ended:
            raise SourceError("the server has ended the stream")
