"""OpenAPI: the admin API described from its table of endpoints (OpenAPI 3.1, https://spec.openapis.org/oas/v3.1.1.html)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from pointsman import __version__
from pointsman.control.endpoints import ID, MOST_CURSOR, Endpoint
from pointsman.control.replies import CODES, ErrorReply
from pointsman.stores.callers import MOST_LISTED

_REF = "#/components/schemas/{name}"
_ALWAYS = (
    "invalid_request",
    "unauthorized",
    "forbidden_role",
    "too_many_tries",
    "internal_error",
    "callers_unavailable",
    "issuer_unavailable",
)
_WHOM = {"bodies": "admins"}
_UNBOUND = ", not for keys that are bound to an organisation"
_CHANGING = ("forbidden_origin", "in_the_way", "body_too_large", "not_json", "not_found")


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """Return the OpenAPI document of the endpoints that have a described reply."""
    rows = [row for row in endpoints if row.reply is not None]
    kinds = [ErrorReply, *(kind for row in rows for kind in (row.reply, row.body) if kind is not None)]
    kinds = list(dict.fromkeys(kinds))
    references, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    named = dict(zip(kinds, references, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for row in rows:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, named)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pointsman admin API", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "The admin token or an admin key."}
            },
        },
        "security": [{"token": []}],
    }


def _operation(row: Endpoint, named: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{row.method.lower()}{row.path.removeprefix('/v1')}").strip("_"),
        "summary": row.what,
        "description": f"For {_WHOM.get(row.access, f'{row.access}s')}{'' if row.bound else _UNBOUND}.",
        "parameters": _parameters(row),
        "responses": {str(row.status): _answer(row, named)} | _errors(row, named[ErrorReply]),
    }
    if row.body is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": named[row.body]}}}
    return made


def _parameters(row: Endpoint) -> list[dict[str, Any]]:
    id = {"type": "string", "pattern": f"^{ID.pattern}$"}
    own = {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$"} if row.named else id
    made = [{"name": "id", "in": "path", "required": True, "schema": own}] if "{id}" in row.path else []
    made += [{"name": name, "in": "query", "schema": id} for name in row.filters]
    made += [{"name": name, "in": "query", "schema": schema} for name, schema in row.texts.items()]
    if row.listed:
        cursor = {"type": "integer", "minimum": 0, "maximum": MOST_CURSOR}
        count = {"type": "integer", "minimum": 1, "maximum": MOST_LISTED, "default": 100}
        made += [{"name": "after", "in": "query", "schema": cursor}, {"name": "limit", "in": "query", "schema": count}]
    return made


def _answer(row: Endpoint, named: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    if row.status == 204:
        return {"description": "Done."}
    return {"description": "Done.", "content": {"application/json": {"schema": named[row.reply]}}}


def _errors(row: Endpoint, schema: dict[str, Any]) -> dict[str, Any]:
    codes = [
        *_ALWAYS,
        *row.codes,
        *(_CHANGING if row.method != "GET" else ()),
        *(("not_found",) if "{id}" in row.path else ()),
    ]
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(CODES[code], []).append(code)
    content = {"application/json": {"schema": schema}}
    return {
        str(status): {"description": ", ".join(f"`{code}`" for code in found), "content": content}
        for status, found in sorted(by_status.items())
    }
