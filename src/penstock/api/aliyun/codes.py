"""The vendor's common error codes, in its words. Codes that belong to one service stand in that service's module."""

from penstock.api.schema import shown


class ApiError(Exception):
    """A refusal as the caller sees it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """`status`: of HTTP."""
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message


# The request as a whole


def method_unsupported() -> ApiError:
    return ApiError(400, "UnsupportedHTTPMethod", "This http method is not supported.")


def format_invalid() -> ApiError:
    return ApiError(400, "InvalidParameter.Format", "Specified parameter format is not valid.")


def version_invalid() -> ApiError:
    return ApiError(400, "InvalidVersion", "Specified parameter Version is not valid.")


def action_not_found() -> ApiError:
    return ApiError(404, "InvalidAction.NotFound", "Specified api is not found, please check your url and method.")


def too_large(limit: int) -> ApiError:
    return ApiError(413, "RequestTooLarge", f"The request is longer than {limit} bytes.")


def called_too_often() -> ApiError:
    return ApiError(400, "Throttling.User", "Request was denied due to user flow control.")


def internal_error() -> ApiError:
    return ApiError(500, "InternalError", "The request processing has failed due to some unknown error.")


def unavailable() -> ApiError:
    return ApiError(503, "ServiceUnavailable", "The request has failed due to a temporary failure of the server.")


# Who calls


def key_not_found() -> ApiError:
    return ApiError(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")


def key_inactive() -> ApiError:
    return ApiError(400, "InvalidAccessKeyId.Inactive", "Specified access key is disabled.")


def token_unsupported() -> ApiError:
    return ApiError(
        400,
        "InvalidSecurityToken.Malformed",
        "Specified SecurityToken is malformed: temporary credentials are not supported.",
    )


def signature_method_invalid() -> ApiError:
    return ApiError(400, "InvalidSignatureMethod", "Specified signature method is not valid.")


def signature_incomplete(why: str) -> ApiError:
    """`why` ends the sentence."""
    return ApiError(400, "IncompleteSignature", f"The request signature does not conform to Aliyun standards, {why}.")


def signature_wrong(string_to_sign: str) -> ApiError:
    """The classic clients compare what follows the colon with what they signed, and blame the secret if it fits."""
    return ApiError(
        400,
        "SignatureDoesNotMatch",
        f"Specified signature is not matched with our calculation. server string to sign is:{string_to_sign}",
    )


def nonce_used() -> ApiError:
    return ApiError(400, "SignatureNonceUsed", "Specified signature nonce was used already.")


def time_malformed() -> ApiError:
    return ApiError(400, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted.")


def time_expired() -> ApiError:
    return ApiError(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")


# Its parameters


def common_missing(name: str) -> ApiError:
    """A parameter that every call needs."""
    return ApiError(
        400,
        "MissingParameter",
        f'The input parameter "{name}" that is mandatory for processing this request is not supplied.',
    )


def parameter_missing(name: str) -> ApiError:
    """A parameter that this action needs."""
    return ApiError(400, f"Missing{name}", f"{name} is mandatory for this action.")


def parameter_invalid(name: str, value: object) -> ApiError:
    return ApiError(400, "InvalidParameter", f'The specified value of parameter "{name}" is not valid: {shown(value)}.')


def query_invalid() -> ApiError:
    return ApiError(400, "InvalidParameter", "The parameters cannot be read: they are no form.")
