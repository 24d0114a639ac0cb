"""The vendor's common error codes, in its words: English as its SDKs print them, Chinese as its pages do.

Codes that belong to one service stand in that service's module.
"""

# ruff: noqa: RUF001 (Chinese punctuation is meant)

from typing import Final

from penstock.api.schema import shown

CHINESE: Final = "zh-CN"


class ApiError(Exception):
    """A refusal as the caller sees it: a code, and a message in the caller's language."""

    def __init__(self, code: str, english: str, chinese: str) -> None:
        super().__init__(f"{code}: {english}")
        self.code = code
        self.english = english
        self.chinese = chinese

    def message(self, language: str) -> str:
        return self.chinese if language == CHINESE else self.english


# The request as a whole


def action_not_found(action: str, service: str, version: str) -> ApiError:
    action, version = shown(action), shown(version)
    return ApiError(
        "InvalidAction",
        f"The request action=`{action}` is invalid or not found in service=`{service}` and version=`{version}`.",
        f"接口不存在：在产品 `{service}` 的版本 `{version}` 中找不到接口 `{action}`。",
    )


def version_not_found(version: str) -> ApiError:
    return ApiError(
        "NoSuchVersion",
        f"The specified api version=`{shown(version)}` does not exist.",
        f"接口版本 `{shown(version)}` 不存在。",
    )


def region_unsupported() -> ApiError:
    return ApiError("UnsupportedRegion", "The action not support this region.", "接口不支持所传地域。")


def protocol_unsupported(what: str) -> ApiError:
    """`what` is the method or the content type that was sent."""
    return ApiError(
        "UnsupportedProtocol",
        f"HTTP(S) protocol error; `{shown(what)}` is not supported.",
        f"http(s) 请求协议错误，不支持 `{shown(what)}`。",
    )


def too_large(limit: int) -> ApiError:
    return ApiError(
        "RequestSizeLimitExceeded",
        f"The size of the request exceeds the upper limit of {limit} bytes.",
        f"请求包超过限制大小（{limit} 字节）。",
    )


def called_too_often(calls: int, limit: int) -> ApiError:
    """`calls` came within one second, of at most `limit`."""
    return ApiError(
        "RequestLimitExceeded",
        f"Your current request times equals to `{calls}` in a second, which exceeds the frequency limit `{limit}`"
        " for a second. Please reduce the frequency of calls.",
        f"您当前每秒请求 `{calls}` 次，超过了每秒频率上限 `{limit}` 次，请稍后重试。",
    )


def too_many_waiting() -> ApiError:
    return ApiError(
        "RequestLimitExceeded",
        "Too many of your requests are waiting to be served. Please reduce the frequency of calls.",
        "请求的次数超过了频率限制：等待处理的请求过多，请稍后重试。",
    )


def internal_error() -> ApiError:
    return ApiError("InternalError", "An internal error has occurred.", "内部错误。")


def unavailable() -> ApiError:
    return ApiError(
        "InternalError", "The service is temporarily unavailable. Please retry.", "当前服务暂时不可用，请稍后重试。"
    )


# Who calls


def authorization_invalid(why: str) -> ApiError:
    """`why` ends the English sentence."""
    return ApiError(
        "AuthFailure.InvalidAuthorization",
        f"Authorization in the request header is invalid: {why}.",
        "请求头部的 Authorization 不符合腾讯云标准。",
    )


def secret_id_not_found() -> ApiError:
    return ApiError(
        "AuthFailure.SecretIdNotFound",
        "The SecretId is not found, please ensure that your SecretId is correct.",
        "SecretId不存在，请输入正确的密钥。",
    )


def signature_expired() -> ApiError:
    return ApiError(
        "AuthFailure.SignatureExpire",
        "Signature expired. Timestamp and server time cannot differ by more than five minutes."
        " Please ensure your current local time matches the standard time.",
        "签名过期。Timestamp 和服务器时间相差不得超过五分钟，请检查本地时间是否和标准时间同步。",
    )


def signature_wrong() -> ApiError:
    return ApiError(
        "AuthFailure.SignatureFailure",
        "The provided credentials could not be validated. Please check your signature is correct.",
        "请求签名验证失败，请检查您的签名计算是否正确。",
    )


def token_unsupported() -> ApiError:
    return ApiError("AuthFailure.TokenFailure", "Token error: temporary credentials are not supported.", "token 错误。")


# Its parameters


def parameter_missing(name: str) -> ApiError:
    return ApiError(
        "MissingParameter",
        f"The request is missing a required parameter `{name}`.",
        f"缺少参数错误：缺少必填参数 `{name}`。",
    )


def parameter_unknown(name: str) -> ApiError:
    name = shown(name)
    return ApiError(
        "UnknownParameter",
        f"The parameter `{name}` is not recognized.",
        f"未知参数错误：无法识别参数 `{name}`。",
    )


def parameter_type(name: str) -> ApiError:
    name = shown(name)
    return ApiError(
        "InvalidParameter",
        f"The value type of parameter `{name}` is not valid.",
        f"参数 `{name}` 取值类型错误。",
    )


def parameter_value(name: str, value: object) -> ApiError:
    value = shown(value)
    return ApiError(
        "InvalidParameterValue",
        f"The value `{value}` specified in the parameter `{name}` is not valid.",
        f"参数 `{name}` 的取值 `{value}` 错误。",
    )


def body_invalid(why: str) -> ApiError:
    """`why` ends the English sentence."""
    return ApiError(
        "InvalidParameter",
        f"The request body is not valid: {why}.",
        "参数错误：请求体格式不正确。",
    )


def query_invalid() -> ApiError:
    return ApiError(
        "InvalidParameter", "Url key and value should be splited by `=`.", "参数错误：键和值应以 `=` 分隔。"
    )
