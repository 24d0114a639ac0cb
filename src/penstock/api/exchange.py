"""What becomes of a call that fails, whichever vendor's it is: each failure is told once, and none without a reply."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import structlog

from penstock.api.http import BodyLost, Reply
from penstock.errors import StoreError

#: A vendor's own error.
E = TypeVar("E", bound=Exception)
E_contra = TypeVar("E_contra", bound=Exception, contravariant=True)

log = structlog.get_logger()


class Exchange(Protocol[E_contra]):
    """What is known of a call so far."""

    request_id: str
    action: str

    def failure(self, error: E_contra) -> Reply:
        """Say no in the vendor's words."""
        ...


async def replied(
    exchange: Exchange[E],
    client: str,
    work: Awaitable[Reply],
    *,
    refused: type[E],
    unavailable: Callable[[], E],
    internal_error: Callable[[], E],
) -> Reply:
    """Return the reply of `work`, or the one that its failure deserves. Raise `BodyLost`, and nothing else.

    `refused` is how `work` says no; the other two make what is said when the store cannot answer, and when we failed.
    """
    try:
        return await work
    except refused as error:
        return exchange.failure(error)
    except BodyLost:
        log.info("api.body_lost", request_id=exchange.request_id, action=exchange.action, client=client)
        raise
    except StoreError as error:
        log.warning("api.store_failed", request_id=exchange.request_id, error=error.message)
        return exchange.failure(unavailable())
    except Exception:
        log.exception("api.failed", request_id=exchange.request_id, action=exchange.action)
        return exchange.failure(internal_error())
