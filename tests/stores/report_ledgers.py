"""A random ledger for tests of reports: thousands of rows with all that may be missing, in every engine, and a reckoning of
reports from the plain rows that shares no code with any of them."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from pointsman.stores.ledger import ATTEMPT_COLUMNS, FEEDBACK_COLUMNS, LONE_COLUMNS, REQUEST_COLUMNS, Batch
from pointsman.stores.report import Question

BEGIN_MS = 1_795_000_000_000 // 86_400_000 * 86_400_000  # 2026-11-18
DAYS = 9
NOW_MS = BEGIN_MS + (DAYS + 7) * 86_400_000 + 2 * 3_600_000  # all of them are closed
SOURCES = ("user", "implicit:reask", "user", "implicit", "implicitly", "implicit:regeneration")
TENANT = ("project", "team", "organisation")
NO_ERROR = ("ok", "client_gone", "degraded")
CALLERS = (
    ("dev", "", "", ""),
    ("acme/bot", "site", "web", "acme"),
    ("acme/app", "site", "web", "acme"),
    ("globex/ünï", "x", "y", "globex"),
)
TAGS = ("", ",env:prod,", ",env:test,cost:a b,", ",env,", ',odd:"quoted, no' + "\n" + 'line",')
Rows = list[dict[str, Any]]


class Books:
    """Plain rows of the three tables, `seq` included."""

    def __init__(self, seed: int, count: int) -> None:
        self.dice = random.Random(seed)
        self.requests: Rows = [self._request(n) for n in range(count)]
        self.attempts: Rows = [row for request in self.requests for row in self._attempts(request)]
        self.feedback: Rows = [self._feedback(n) for n in range(count // 4)]
        self.judged = _last_scores(self)

    def batch(self, first: int = 0, last: int | None = None) -> Batch:
        """Return the rows of some requests; the feedback with the last ones."""
        chosen = self.requests[first:last]
        ids = {row["id"] for row in chosen}
        return Batch(
            requests=[tuple(row[name] for name in REQUEST_COLUMNS) for row in chosen],
            attempts=[
                tuple(row[name] for name in ATTEMPT_COLUMNS)
                for row in self.attempts
                if row["request_id"] in ids and row["message"]
            ],
            feedback=[] if last else [tuple(row[name] for name in FEEDBACK_COLUMNS) for row in self.feedback],
        )

    def _request(self, n: int) -> dict[str, Any]:
        dice = self.dice
        at_ms = BEGIN_MS + dice.randrange(DAYS * 86_400_000)
        key, project, team, organisation = dice.choice(CALLERS)
        state = dice.choices(("measured", "estimated", "unpriced"), (8, 1, 1))[0]
        cache = dice.choice(("", "", "off", "miss", "hit", "semantic", "check"))
        hit = cache in ("hit", "semantic")
        planned = dice.choice(("mini", "large", ""))
        deployment = planned if dice.random() < 0.8 else dice.choice(("mini", "large"))
        stream = dice.randrange(2)
        ttft_us = dice.choice((0, dice.randrange(1, 50_000), dice.randrange(50_000, 9_000_000)))
        row: dict[str, Any] = dict.fromkeys(REQUEST_COLUMNS, "")
        row |= {name: 0 for name in REQUEST_COLUMNS if name.endswith(("_tokens", "_us", "_nano", "_ms"))}
        row |= {
            "seq": n + 1, "id": f"req_{at_ms:012x}{n:016x}", "client_id": dice.choice(("", "", f"c{dice.randrange(50)}")),
            "at_ms": at_ms, "day": str((datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)).date()),
            "key": key, "project": project, "team": team, "organisation": organisation,
            "kind": dice.choice(("chat", "embeddings")), "stream": stream, "asked_model": dice.choice(("auto", "drafts\0")),
            "route": dice.choice(("drafts", "support", "NULL", "")), "strategy": dice.choice(("weighted", "cheapest")),
            "planned": planned, "deployment": deployment, "provider": {"mini": "lab", "large": "azure"}.get(deployment, ""),
            "model": f"{deployment}-1", "served_model": dice.choice(("", "x, y", "z\\N")),
            "outcome": dice.choices(("ok", "client_gone", "degraded", "timeout", "recovered"), (20, 2, 1, 2, 1))[0],
            "status": dice.choice((200, 0, 504)), "attempts": 0 if hit else dice.randrange(4),
            "input_tokens": dice.randrange(300_000), "output_tokens": dice.randrange(5_000),
            "cache_read_tokens": dice.randrange(3_000), "reasoning_tokens": dice.randrange(100),
            "cache_write_5m_tokens": dice.randrange(9), "input_audio_tokens": dice.randrange(2),
            "usage_source": dice.choices(("measured", "estimated", "unknown"), (8, 1, 1))[0],
            "charge_nano": None if state == "unpriced" else dice.randrange(10**9), "charge_state": state,
            "hold_nano": None, "config_version": dice.choice(("v1", "v2")), "probability": dice.choice((None, 0.1, 1 / 3)),
            "ttft_us": ttft_us, "total_us": ttft_us + dice.choice((0, dice.randrange(1, 10_000_000))),
            "overhead_us": dice.randrange(3_000), "connect_us": dice.choice((0, 900)), "recovered": dice.randrange(2),
            "arm": dice.choice(("", "drafts/a", "drafts/b")), "arm_probability": None, "session": dice.choice(("", "s1", "s2")),
            "degraded": dice.choice(("", "", "reply")), "tags": dice.choice(TAGS), "cache": cache,
            "cached_id": "req_x" if hit else "", "cached_ms": 5 if hit else None,
            "saved_nano": dice.choice((None, dice.randrange(10**7))) if hit else None,
            **dict.fromkeys(LONE_COLUMNS),
        }  # fmt: skip
        return row

    def _attempts(self, request: dict[str, Any]) -> Rows:
        if request["attempts"] == 1 and request["seq"] % 3:  # it follows from the request's row
            request |= dict(zip(LONE_COLUMNS, (n := request["seq"], 2 * n, 3 * n), strict=True))
            own = {
                "request_id": request["id"],
                "n": 1,
                "message": "",
                "started_us": n,
                "ttft_us": 2 * n,
                "total_us": 3 * n,
            }
            return [{name: request.get(name) for name in ATTEMPT_COLUMNS} | own]
        made = []
        for n in range(1, request["attempts"] + 1):
            row = {name: request.get(name, 0) for name in ATTEMPT_COLUMNS}
            state = self.dice.choice(("measured", "unpriced"))
            row |= {
                "request_id": request["id"], "n": n, "deployment": self.dice.choice(("mini", "large")), "started_us": n,
                "outcome": self.dice.choice(("ok", "timeout", "rate_limited")), "message": "it said: \"no\",\nand no more",
                "charge_state": state, "charge_nano": None if state == "unpriced" else self.dice.randrange(10**6),
            }  # fmt: skip
            made.append(row)
        return made

    def _feedback(self, n: int) -> dict[str, Any]:
        dice = self.dice
        about = dice.choice(self.requests)
        at_ms = about["at_ms"] + dice.randrange(-3_600_000, 5 * 86_400_000)
        thumbs = dice.choice(("", "up", "down"))
        score = {"up": 1.0, "down": 0.0}.get(thumbs, dice.choice((None, 0.1, 0.30000049999999, dice.random())))
        by_session = bool(about["session"]) and dice.random() < 0.2
        named = about["client_id"] if about["client_id"] and dice.random() < 0.5 else about["id"]
        if named == about["id"]:
            at_ms = max(at_ms, about["at_ms"])  # nobody knows an id before
        row = dict.fromkeys(FEEDBACK_COLUMNS, "") | {
            name: about[name] for name in ("key", "project", "team", "organisation")
        }
        return row | {
            "seq": n + 1, "id": f"fbk_{at_ms:012x}{n:016x}", "at_ms": at_ms, "score": score, "thumbs": thumbs,
            "request_id": "" if by_session else named, "session": about["session"] if by_session else "",
            "source": SOURCES[n % len(SOURCES)],
        }  # fmt: skip


def naive(books: Books, q: Question) -> tuple[list[tuple[Any, ...]], tuple[Any, ...]]:
    """Return the rows of a report in the order of their names, and the total, reckoned from the plain rows one by one."""
    rows = books.requests
    if q.of == "attempts":
        of = {row["id"]: row for row in books.requests}
        rows = [{**of[row["request_id"]], **row} for row in books.attempts]
    rows = [
        row
        for row in rows
        if q.since_ms <= row["at_ms"] < q.until_ms and all(_dimension(row, k) in v for k, v in q.where.items())
    ]
    judged = _judged(books, {row["seq"] for row in rows}) if q.of == "requests" else []
    groups: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        groups.setdefault(_group(row, q), []).append(row)
    about: dict[tuple[str, ...], Rows] = {}
    for judgement, requests in judged:
        for group in {_group(one, q) for one in requests}:
            about.setdefault(group, []).append(judgement)
    made = [
        (*group, *_measures(members, about.get(group, []), q.measures)) for group, members in sorted(groups.items())
    ]
    whole = [judgement for judgement, _ in judged]
    return made, _measures(rows, whole, q.measures)


def _group(row: dict[str, Any], q: Question) -> tuple[str, ...]:
    at = datetime.fromtimestamp(row["at_ms"] / 1000, UTC)
    monday = (at - timedelta(days=at.weekday())).date()
    times = {
        "hour": at.strftime("%Y-%m-%dT%H:00Z"), "day": str(at.date()), "week": str(monday), "month": at.strftime("%Y-%m")
    }  # fmt: skip
    return (*([times[q.every]] if q.every else []), *(_dimension(row, name) for name in q.by))


def _dimension(row: dict[str, Any], name: str) -> str:
    if name.startswith("tag:"):
        wanted = name[4:]
        tags = row["tags"].strip(",").split(",")
        return next(
            (tag[len(wanted) + 1 :] for tag in tags if tag.startswith(wanted + ":")), wanted if wanted in tags else ""
        )
    if name == "stream":
        return "stream" if row["stream"] else "whole"
    if name == "hour_of_day":
        return f"{row['at_ms'] // 3_600_000 % 24:02d}"
    column = {"asked": "asked_model", "served": "served_model", "config": "config_version", "charge": "charge_state",
              "usage": "usage_source", "attempt": "n"}.get(name, name)  # fmt: skip
    return str(row[column])


def _judged(books: Books, seqs: set[int]) -> list[tuple[dict[str, Any], Rows]]:
    """Return each last score with the requests that it is about."""
    requests, sessions = books.judged
    by_seq = {row["seq"]: row for row in books.requests}
    made = [(given, [by_seq[seq]]) for (seq, _), given in requests.items() if seq in seqs]
    for given in sessions.values():
        about = [
            row
            for row in books.requests
            if row["seq"] in seqs and row["session"] == given["session"] and row["key"] == given["key"]
            and row["at_ms"] <= given["at_ms"] and all(row[name] == given[name] for name in TENANT)
        ]  # fmt: skip
        if about:
            made.append((given, about))
    return made


def _last_scores(books: Books) -> tuple[dict[tuple[int, bool], dict[str, Any]], dict[Any, dict[str, Any]]]:
    """Return the score that was given last, by `seq` of the request, and by session; what was seen apart from what was said."""
    requests: dict[tuple[int, bool], dict[str, Any]] = {}
    sessions: dict[Any, dict[str, Any]] = {}
    named: dict[str, Rows] = {}
    for row in books.requests:
        for name in {row["id"], row["client_id"]} - {""}:
            named.setdefault(name, []).append(row)
    for given in sorted(books.feedback, key=lambda row: (row["at_ms"], row["seq"])):
        if given["score"] is None:
            continue
        if given["session"]:
            sessions[(*(given[name] for name in ("session", "key", *TENANT)), _implied(given))] = given
            continue
        fit = [
            row
            for row in named.get(given["request_id"], [])
            if all(row[n] == given[n] for n in TENANT) and (row["key"] == given["key"] or any(row[n] for n in TENANT))
        ]
        by_id = [row for row in fit if row["id"] == given["request_id"]]
        by_name = [row for row in fit if row["key"] == given["key"] and row["at_ms"] <= given["at_ms"]]
        found = by_id or sorted(by_name, key=lambda row: (row["at_ms"], row["seq"]))[-1:]
        if found:
            requests[found[0]["seq"], _implied(given)] = given
    return requests, sessions


def _implied(given: dict[str, Any]) -> bool:
    return str(given["source"]).split(":")[0] == "implicit"


def _measures(rows: Rows, judged: Rows, names: tuple[str, ...]) -> tuple[Any, ...]:
    special = _special(rows, judged)
    return tuple(
        _quantile(name, rows) if "_p" in name and name.endswith("_us")
        else special[name] if name in special else sum(row[name] for row in rows)
        for name in names
    )  # fmt: skip


def _quantile(name: str, rows: Rows) -> int | None:
    column, percent = name.removesuffix("_us").split("_p")
    values = sorted(row[column + "_us"] for row in rows if row[column + "_us"] > 0)
    return values[math.ceil(Fraction(int(percent), 100) * len(values)) - 1] if values else None


def _special(rows: Rows, judged: Rows) -> dict[str, Any]:
    measured = [row for row in rows if row["charge_state"] == "measured"]
    streamed = [row for row in rows if row["stream"] and 0 < row["ttft_us"] < row["total_us"] and row["output_tokens"]]
    errors = sum(row["outcome"] not in NO_ERROR for row in rows)
    failovers = sum(
        row["attempts"] > 1 and row["deployment"] != row["planned"] != "" for row in rows if "attempts" in row
    )
    hits = sum(row["cached_id"] != "" for row in rows)
    looked = sum(row["cache"] not in ("", "off") for row in rows)
    nano = sum(row["charge_nano"] for row in measured)
    tokens = sum(row["input_tokens"] + row["output_tokens"] for row in measured)
    implied, judged = [row for row in judged if _implied(row)], [row for row in judged if not _implied(row)]
    seen, micro = (sum(int(row["score"] * 1_000_000 + 0.5) for row in each) for each in (implied, judged))
    thumbs, up = sum(row["thumbs"] != "" for row in judged), sum(row["thumbs"] == "up" for row in judged)
    wrote_us, wrote = (
        sum(row["total_us"] - row["ttft_us"] for row in streamed),
        sum(row["output_tokens"] for row in streamed),
    )

    def share(upper: int, lower: int) -> float | None:
        return upper / lower if lower else None

    return {
        "requests": len(rows), "attempts": len(rows), "errors": errors, "error_rate": share(errors, len(rows)),
        "attempt_error_rate": share(errors, len(rows)), "failovers": failovers, "failover_rate": share(failovers, len(rows)),
        "sends": sum(row.get("attempts", 0) for row in rows), "degraded": sum(row["degraded"] != "" for row in rows),
        "recovered": sum(row["recovered"] for row in rows), "hits": hits, "looked": looked, "hit_rate": share(hits, looked),
        "saved_nano": sum(row["saved_nano"] or 0 for row in rows),
        "saved_unpriced": sum(row["cached_id"] != "" and row["saved_nano"] is None for row in rows),
        "cached_tokens": sum(row["cache_read_tokens"] for row in rows),
        "usage_estimated": sum(row["usage_source"] == "estimated" for row in rows),
        "usage_unknown": sum(row["usage_source"] == "unknown" for row in rows),
        "measured": len(measured), "measured_nano": nano,
        "estimated": sum(row["charge_state"] == "estimated" for row in rows),
        "estimated_nano": sum(row["charge_nano"] for row in rows if row["charge_state"] == "estimated"),
        "unpriced": sum(row["charge_nano"] is None for row in rows), "measured_tokens": tokens,
        "nano_per_request": share(nano, len(measured)), "nano_per_1k_tokens": share(nano * 1000, tokens),
        "streamed_tokens": wrote, "streamed_us": wrote_us, "tokens_per_s": share(wrote * 1_000_000, wrote_us),
        "keys": len({row["key"] for row in rows if row["key"]}),
        "sessions": len({(row["key"], row["session"]) for row in rows if row["session"]}),
        "feedback_count": len(judged), "feedback_micro": micro, "feedback_score": share(micro, len(judged) * 1_000_000),
        "implicit_count": len(implied), "implicit_micro": seen, "implicit_score": share(seen, len(implied) * 1_000_000),
        "thumbs": thumbs, "thumbs_up": up, "thumbs_up_share": share(up, thumbs),
    }  # fmt: skip
