"""What callers may do with preload tasks: set them, and look.

Each call reads and writes in one transaction, with its events in the same; workers are hinted after it.
Whatever a caller may not do is a `penstock.errors.Refused`.
"""

import uuid
from collections.abc import Collection, Sequence

from penstock.errors import DomainNotFound, InvalidField, InvalidSourceUrl, InvalidTaskTime, TaskNotFound
from penstock.tasks import lifecycle, observation, times
from penstock.tasks.accounts import check_service
from penstock.tasks.edges import KnownEdges
from penstock.tasks.families import preload
from penstock.tasks.families.preload import Phase, PreloadSpec, Warmth
from penstock.tasks.model import Area, Domain, Event, ServiceName, Struct, Task
from penstock.tasks.ports import Clock, Edges, Hints, LiveStatus, Store, Tx

#: URLs in one call.
MAX_URLS = 100
#: How far back tasks can be looked for, and over how long at once, in ms.
LOOK_BACK = 3 * times.DAY
#: Who is named by the events of calls, which name nobody.
CALLER = "api"


class PreloadResult(Struct):
    """What has become of one URL of a call."""

    play_url: str
    #: Empty: there is no task.
    task_id: str
    #: Why there is none.
    error: str


class PreloadQuery(Struct):
    """Which tasks are looked for. Empty: whichever."""

    domain: str
    task_id: str
    play_urls: Collection[str]
    phase: Phase | None
    #: When they were made, in Unix ms, both included.
    since: int
    until: int
    #: The first is 1.
    page: int
    size: int


class PreloadRows(Struct):
    """Tasks as they are stored, and how many there are in all; None: these are all, and not sifted yet."""

    tasks: Sequence[Task]
    total: int | None


class PreloadView(Struct):
    """A task, what was asked of it, and what is going on."""

    task: Task
    spec: PreloadSpec
    warmth: Warmth


class PreloadPage(Struct):
    """Some of a domain's tasks, newest first, and how many there are in all."""

    views: Sequence[PreloadView]
    total: int


class PreloadTasks:
    """The family ``preload`` as its API sees it."""

    def __init__(
        self, store: Store, *, clock: Clock, hints: Hints, live: LiveStatus, edges: Edges, hls: bool = True
    ) -> None:
        """`hls`: playlists may be preloaded too."""
        self._store = store
        self._clock = clock
        self._hints = hints
        self._live = live
        self._edges = edges
        self._hls = hls

    async def create(
        self,
        account_id: int,
        domain_name: str,
        play_urls: Sequence[str],
        *,
        area: Area | None = None,
        start: str = "",
        end: str = "",
    ) -> Sequence[PreloadResult]:
        """Make a task for each URL, each on its own: what is wrong with one stops no other.

        `area` None: the domain's own. `start` and `end` as `preload.span` takes them. Raise `DomainNotFound`,
        `InvalidField` for too many URLs, and what `preload.span` raises.
        """
        if len(play_urls) > MAX_URLS:
            raise InvalidField("PlayUrl", f"PlayUrl names more than {MAX_URLS} URLs.")
        now = self._clock()
        start_at, end_at = preload.span(start, end, now=now)

        def work(tx: Tx) -> Sequence[PreloadResult]:
            check_service(tx, account_id, ServiceName.PRELOAD)
            domain = _domain(tx, account_id, domain_name)
            where = area or domain.area
            edges = self._edges.of_area(where)
            results: list[PreloadResult] = []
            for url in play_urls:
                try:
                    if any(result.play_url == url for result in results):
                        raise InvalidSourceUrl("PlayUrl: it is named twice.")
                    preload.check(url, domain.name, edges, hls=self._hls)
                except InvalidSourceUrl as error:
                    results.append(PreloadResult(play_url=url, task_id="", error=error.message))
                    continue
                task = tx.insert_task(
                    account_id=account_id,
                    family=preload.FAMILY,
                    id=str(uuid.uuid4()),
                    spec=preload.encode(PreloadSpec(play_url=url, area=where)),
                    state=lifecycle.INITIAL,
                    start_at=start_at,
                    end_at=end_at,
                    region="",
                    at=now,
                    by=CALLER,
                    domain=domain.name,
                    affinity=preload.affinity(url),
                )
                text = f"created, to be warm from {times.text(start_at)} to {times.text(end_at)} in {where}"
                tx.add_event(task.key, at=now, name=lifecycle.CREATED, text=text, by=CALLER)
                results.append(PreloadResult(play_url=url, task_id=task.id, error=""))
            return results

        results = await self._store.write(work)
        self._hints.tasks_changed()
        return results

    def query(
        self,
        domain: str,
        *,
        task_id: str = "",
        play_urls: Collection[str] = (),
        phase: Phase | None = None,
        start: str = "",
        end: str = "",
        page: int = 1,
        size: int = 10,
    ) -> PreloadQuery:
        """What is looked for; `start` and `end` in UTC, empty: as far back as can be, and until now.

        Raise `InvalidField` for too many URLs, `InvalidTaskTime`.
        """
        if len(play_urls) > MAX_URLS:
            raise InvalidField("PlayUrl", f"PlayUrl names more than {MAX_URLS} URLs.")
        now = self._clock()
        since, until = _time("StartTime", start, now - LOOK_BACK), _time("EndTime", end, now)
        if start and since < now - LOOK_BACK:
            raise InvalidTaskTime("StartTime must lie within the last 3 days.")
        if until < since or until - since > LOOK_BACK:
            raise InvalidTaskTime("EndTime must be later than StartTime, by no more than 3 days.")
        return PreloadQuery(
            domain=domain,
            task_id=task_id,
            play_urls=frozenset(play_urls),
            phase=phase,
            since=since,
            until=until,
            page=page,
            size=size,
        )

    # In two steps, for who has a transaction: what is stored, then what is going on now.

    def page_rows(self, tx: Tx, account_id: int, query: PreloadQuery) -> PreloadRows:
        """What `page` needs of the store. Raise `DomainNotFound`."""
        domain = _domain(tx, account_id, query.domain).name
        if query.task_id:
            task = tx.task(account_id, preload.FAMILY, query.task_id)
            found = task and task.domain == domain and query.since <= task.created_at <= query.until
            return PreloadRows(tasks=(task,) if task and found else (), total=None)
        made = {"since": query.since, "until": query.until}
        if query.phase or query.play_urls:
            return PreloadRows(tasks=tx.tasks_of_domain(account_id, preload.FAMILY, domain, **made), total=None)
        offset = (query.page - 1) * query.size
        return PreloadRows(
            tasks=tx.tasks_of_domain(account_id, preload.FAMILY, domain, **made, offset=offset, limit=query.size),
            total=tx.count_tasks_of_domain(account_id, preload.FAMILY, domain, **made),
        )

    def page(self, query: PreloadQuery, rows: PreloadRows) -> PreloadPage:
        """These tasks as they are now."""
        now = self._clock()
        views = [_view(task, self._live, now, self._edges) for task in rows.tasks]
        if rows.total is not None:
            return PreloadPage(views=views, total=rows.total)
        sifted = [
            view
            for view in views
            if (not query.play_urls or view.spec.play_url in query.play_urls)
            and (query.phase is None or view.warmth.phase is query.phase)
        ]
        offset = (query.page - 1) * query.size
        return PreloadPage(views=sifted[offset : offset + query.size], total=len(sifted))


async def list_preloads(store: Store, live: LiveStatus, now: int, *, account_id: int) -> Sequence[PreloadView]:
    """The preload tasks of an account, those made last first."""

    def work(tx: Tx) -> tuple[Sequence[Task], Edges]:
        return tx.tasks(account_id, preload.FAMILY), KnownEdges(tx.edges())

    tasks, edges = await store.read(work)
    return [_view(task, live, now, edges) for task in tasks]


async def show_preload(
    store: Store, live: LiveStatus, now: int, *, account_id: int, task_id: str, events: int = 100
) -> tuple[PreloadView, Sequence[Event]]:
    """One preload task and its newest `events`, oldest of them first. Raise `TaskNotFound`."""

    def work(tx: Tx) -> tuple[Task, Sequence[Event], Edges]:
        task = tx.task(account_id, preload.FAMILY, task_id)
        if task is None:
            raise TaskNotFound
        return task, tx.last_events(task.key, events), KnownEdges(tx.edges())

    task, history, edges = await store.read(work)
    return _view(task, live, now, edges), history


def _view(task: Task, live: LiveStatus, now: int, edges: Edges) -> PreloadView:
    """The task as it is at `now`."""
    spec = preload.decode(task.spec)
    observed = observation.newest(live.observed(task.key), task.observed)
    waiting = "" if task.owner else live.waiting(preload.cost(spec, edges.of_area(spec.area)))
    return PreloadView(task=task, spec=spec, warmth=preload.warmth(task, observed, now, waiting=waiting))


def _domain(tx: Tx, account_id: int, name: str) -> Domain:
    """The account's domain of this name. Raise `DomainNotFound`."""
    domain = tx.domain(name.lower().removesuffix(".")) if "\0" not in name else None
    if domain is None or domain.account_id != account_id:
        raise DomainNotFound("The domain provided does not belong to you.")
    return domain


def _time(field: str, text: str, absent: int) -> int:
    if not text:
        return absent
    try:
        return times.parse_utc(text)
    except ValueError as error:
        raise InvalidTaskTime(f"{field}: {error}.") from None
