"""The hub's streams in an operator's words: whose they are, who publishes and who plays them."""

from collections.abc import Sequence

from penstock.errors import Conflict, StreamNotFound
from penstock.tasks.accounts import find_account
from penstock.tasks.model import StreamInfo, Struct
from penstock.tasks.ports import LiveHub, Store, Tx


class StreamView(Struct):
    """A live stream, and what the store knows of it."""

    #: The account's name; None: it began before there was an account.
    account: str | None
    #: The TaskId of the task that publishes it; None: an encoder does.
    task_id: str | None
    info: StreamInfo

    @property
    def name(self) -> str:
        """``APP/STREAM``, as clients name it."""
        return f"{self.info.app}/{self.info.stream}"


async def list_streams(store: Store, live: LiveHub, account: str | None = None) -> Sequence[StreamView]:
    """The streams that the hub carries now, of the account of this name or of all. Raise `Conflict` if no hub runs."""
    hub = live.hub()
    if hub is None:
        raise Conflict("No hub runs on this DATA.")

    def work(tx: Tx) -> Sequence[StreamView]:
        wanted = None if account is None else find_account(tx, account).id
        return [_view(tx, info) for info in hub.streams if wanted in (None, info.account_id)]

    return await store.read(work)


async def show_stream(store: Store, live: LiveHub, name: str, account: str | None = None) -> StreamView:
    """The stream of this name (``APP/STREAM``). Raise `StreamNotFound`, or `Conflict` if several accounts have one."""
    found = [view for view in await list_streams(store, live, account) if view.name == name.strip("/")]
    if not found:
        raise StreamNotFound(f"Nobody publishes a stream {name!r}.")
    if len(found) > 1:
        names = ", ".join(str(view.account) for view in found)
        raise Conflict(f"Several accounts have such a stream ({names}); say which with --account.")
    return found[0]


def _view(tx: Tx, info: StreamInfo) -> StreamView:
    account = tx.account(info.account_id)
    task = None if info.task_key is None else tx.task_by_key(info.task_key)
    return StreamView(account=account.name if account else None, task_id=task.id if task else None, info=info)
