"""What the actions of `live` 2018-08-01 are asked and answer: the union of mainland and international fields."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from penstock.api.schema import Answer, AnswerPart, Part, Request

SourceType = Literal["PullLivePushLive", "PullVodPushLive", "PullPicPushLive"]
BackupSourceType = Literal["PullLivePushLive", "PullVodPushLive", ""]
VodRefreshType = Literal["ImmediateNewSource", "ContinueBreakPoint", ""]
CallbackEvent = Literal[
    "TaskStart", "TaskExit", "VodSourceFileStart", "VodSourceFileFinish", "ResetTaskConfig", "TaskAlarm"
]
SourceUrls = Annotated[tuple[str, ...], Meta(min_length=1, max_length=30)]
#: -1: without end.
LoopTimes = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
LoopTimesText = Annotated[str, Meta(pattern=r"^(-1|[0-9]{1,9})?\Z")]
Percent = Annotated[int, Meta(ge=0, le=100)]
LocalMode = Literal[0, 1]
FileIndex = Annotated[int, Meta(ge=1, le=30)]
Seconds = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class Watermark(Part, frozen=True, kw_only=True):
    """``PullPushWatermarkInfo`` in a request."""

    picture_url: Annotated[str, Meta(pattern=r"""^[^;(){}$>`#"'|]*\Z""")]
    x_position: Percent = 0
    y_position: Percent = 0
    width: Percent = 0
    height: Percent = 0
    #: 0 top left, 1 top right, 2 bottom right, 3 bottom left.
    location: Annotated[int, Meta(ge=0, le=3)] = 0


Watermarks = Annotated[tuple[Watermark, ...], Meta(max_length=4)]


class CreateLivePullStreamTask(Request, frozen=True, kw_only=True):
    source_type: SourceType
    source_urls: SourceUrls
    domain_name: str
    app_name: str
    stream_name: str
    start_time: str
    end_time: str
    operator: str
    push_args: str | UnsetType = UNSET
    callback_events: tuple[CallbackEvent, ...] | UnsetType = UNSET
    #: A text here, a number in Modify and in answers.
    vod_loop_times: LoopTimesText | UnsetType = UNSET
    vod_refresh_type: VodRefreshType | UnsetType = UNSET
    callback_url: str | UnsetType = UNSET
    extra_cmd: str | UnsetType = UNSET
    specify_task_id: str | UnsetType = UNSET
    comment: str | UnsetType = UNSET
    to_url: str | UnsetType = UNSET
    file_index: FileIndex | UnsetType = UNSET
    offset_time: Seconds | UnsetType = UNSET
    backup_source_type: BackupSourceType | UnsetType = UNSET
    backup_source_url: str | UnsetType = UNSET
    watermark_list: Watermarks | UnsetType = UNSET
    vod_local_mode: LocalMode | UnsetType = UNSET
    record_template_id: str | UnsetType = UNSET
    backup_to_url: str | UnsetType = UNSET
    transcode_template_name: str | UnsetType = UNSET


class ModifyLivePullStreamTask(Request, frozen=True, kw_only=True):
    task_id: str | UnsetType = UNSET
    operator: str
    source_urls: SourceUrls | UnsetType = UNSET
    start_time: str | UnsetType = UNSET
    end_time: str | UnsetType = UNSET
    vod_loop_times: LoopTimes | UnsetType = UNSET
    vod_refresh_type: VodRefreshType | UnsetType = UNSET
    status: Literal["enable", "pause"] | UnsetType = UNSET
    callback_events: tuple[CallbackEvent, ...] | UnsetType = UNSET
    callback_url: str | UnsetType = UNSET
    file_index: FileIndex | UnsetType = UNSET
    offset_time: Seconds | UnsetType = UNSET
    specify_task_id: str | UnsetType = UNSET
    to_url: str | UnsetType = UNSET
    comment: str | UnsetType = UNSET
    backup_source_type: BackupSourceType | UnsetType = UNSET
    backup_source_url: str | UnsetType = UNSET
    watermark_list: Watermarks | UnsetType = UNSET
    vod_local_mode: LocalMode | UnsetType = UNSET
    backup_to_url: str | UnsetType = UNSET
    backup_vod_url: str | UnsetType = UNSET


class DeleteLivePullStreamTask(Request, frozen=True, kw_only=True):
    task_id: str | UnsetType = UNSET
    operator: str
    specify_task_id: str | UnsetType = UNSET


class RestartLivePullStreamTask(Request, frozen=True, kw_only=True):
    task_id: str | UnsetType = UNSET
    operator: str
    #: Not in the vendor's SDKs; accepted so that whoever chose the id may use it everywhere.
    specify_task_id: str | UnsetType = UNSET


class DescribeLivePullStreamTasks(Request, frozen=True, kw_only=True):
    task_id: str | UnsetType = UNSET
    page_num: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 1
    page_size: Annotated[int, Meta(ge=1, le=20)] = 10
    specify_task_id: str | UnsetType = UNSET


class DescribeLivePullStreamTaskStatus(Request, frozen=True, kw_only=True):
    task_id: str | UnsetType = UNSET
    #: Not in the vendor's SDKs; accepted so that whoever chose the id may use it everywhere.
    specify_task_id: str | UnsetType = UNSET


class TaskCreated(Answer, kw_only=True):
    task_id: str


class WatermarkInfo(AnswerPart, kw_only=True):
    picture_url: str
    x_position: int
    y_position: int
    width: int
    height: int
    location: int


class RecentPullInfo(AnswerPart, kw_only=True):
    """What is pulled now; empty texts: nothing is."""

    file_url: str
    #: Whole seconds of media delivered in this run.
    offset_time: int
    report_time: str
    looped_times: int


class PullStreamTaskInfo(AnswerPart, kw_only=True):
    task_id: str
    source_type: str
    source_urls: tuple[str, ...]
    domain_name: str
    app_name: str
    stream_name: str
    push_args: str
    #: Both as the caller gave them.
    start_time: str
    end_time: str
    region: str
    vod_loop_times: int
    vod_refresh_type: str
    create_time: str
    update_time: str
    create_by: str
    update_by: str
    callback_url: str
    callback_events: tuple[str, ...]
    error_info: str
    status: str
    recent_pull_info: RecentPullInfo | UnsetType
    comment: str
    backup_source_type: str
    backup_source_url: str
    watermark_list: tuple[WatermarkInfo, ...]
    vod_local_mode: int
    record_template_id: str
    backup_to_url: str


class TasksDescribed(Answer, kw_only=True):
    task_infos: tuple[PullStreamTaskInfo, ...]
    page_num: int
    page_size: int
    total_num: int
    total_page: int
    limit_task_num: int


class TaskStatusInfo(AnswerPart, kw_only=True):
    """As the vendor's sample has it, a task that is not active answers -1 loops and empty texts."""

    file_url: str = ""
    looped_times: int = -1
    offset_time: int = 0
    report_time: str = ""
    run_status: str = "inactive"
    #: Whole seconds; 0: not known. A live source has neither.
    file_duration: int = 0
    next_file_url: str = ""


class StatusDescribed(Answer, kw_only=True):
    task_status_info: TaskStatusInfo
