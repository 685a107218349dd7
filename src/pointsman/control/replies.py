"""Replies: how the admin listener answers: JSON, and errors in one shape."""

from __future__ import annotations

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pointsman.control.dashboard.frame import message_page, shell_of
from pointsman.stores.callers import CallersError, InTheWay, NotThere, Unavailable, Unfit
from pointsman.stores.ledger import LedgerError
from pointsman.stores.private import PrivateError

# Every error code of the admin listener and its status; docs/errors.md explains each.
CODES: dict[str, int] = {
    "invalid_request": 400,
    "unauthorized": 401,
    "forbidden_host": 403,
    "forbidden_origin": 403,
    "forbidden_role": 403,
    "not_found": 404,
    "http_error": 405,
    "config_not_changed": 409,
    "in_the_way": 409,
    "body_too_large": 413,
    "not_json": 415,
    "too_many_tries": 429,
    "internal_error": 500,
    "not_installed": 501,
    "reload_unfinished": 503,
    "ledger_unavailable": 503,
    "callers_unavailable": 503,
    "issuer_unavailable": 503,
    "bodies_unavailable": 503,
}


class Refusal(Exception):
    """End a request with an error. `param` names what is wrong of it."""

    def __init__(self, code: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.code, self.param = code, param


class ErrorBody(msgspec.Struct, frozen=True):
    """Say what went wrong: in words, and as one of CODES."""

    message: str
    type: str
    code: str
    param: str | None = None


class ErrorReply(msgspec.Struct, frozen=True):
    """Hold an error."""

    error: ErrorBody


def json_reply(value: object, status: int = 200) -> Response:
    """Return a JSON answer."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def error_reply(code: str, message: str, param: str | None = None) -> Response:
    """Return the answer of an error."""
    return json_reply(ErrorReply(ErrorBody(message, "admin_error", code, param)), CODES[code])


def wants_page(request: Request) -> bool:
    """Tell whether a browser asks for a page, not a program for data."""
    return not request.url.path.startswith("/v1/") and "text/html" in request.headers.get("accept", "")


def told(request: Request, code: str, message: str, param: str | None = None) -> Response:
    """Return the answer of an error: a page for browsers, else JSON."""
    if wants_page(request):
        return HTMLResponse(message_page(shell_of(request), TITLES.get(code, "Error"), message), CODES[code])
    return error_reply(code, message, param)


TITLES = {
    "not_found": "Not found",
    "unauthorized": "Not logged in",
    "forbidden_role": "Not allowed",
    "forbidden_origin": "Not taken",
    "too_many_tries": "Wait",
    "ledger_unavailable": "The ledger does not answer",
    "callers_unavailable": "The key store cannot be used",
}


def _http_error(request: Request, error: HTTPException) -> Response:
    reply = told(request, "not_found" if error.status_code == 404 else "http_error", error.detail)
    reply.headers.update(error.headers or {})
    return reply


def _refusal(request: Request, error: Refusal) -> Response:
    return told(request, error.code, str(error), error.param)


def _callers_error(request: Request, error: CallersError) -> Response:
    return told(request, _OF_CALLERS[type(error)], str(error), getattr(error, "param", None))


_OF_CALLERS: dict[type[CallersError], str] = {
    NotThere: "not_found",
    Unfit: "invalid_request",
    InTheWay: "in_the_way",
    Unavailable: "callers_unavailable",
}


def _ledger_error(request: Request, error: LedgerError) -> Response:
    return told(request, "ledger_unavailable", str(error))


def _private_error(request: Request, error: PrivateError) -> Response:
    return told(request, "callers_unavailable", str(error))


def _value_error(request: Request, error: ValueError) -> Response:
    return told(request, "invalid_request", str(error))


def _internal_error(request: Request, error: Exception) -> Response:
    return told(request, "internal_error", "this is a fault of pointsman; what it said stands on its standard error")


HANDLERS = {
    HTTPException: _http_error,
    Refusal: _refusal,
    CallersError: _callers_error,
    LedgerError: _ledger_error,
    PrivateError: _private_error,
    ValueError: _value_error,
    Exception: _internal_error,
}
