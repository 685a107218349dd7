"""Endpoints: what a row of the admin listener's table says, and how a request becomes a Call of its handler."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal
from urllib.parse import parse_qsl

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pointsman.control.replies import Refusal, json_reply
from pointsman.stores.callers import MOST_LISTED, Page, Role

# open: whoever reaches the listener; local: on a loopback listener whoever is on this machine, else a viewer; bodies: reads
# and deletes what was asked and answered.
Access = Literal["open", "local", "viewer", "admin", "bodies"]
GRANTS: Mapping[Role, frozenset[Access]] = {
    "viewer": frozenset({"open", "local", "viewer"}),
    "admin": frozenset({"open", "local", "viewer", "admin", "bodies"}),
}
MOST_BODY_BYTES = 64 * 1024
MOST_FIELDS = 64  # of a form
Form = dict[str, str]
ID = re.compile(r"[a-z]{1,8}_[0-9a-f]{24}")
MOST_CURSOR = (1 << 63) - 1


class Who(msgspec.Struct, frozen=True):
    """Hold who asks. `organisation`: id of the one that they are bound to; "": none."""

    name: str
    role: Role
    organisation: str = ""

    def may(self, access: Access, *, bound: bool = False) -> bool:
        """Tell whether they may ask what this access is needed for. `bound`: it answers to who is bound too."""
        return access in GRANTS[self.role] and (bound or not self.organisation)


class Call(msgspec.Struct, frozen=True):
    """Hold a request to the admin API whose every part has been checked."""

    who: Who
    id: str
    body: Any
    query: dict[str, str]
    page: Page
    now_ms: int


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Hold one row of the table. `handler` takes a Call and returns a `reply`; where it is `raw` it takes a Request and
    returns the answer itself. Without a `reply` it is no part of the API. `page`: a browser asks for it, and a session opens
    it; `form`: sent by a page of a session, naming its `csrf`; the handler takes Request and Form. `bound`: it answers to
    admin keys of one organisation too; `named`: its `{id}` is that of a request or document; `filters`: query parameters that
    are ids; `texts`: other query parameters and their JSON Schemas, which the handler holds them to."""

    method: str
    path: str
    access: Access
    what: str
    handler: Callable[..., Any]
    reply: Any = None
    body: Any = None
    status: int = 200
    bound: bool = False
    listed: bool = False
    named: bool = False
    filters: tuple[str, ...] = ()
    texts: Mapping[str, Any] = {}
    raw: bool = False
    page: bool = False
    form: bool = False
    codes: tuple[str, ...] = ()  # errors of its own

    def route(self) -> Route:
        answer = self._formed if self.form else self._checked if self.raw else self._served
        plain = self.reply is None and not self.form
        return Route(self.path, self.handler if plain else answer, methods=[self.method])

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{\w+\}", "[^/]+", self.path))

    async def _checked(self, request: Request) -> Response:
        _refuse_unknown(request.query_params.keys(), set(self.texts))
        if inspect.iscoroutinefunction(self.handler):
            return await self.handler(request)  # type: ignore[no-any-return]
        return await run_in_threadpool(self.handler, request)

    async def _formed(self, request: Request) -> Response:
        form = await _form(request)
        session = request.scope["state"].get("session")
        if session is not None and not session.allows(form.pop("csrf", "")):
            raise Refusal("forbidden_origin", "this form is not of a page of this session: load the page again")
        if inspect.iscoroutinefunction(self.handler):
            return await self.handler(request, form)  # type: ignore[no-any-return]
        return await run_in_threadpool(self.handler, request, form)

    async def _served(self, request: Request) -> Response:
        body = await _body(request, self.body) if self.body is not None else None
        query = _query(
            request.query_params.multi_items(),
            {*self.filters, *self.texts, *(("after", "limit") if self.listed else ())},
        )
        for name in self.filters:
            if name in query and not ID.fullmatch(query[name]):
                raise Refusal("invalid_request", f"{name} is an id", name)
        page = Page(_number(query, "after", 0, MOST_CURSOR, 0), _number(query, "limit", 1, MOST_LISTED, 100))
        who, id = request.scope["state"]["who"], request.path_params.get("id", "")
        found = await run_in_threadpool(self.handler, Call(who, id, body, query, page, time.time_ns() // 1_000_000))
        return Response(status_code=204) if self.status == 204 else json_reply(found, self.status)


async def _bytes(request: Request) -> bytes:
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > MOST_BODY_BYTES:
            raise Refusal("body_too_large", f"the body has more than {MOST_BODY_BYTES} bytes")
    return data


async def _form(request: Request) -> Form:
    """Return the members of a form; of one that is given twice the last."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        raise Refusal("invalid_request", "this path takes a form")
    try:
        return dict(parse_qsl((await _bytes(request)).decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise Refusal("invalid_request", "this is no form of ours") from None


async def _body(request: Request, kind: Any) -> Any:
    """Return the body as a struct. Raise Refusal when it is too large or not what is asked for."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Refusal("not_json", "send the body with content-type: application/json")
    data = await _bytes(request)
    try:
        return msgspec.json.decode(data or b"null", type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        text = str(error)
        found = re.search(r"at `\$\.([\w.\[\]]+)`|unknown field `(\w{1,64})`|required field `(\w+)`", text)
        raise Refusal("invalid_request", text, next(filter(None, found.groups()), None) if found else None) from None


def _query(given: list[tuple[str, str]], known: set[str]) -> dict[str, str]:
    _refuse_unknown((name for name, _ in given), known)
    query: dict[str, str] = {}
    for name, value in given:
        if name in query:
            raise Refusal("invalid_request", f"{name} is given twice", name)
        query[name] = value
    return query


def _refuse_unknown(given: Iterable[str], known: set[str]) -> None:
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        what = f"takes {', '.join(sorted(known))}" if known else "takes no parameters"
        raise Refusal("invalid_request", f"this path {what}", unknown[:64])


def _number(query: Mapping[str, str], name: str, least: int, most: int, default: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text) or not least <= int(text) <= most:
        raise Refusal("invalid_request", f"{name} is a whole number from {least} to {most}", name)
    return int(text)
