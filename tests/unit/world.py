"""All that the service is handed, for tests: real store, clock and policy at hand."""

from typing import Any

from penstock.errors import (
    AddressRefused,
)
from penstock.store.sql import SqlStore
from penstock.tasks.families.pull import PullChange
from penstock.tasks.model import Observed
from penstock.tasks.service import PullTasks
from tests.unit.making import (
    NOW,
    make_spec,
)


class World:
    """All that the service is handed: a clock, hints, live statuses and a network policy, with a store."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.now = NOW
        self.hints = 0
        self.live: dict[int, Observed] = {}
        #: Every address that was asked about.
        self.asked: list[tuple[str, int | None]] = []
        self.tasks = PullTasks(store, clock=lambda: self.now, hints=self, live=self, addresses=self)

    def tasks_changed(self) -> None:
        self.hints += 1

    def observed(self, key: int) -> Observed | None:
        return self.live.get(key)

    def waiting(self, cost: int = 1) -> str:
        return ""

    def is_hub(self, host: str, port: int | None, scheme: str = "rtmp") -> bool:
        return host in ("hub.example", "localhost") and scheme in ("rtmp", "http")

    async def check(self, host: str, port: int | None) -> None:
        self.asked.append((host, port))
        if host.startswith("10."):
            raise AddressRefused(f"{host} is refused by network.allow")

    async def create(self, account: int, specify_task_id: str = "", **fields: Any) -> str:
        return await self.tasks.create(
            account, make_spec(**fields), operator="ann", region="ap-tokyo", specify_task_id=specify_task_id
        )

    async def modify(self, account: int, task_id: str, **fields: Any) -> None:
        await self.tasks.modify(account, task_id, PullChange(**fields), operator="bob")
