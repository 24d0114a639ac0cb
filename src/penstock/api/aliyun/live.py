"""Alibaba Cloud ``live`` 2016-11-01, the preload tasks."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import structlog
from msgspec import UNSET, Meta, UnsetType, field

from penstock import errors
from penstock.api.aliyun.wire import Service
from penstock.api.door import Caller, Change, Look
from penstock.api.schema import Answer, AnswerPart, Request
from penstock.errors import Refused
from penstock.log import mask_url
from penstock.tasks import times
from penstock.tasks.families.preload import Phase
from penstock.tasks.model import Area, ServiceName, ServiceState
from penstock.tasks.ports import Tx
from penstock.tasks.preloads import PreloadQuery, PreloadRows, PreloadTasks, PreloadView

log = structlog.get_logger()

#: The one table from what the core refuses to the vendor's codes.
REFUSALS: Final[Mapping[type[Refused], tuple[int, str]]] = {
    errors.DomainNotFound: (404, "InvalidDomain.NotFound"),
    errors.InvalidTaskTime: (400, "InvalidParameter"),
    errors.InvalidField: (400, "InvalidParameter"),
}

#: What a call is answered while the account's service is not active.
STATES: Final[Mapping[ServiceState, tuple[int, str, str]]] = {
    ServiceState.INACTIVE: (403, "OperationDenied", "Your account does not open Live service yet."),
    ServiceState.ARREARS: (400, "InsufficientBalance", "Your account does not have enough balance."),
    ServiceState.FROZEN: (403, "OperationDenied.Frozen", "Your Live service is suspended."),
    ServiceState.BLOCKED: (403, "OperationDenied.Blocked", "Your account is forbidden to use Live service."),
    ServiceState.DISABLED: (403, "OperationDenied.Disabled", "Your account has stopped Live service."),
}

#: What the vendor calls a URL or a task with which nothing is wrong, and one with which something is.
WELL, FAILED = "Successfully", "InternalError"


class SetLiveStreamPreloadTasks(Request, frozen=True, kw_only=True):
    domain_name: str
    #: Separated by commas.
    play_url: str
    area: Literal["domestic", "overseas", "global"] | UnsetType = UNSET
    preloaded_start_time: str | UnsetType = UNSET
    preloaded_end_time: str | UnsetType = UNSET
    #: There is one region.
    region_id: str | UnsetType = UNSET


class DescribeLiveStreamPreloadTasks(Request, frozen=True, kw_only=True):
    domain_name: str
    task_id: str | UnsetType = UNSET
    #: Separated by commas.
    play_url: str | UnsetType = UNSET
    status: Literal["complete", "pending", "preloading", "failed"] | UnsetType = UNSET
    start_time: str | UnsetType = UNSET
    end_time: str | UnsetType = UNSET
    page_size: Annotated[int, Meta(ge=1, le=100)] = 10
    page_num: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 1
    #: There is one region.
    region_id: str | UnsetType = UNSET


class PreloadTasksMessage(AnswerPart, kw_only=True):
    play_url: str
    #: Empty: there is no task.
    task_id: str
    description: str


class PreloadTasksMessages(AnswerPart, kw_only=True):
    preload_tasks_message: tuple[PreloadTasksMessage, ...]


class TasksSet(Answer, kw_only=True):
    #: ``Failed`` if any URL has failed.
    status: Literal["Success", "Failed"]
    total_url: int = field(name="TotalURL")
    success_url: int = field(name="SuccessURL")
    failed_url: int = field(name="FailedURL")
    preload_tasks_messages: PreloadTasksMessages


class PreloadTask(AnswerPart, kw_only=True):
    task_id: str
    domain_name: str
    play_url: str
    area: str
    create_time: str
    preloaded_start_time: str
    preloaded_end_time: str
    status: Literal["Success", "Failed"]
    description: str
    #: ``100%``: every edge node of the area is warm now.
    process: str


class PreloadTaskList(AnswerPart, kw_only=True):
    preload_task: tuple[PreloadTask, ...]


class TasksDescribed(Answer, kw_only=True):
    preload_tasks: PreloadTaskList
    page_num: int
    page_size: int
    total_num: int
    total_page: int


class Live:
    """The actions, one function each."""

    def __init__(self, tasks: PreloadTasks) -> None:
        self._tasks = tasks

    async def set(self, caller: Caller, request: SetLiveStreamPreloadTasks) -> TasksSet:
        results = await self._tasks.create(
            caller.account_id,
            request.domain_name,
            split(request.play_url),
            area=Area(request.area) if request.area else None,
            start=request.preloaded_start_time or "",
            end=request.preloaded_end_time or "",
        )
        refused = [result for result in results if result.error]
        for result in refused:
            log.info("preload.url_refused", url=mask_url(result.play_url), error=result.error)
        return TasksSet(
            status="Failed" if refused else "Success",
            total_url=len(results),
            success_url=len(results) - len(refused),
            failed_url=len(refused),
            preload_tasks_messages=PreloadTasksMessages(
                preload_tasks_message=tuple(
                    PreloadTasksMessage(
                        play_url=result.play_url,
                        task_id=result.task_id,
                        description=FAILED if result.error else WELL,
                    )
                    for result in results
                )
            ),
        )

    def rows(self, tx: Tx, caller: Caller, request: DescribeLiveStreamPreloadTasks) -> PreloadRows:
        return self._tasks.page_rows(tx, caller.account_id, self._query(request))

    def described(self, request: DescribeLiveStreamPreloadTasks, rows: PreloadRows) -> TasksDescribed:
        page = self._tasks.page(self._query(request), rows)
        return TasksDescribed(
            preload_tasks=PreloadTaskList(preload_task=tuple(map(preload_task, page.views))),
            page_num=request.page_num,
            page_size=request.page_size,
            total_num=page.total,
            total_page=-(-page.total // request.page_size),
        )

    def _query(self, request: DescribeLiveStreamPreloadTasks) -> PreloadQuery:
        return self._tasks.query(
            request.domain_name,
            task_id=request.task_id or "",
            play_urls=split(request.play_url) if request.play_url else (),
            phase=Phase(request.status) if request.status else None,
            start=request.start_time or "",
            end=request.end_time or "",
            page=request.page_num,
            size=request.page_size,
        )


def live(tasks: PreloadTasks) -> Service:
    """All that is served of this API."""
    does = Live(tasks)
    return Service(
        product="live",
        version="2016-11-01",
        actions={
            "SetLiveStreamPreloadTasks": Change(SetLiveStreamPreloadTasks, does.set, per_second=50),
            "DescribeLiveStreamPreloadTasks": Look(
                DescribeLiveStreamPreloadTasks, does.rows, does.described, per_second=10
            ),
        },
        refusals=REFUSALS,
        belongs_to=ServiceName.PRELOAD,
        states=STATES,
    )


def split(urls: str) -> list[str]:
    """URLs that are separated by commas, perhaps with spaces."""
    return [url.strip() for url in urls.split(",")]


def preload_task(view: PreloadView) -> PreloadTask:
    task, failed = view.task, view.warmth.phase is Phase.FAILED
    return PreloadTask(
        task_id=task.id,
        domain_name=task.domain,
        play_url=view.spec.play_url,
        area=view.spec.area,
        create_time=times.text(task.created_at),
        preloaded_start_time=times.text(task.start_at),
        preloaded_end_time="" if task.end_at is None else times.text(task.end_at),
        status="Failed" if failed else "Success",
        description=FAILED if failed else WELL,
        process=f"{view.warmth.process}%",
    )
