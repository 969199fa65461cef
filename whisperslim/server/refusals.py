"""Answers to refused requests, in the shape of OpenAI's errors."""

from typing import Any

from starlette.responses import JSONResponse

_KINDS = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class RefusedError(Exception):
    """A request that is refused.

    `code` names the reason for programs, `param` the field that is wrong. After `retry_after`
    seconds the same request may be let through.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        code: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after

    def record(self) -> dict[str, Any]:
        """The body of the answer: plain values."""
        usual = "server_error" if self.status >= 500 else "invalid_request_error"
        return {
            "error": {
                "message": str(self),
                "type": _KINDS.get(self.status, usual),
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.record(), self.status, headers)
