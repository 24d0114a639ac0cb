"""Whose a stream is, and who may publish it."""

import asyncio
import ipaddress

import structlog

from penstock.errors import StoreError
from penstock.media.rtmp.server import Wish
from penstock.tasks.ports import Clock, Store
from penstock.tasks.publishing import TICKET, Directory, Ticket, directory, objection

log = structlog.get_logger()

#: Seconds between two looks at accounts, domains and keys: a key that was renewed is refused within a second.
REFRESH = 0.5


class Denied(Exception):
    """A publisher is refused; the text is for it."""


class Access:
    """Decides by what the store said last, so that strangers cannot keep the store busy, and one that cannot answer
    stops nobody.

    `secret` signs our workers' tickets.
    """

    def __init__(self, *, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock
        self.directory = Directory()

    async def follow(self, store: Store) -> None:
        """Keep the directory up to date until cancelled."""
        failed = False
        while True:
            await asyncio.sleep(REFRESH)
            try:
                self.directory = await store.read(directory)
            except StoreError as error:
                if not failed:
                    log.warning("accounts and keys cannot be read; those of before are good", error=error.message)
                failed = True
            else:
                failed = False

    def owner(self, host: str) -> int:
        """The account whose streams a client means that asked for this host."""
        return self.directory.owner(host)

    def publisher(self, wish: Wish, address: str) -> tuple[int, Ticket | None]:
        """The account under which somebody publishes, and the ticket if it is a worker. Raise `Denied`."""
        if is_loopback(address):
            return self._on_loopback(wish)
        account = self.owner(wish.host)
        key = self.directory.push_keys.get(account)
        if why := objection(key, wish.stream, wish.arguments, at=self._clock() // 1000):
            raise Denied(why)
        return account, None

    def _on_loopback(self, wish: Wish) -> tuple[int, Ticket | None]:
        if TICKET not in wish.arguments:
            return self.owner(wish.host), None
        ticket = Ticket.read(self._secret, wish.arguments[TICKET], wish.app, wish.stream)
        if ticket is None:
            raise Denied("the ticket is not one of ours")
        return ticket.account_id, ticket


def is_loopback(address: str) -> bool:
    """Whether a peer's address is this machine's own."""
    found = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback
