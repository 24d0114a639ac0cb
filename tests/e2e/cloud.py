"""The official international SDK, as a user's own code drives it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from requests import RequestException
from tencentcloud.common import credential
from tencentcloud.common.common_client import CommonClient
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.live.v20180801 import live_client, models

from tests.patience import PATIENCE


@contextmanager
def whole() -> Iterator[None]:
    """Of an answer that breaks off the SDK says nothing of its own, as it does of a connection that cannot be made."""
    try:
        yield
    except RequestException as error:
        raise TencentCloudSDKException("ClientNetworkError", str(error)) from error


class Cloud:
    """An account's view of the live API; every call goes through the SDK, signed, over HTTP or HTTPS."""

    def __init__(self, url: str, secret_id: str, secret_key: str, *, ca: Path | None = None) -> None:
        """`ca`: whom to trust over HTTPS; None: the authorities that the SDK brings."""
        protocol, _, endpoint = url.partition("://")
        where = HttpProfile(
            endpoint=endpoint, protocol=protocol, reqTimeout=PATIENCE, certification=str(ca) if ca else None
        )
        keys = credential.Credential(secret_id, secret_key)
        profile = ClientProfile(httpProfile=where)
        self._client = live_client.LiveClient(keys, "ap-singapore", profile)
        #: For actions that the SDK has no classes for.
        self._plain = CommonClient("live", "2018-08-01", keys, "ap-singapore", profile)

    def call(self, action: str, **values: Any) -> Any:
        """Call an action; raises the SDK's own exception. Fields of the mainland alone go through the common client."""
        request = getattr(models, f"{action}Request")()
        if any(not hasattr(request, name) for name in values):
            answer = getattr(models, f"{action}Response")()
            answer._deserialize(self._plainly(action, values))
            return answer
        for name, value in values.items():
            setattr(request, name, value)
        with whole():
            return getattr(self._client, action)(request)

    def _plainly(self, action: str, values: dict[str, Any]) -> dict[str, Any]:
        """Call an action for which the SDK has no classes; the answer's Response."""
        with whole():
            response: dict[str, Any] = self._plain.call_json(action, values)["Response"]
        return response

    def create(self, source: str, destination: str, *, days: float = 1, **values: Any) -> str:
        """Create a pull task that runs from now on; return its TaskId."""
        asked = {
            "SourceType": "PullLivePushLive",
            "SourceUrls": [source],
            "DomainName": "",
            "AppName": "",
            "StreamName": "",
            "ToUrl": destination,
            "StartTime": utc(0),
            "EndTime": utc(days * 86400),
            "Operator": "test",
        }
        task_id: str = self.call("CreateLivePullStreamTask", **asked | values).TaskId
        return task_id

    def describe(self, task_id: str) -> Any:
        """The one task's TaskInfo; None if the API does not know it."""
        infos = self.call("DescribeLivePullStreamTasks", TaskId=task_id).TaskInfos
        return infos[0] if infos else None

    def run_status(self, task_id: str) -> str:
        """Whether the task delivers now: ``active`` or ``inactive``."""
        status: str = self.status(task_id)["RunStatus"]
        return status

    def status(self, task_id: str) -> dict[str, Any]:
        """The task's TaskStatusInfo."""
        status: dict[str, Any] = self._plainly("DescribeLivePullStreamTaskStatus", {"TaskId": task_id})[
            "TaskStatusInfo"
        ]
        return status

    def modify(self, task_id: str, **values: Any) -> None:
        """Change a task."""
        self.call("ModifyLivePullStreamTask", TaskId=task_id, Operator="test", **values)

    def delete(self, task_id: str) -> None:
        """Delete a task."""
        self.call("DeleteLivePullStreamTask", TaskId=task_id, Operator="test")


def utc(seconds: float) -> str:
    """The time in so many seconds, as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
