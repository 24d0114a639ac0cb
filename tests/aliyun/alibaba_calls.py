"""Runs in the environment of Alibaba Cloud's clients: makes the calls that stdin lists, prints what each gave.

A call names its client: ``live`` is ``alibabacloud_live20161101`` with signature v3, ``live-v1`` the same with the old
signature, ``core`` is ``aliyun-python-sdk-core``, which signs by v1 and reads no answer itself.
"""

import json
import sys
from typing import Any

from alibabacloud_live20161101 import models
from alibabacloud_live20161101.client import Client
from alibabacloud_tea_openapi.models import Config
from aliyunsdkcore.acs_exception.exceptions import ServerException
from aliyunsdkcore.client import AcsClient
from aliyunsdkcore.request import RpcRequest
from darabonba.exceptions import DaraException

METHODS = {
    "SetLiveStreamPreloadTasks": "set_live_stream_preload_tasks",
    "DescribeLiveStreamPreloadTasks": "describe_live_stream_preload_tasks",
}


def main() -> None:
    job = json.load(sys.stdin)
    json.dump([call(job, **wish) for wish in job["calls"]], sys.stdout)


def call(job: dict[str, Any], client: str, action: str, parameters: dict[str, str], **options: str) -> Any:
    """The answer as the client read it, or the error."""
    return (core if client == "core" else live)(job, client, action, parameters, **options)


def live(job: dict[str, Any], client: str, action: str, parameters: dict[str, str]) -> Any:
    config = Config(
        access_key_id=job["secret_id"],
        access_key_secret=job["secret_key"],
        security_token=job.get("token"),
        endpoint=job["endpoint"],
        protocol="http",
        signature_algorithm="v2" if client == "live-v1" else None,
    )
    request = getattr(models, f"{action}Request")().from_map(parameters)
    try:
        answer = getattr(Client(config), METHODS[action])(request)
    except DaraException as error:
        return {"Code": error.code, "Message": error.message, "Data": error.data}
    return {"status": answer.status_code, **answer.body.to_map()}


def core(job: dict[str, Any], _client: str, action: str, parameters: dict[str, str], *, method: str, form: str) -> Any:
    request = RpcRequest("live", "2016-11-01", action)  # what every package of this client is made of
    request.set_endpoint(job["endpoint"])
    request.set_protocol_type("http")
    request.set_method(method)
    for name, value in parameters.items():
        (request.add_body_params if method == "POST" else request.add_query_param)(name, value)
    client = AcsClient(job["secret_id"], job["secret_key"], "cn-shanghai", auto_retry=False)
    try:
        if form == "JSON":
            return json.loads(client.do_action_with_exception(request))
        request.set_accept_format(form)
        status, _, body = client.get_response(request)
    except ServerException as error:
        return {"Code": error.error_code, "Message": error.message, "status": error.http_status}
    return {"status": status, "text": body.decode()}


main()
