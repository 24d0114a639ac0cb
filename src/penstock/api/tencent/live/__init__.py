"""Tencent ``live`` 2018-08-01: the actions about pull stream tasks."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET, UnsetType

from penstock import errors
from penstock.api.door import Caller, Change, Look
from penstock.api.schema import Answer, given
from penstock.api.tencent import codes
from penstock.api.tencent.live.schema import (
    CreateLivePullStreamTask,
    DeleteLivePullStreamTask,
    DescribeLivePullStreamTasks,
    DescribeLivePullStreamTaskStatus,
    ModifyLivePullStreamTask,
    PullStreamTaskInfo,
    RecentPullInfo,
    RestartLivePullStreamTask,
    StatusDescribed,
    TaskCreated,
    TasksDescribed,
    TaskStatusInfo,
    WatermarkInfo,
)
from penstock.api.tencent.wire import Service
from penstock.errors import Refused
from penstock.tasks import times
from penstock.tasks.families.pull import PullChange, PullSpec, RunStatus
from penstock.tasks.families.pull import Watermark as PullWatermark
from penstock.tasks.model import ServiceName, ServiceState, Task
from penstock.tasks.ports import Tx
from penstock.tasks.service import PullRows, PullTasks, PullView

#: Those on the international pages of these actions. The mainland's refer to the product's whole list, so the
#: vendor's other public regions are taken too.
REGIONS: Final = frozenset(
    {
        *("ap-bangkok", "ap-beijing", "ap-guangzhou", "ap-hongkong", "ap-mumbai", "ap-seoul", "ap-shanghai"),
        *("ap-singapore", "ap-tokyo", "eu-frankfurt", "na-ashburn", "na-siliconvalley"),
        *("ap-chengdu", "ap-chongqing", "ap-jakarta", "ap-nanjing", "eu-moscow", "na-toronto"),
    }
)

#: The one table from what the core refuses to the vendor's codes and its Chinese words.
REFUSALS: Final[Mapping[type[Refused], tuple[str, str]]] = {
    errors.InvalidSourceUrl: ("InvalidParameter.InvalidSourceUrl", "源地址非法"),
    errors.InvalidToUrl: ("InvalidParameter.InvalidToUrl", "目标地址非法"),
    errors.InvalidBackupToUrl: ("InvalidParameter.InvalidBackupToUrl", "备份目标地址非法"),
    errors.ToUrlForbidden: ("InvalidParameter.ToUrlNoPermission", "外部地址无权限"),
    errors.InvalidCallbackUrl: ("InvalidParameter.InvalidCallbackUrl", "回调地址非法"),
    errors.InvalidTaskTime: ("InvalidParameter.InvalidTaskTime", "任务时间超出限制"),
    errors.InvalidTaskId: ("InvalidParameter.InvalidTaskId", "TaskId 非法"),
    errors.InvalidField: ("InvalidParameterValue", "参数取值错误"),
    errors.Unsupported: ("UnsupportedOperation", "操作不支持"),
    errors.TaskNotFound: ("InvalidParameter.TaskNotExist", "任务不存在"),
    errors.TooManyTasks: ("InvalidParameter.TaskNumMoreThanLimit", "任务数超过限制"),
    errors.Conflict: ("FailedOperation.ConflictAction", "任务接口执行冲突"),
}

#: What a call is answered while the account's service is not active, in the words of the vendor's error lists.
STATES: Final[Mapping[ServiceState, tuple[str, str, str]]] = {
    ServiceState.INACTIVE: (
        "ResourceNotFound.UserNotExist",
        "The CSS service has not been activated.",
        "用户未注册直播。",
    ),
    ServiceState.ARREARS: (
        "ResourceNotFound.StopService",
        "Services for the account has been stopped. Please first top up to enable the service before reoperating.",
        "账号停服，请先冲正开通服务后再操作。",  # noqa: RUF001 - Chinese punctuation is meant
    ),
    ServiceState.FROZEN: ("ResourceNotFound.FreezeService", "User service is frozen.", "用户服务被冻结。"),
    ServiceState.BLOCKED: ("ResourceNotFound.ForbidService", "Disabled user.", "用户被禁用。"),
    ServiceState.DISABLED: (
        "ResourceNotFound.UserDisableService",
        "User proactively suspended the service.",
        "用户主动停服。",
    ),
}


class Live:
    """The actions, one function each."""

    def __init__(self, tasks: PullTasks) -> None:
        self._tasks = tasks

    async def create(self, caller: Caller, request: CreateLivePullStreamTask) -> TaskCreated:
        fields = given(request)
        operator = fields.pop("operator")
        specify_task_id = fields.pop("specify_task_id", "")
        fields["vod_loop_times"] = int(fields.get("vod_loop_times") or -1)
        task_id = await self._tasks.create(
            caller.account_id,
            PullSpec(**with_watermarks(fields)),
            operator=operator,
            region=caller.region,
            specify_task_id=specify_task_id,
        )
        return TaskCreated(task_id=task_id)

    async def modify(self, caller: Caller, request: ModifyLivePullStreamTask) -> Answer:
        fields = given(request)
        task_id = required_id(fields.pop("task_id", ""), fields.pop("specify_task_id", ""))
        operator = fields.pop("operator")
        change = PullChange(**with_watermarks(fields))
        await self._tasks.modify(caller.account_id, task_id, change, operator=operator)
        return Answer()

    async def delete(self, caller: Caller, request: DeleteLivePullStreamTask) -> Answer:
        task_id = required_id(request.task_id, request.specify_task_id)
        await self._tasks.delete(caller.account_id, task_id, operator=request.operator)
        return Answer()

    async def restart(self, caller: Caller, request: RestartLivePullStreamTask) -> Answer:
        task_id = required_id(request.task_id, request.specify_task_id)
        await self._tasks.restart(caller.account_id, task_id, operator=request.operator)
        return Answer()

    def page_rows(self, tx: Tx, caller: Caller, request: DescribeLivePullStreamTasks) -> PullRows:
        task_id = asked_id(request.task_id, request.specify_task_id)
        return self._tasks.page_rows(tx, caller.account, task_id=task_id, page=request.page_num, size=request.page_size)

    def described(self, request: DescribeLivePullStreamTasks, rows: PullRows) -> TasksDescribed:
        alone = bool(asked_id(request.task_id, request.specify_task_id))
        page = self._tasks.page(rows)
        return TasksDescribed(
            task_infos=tuple(task_info(view, alone=alone) for view in page.views),
            page_num=request.page_num,
            page_size=request.page_size,
            total_num=page.total,
            total_page=-(-page.total // request.page_size),
            limit_task_num=page.limit,
        )

    def row(self, tx: Tx, caller: Caller, request: DescribeLivePullStreamTaskStatus) -> Task:
        return self._tasks.row(tx, caller.account_id, required_id(request.task_id, request.specify_task_id))

    def status(self, _: DescribeLivePullStreamTaskStatus, row: Task) -> StatusDescribed:
        return StatusDescribed(task_status_info=status_info(self._tasks.view(row).run))


def live(tasks: PullTasks) -> Service:
    """All that is served of this API."""
    does = Live(tasks)
    return Service(
        name="live",
        version="2018-08-01",
        regions=REGIONS,
        actions={
            "CreateLivePullStreamTask": Change(CreateLivePullStreamTask, does.create, per_second=50),
            "ModifyLivePullStreamTask": Change(ModifyLivePullStreamTask, does.modify, per_second=20),
            "DeleteLivePullStreamTask": Change(DeleteLivePullStreamTask, does.delete, per_second=20),
            "RestartLivePullStreamTask": Change(RestartLivePullStreamTask, does.restart, per_second=20),
            "DescribeLivePullStreamTasks": Look(
                DescribeLivePullStreamTasks, does.page_rows, does.described, per_second=30
            ),
            "DescribeLivePullStreamTaskStatus": Look(
                DescribeLivePullStreamTaskStatus, does.row, does.status, per_second=30
            ),
        },
        refusals=REFUSALS,
        belongs_to=ServiceName.LIVE,
        states=STATES,
    )


def asked_id(task_id: str | UnsetType, specify_task_id: str | UnsetType) -> str:
    """The id that a call names by either parameter; empty: none. Raise `InvalidTaskId` if they differ."""
    named = {name for name in (task_id, specify_task_id) if name}
    if len(named) > 1:
        raise errors.InvalidTaskId("TaskId and SpecifyTaskId name different tasks.")
    return next(iter(named), "") or ""


def required_id(task_id: str | UnsetType, specify_task_id: str | UnsetType) -> str:
    if not (asked := asked_id(task_id, specify_task_id)):
        raise codes.parameter_missing("TaskId")
    return asked


def with_watermarks(fields: dict[str, Any]) -> dict[str, Any]:
    """The same with the core's own watermarks."""
    if "watermark_list" not in fields:
        return fields
    marks = tuple(PullWatermark(**given(mark)) for mark in fields["watermark_list"])
    return {**fields, "watermark_list": marks}


def task_info(view: PullView, *, alone: bool) -> PullStreamTaskInfo:
    """`alone`: the caller asked for this task by its id."""
    task, spec = view.task, view.spec
    return PullStreamTaskInfo(
        task_id=task.id,
        source_type=spec.source_type,
        source_urls=spec.source_urls,
        domain_name=spec.domain_name,
        app_name=spec.app_name,
        stream_name=spec.stream_name,
        push_args=spec.push_args,
        start_time=spec.start_time,
        end_time=spec.end_time,
        region=task.region,
        vod_loop_times=spec.vod_loop_times,
        vod_refresh_type=spec.vod_refresh_type,
        create_time=utc(task.created_at),
        update_time=utc(task.updated_at),
        create_by=task.created_by,
        update_by=task.updated_by,
        callback_url=spec.callback_url,
        callback_events=spec.callback_events,
        error_info=view.run.error,
        status=task.desired.value,
        recent_pull_info=recent_pull_info(view.run) if alone else UNSET,
        comment=spec.comment,
        backup_source_type=spec.backup_source_type,
        backup_source_url=spec.backup_source_url,
        watermark_list=tuple(map(watermark_info, spec.watermark_list)),
        vod_local_mode=spec.vod_local_mode,
        record_template_id=spec.record_template_id,
        backup_to_url=spec.backup_to_url,
    )


def watermark_info(mark: PullWatermark) -> WatermarkInfo:
    return WatermarkInfo(
        picture_url=mark.picture_url,
        x_position=mark.x_position,
        y_position=mark.y_position,
        width=mark.width,
        height=mark.height,
        location=mark.location,
    )


def recent_pull_info(run: RunStatus) -> RecentPullInfo:
    return RecentPullInfo(
        file_url=run.file_url,
        offset_time=run.offset_s,
        report_time=utc(run.report_at),
        looped_times=run.looped,
    )


def status_info(run: RunStatus) -> TaskStatusInfo:
    if not run.active:
        return TaskStatusInfo()
    return TaskStatusInfo(
        file_url=run.file_url,
        looped_times=run.looped,
        offset_time=run.offset_s,
        report_time=utc(run.report_at),
        run_status="active",
        file_duration=run.duration_s,
        next_file_url=run.next_file_url,
    )


def utc(at: int | None) -> str:
    """Unix milliseconds as the vendor writes a time; empty: None."""
    return "" if at is None else times.text(at)
