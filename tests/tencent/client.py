"""The vendor's own client, as a user has it."""

import json
from typing import Any

import pytest
from tencentcloud.common import credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.live.v20180801.live_client import LiveClient

from penstock.tasks.accounts import NewAccount
from tests.endpoint import Endpoint


class Client:
    """The international SDK as a user has it, but for its endpoint."""

    def __init__(
        self,
        endpoint: Endpoint,
        account: NewAccount,
        *,
        secret_key: str | None = None,
        token: str | None = None,
        region: str = "ap-singapore",
        method: str = "POST",
        sign_method: str = "TC3-HMAC-SHA256",
        language: str = "en-US",
        unsigned_payload: bool = False,
    ) -> None:
        http = HttpProfile(endpoint=endpoint.host, protocol="http", reqMethod=method)
        profile = ClientProfile(httpProfile=http, signMethod=sign_method, language=language)
        profile.unsignedPayload = unsigned_payload
        key = credential.Credential(account.secret_id, secret_key or account.secret_key, token)
        self.sdk = LiveClient(key, region, profile)

    def call(self, action: str, **parameters: Any) -> dict[str, Any]:
        """The ``Response`` of a call."""
        answer = self.sdk.call_json(action, parameters)
        response: dict[str, Any] = answer["Response"]
        return response

    def call_multipart(self, action: str, **parameters: Any) -> dict[str, Any]:
        """The same with the parameters as fields of a multipart body: texts, lists and objects."""
        answer = json.loads(self.sdk.call(action, parameters, options={"IsMultipart": True}))
        response: dict[str, Any] = answer["Response"]
        return response

    def refused(self, action: str, **parameters: Any) -> tuple[str, str]:
        """Code and message of a call that must fail."""
        with pytest.raises(TencentCloudSDKException) as error:
            self.call(action, **parameters)
        assert len(error.value.get_request_id()) == 36
        return error.value.get_code(), error.value.get_message()
