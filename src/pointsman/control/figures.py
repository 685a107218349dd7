"""Figures: how counts, times and money look to people, on the terminal and on pages."""

from __future__ import annotations

from typing import Any

from pointsman.core.pricing import NANO_PER_USD, usd

BAR = 28  # columns of a time line


def count(value: int) -> str:
    """Return a count in at most five characters or so: 999, 1.2k, 35M."""
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if value >= limit * 10:
            return f"{value // limit}{unit}"
        if value >= limit:
            return f"{value / limit:.1f}{unit}"
    return str(value)


def milliseconds(us: int | None) -> str:
    """Return microseconds as milliseconds or seconds; "-" for none."""
    if not us:
        return "-"
    return f"{us / 1000:.1f} ms" if us < 10_000 else f"{us / 1000:.0f} ms" if us < 10_000_000 else f"{us / 1e6:.1f} s"


def dollars(nano: int | None, digits: int = 6) -> str:
    """Return nano-dollars as dollars; "unpriced" when unknown."""
    return "unpriced" if nano is None else f"${usd(nano, digits)}"


def money(nano: int) -> str:
    """Return a sum in dollars, small ones with more places."""
    return dollars(nano, 2 if nano >= 100 * NANO_PER_USD else 4 if nano >= NANO_PER_USD // 10 else 6)


def clean(text: str) -> str:
    """Return text without control characters: names and messages come from clients and providers."""
    return "".join(c if c.isprintable() else "?" for c in text)


def bar(attempt: dict[str, Any], total_us: int) -> str:
    """Return one attempt on the request's time line: `─` waiting for content, `━` content."""
    started_us: int = attempt["started_us"]
    ended_us: int = started_us + attempt["total_us"]
    scale = BAR / max(total_us, ended_us, 1)
    start = min(BAR - 1, int(started_us * scale))
    end = min(BAR, max(start + 1, round(ended_us * scale)))
    first = round((started_us + attempt["ttft_us"]) * scale) if attempt["ttft_us"] else end
    first = min(max(first, start), end)
    return " " * start + "─" * (first - start) + "━" * (end - first)


def judged(feedback: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return what a feedback row says: what it is about, its score, who gave it, and the words, each part named."""
    score = "-" if feedback["score"] is None else f"{feedback['score']:.2f}"
    parts = [f"{name}: {feedback[name]}" for name in ("label", "comment", "correction") if feedback[name]]
    who = " · ".join(filter(None, (feedback["source"], feedback["key"])))
    about = "request" if feedback["request_id"] else "session"
    return about, " ".join(filter(None, (score, feedback["thumbs"]))), clean(who), clean("; ".join(parts))


def told(row: dict[str, Any]) -> dict[str, str]:
    """Return what a request row says, in words, by topic; what is empty is left out."""
    price = f", price {row['price_version']}" if row["price_version"] else ""
    hold = "" if row["hold_nano"] is None or not row["planned"] else f"; {dollars(row['hold_nano'], 9)} was predicted"
    cached = f", {row['cache_read_tokens']} of them from cache" if row["cache_read_tokens"] else ""
    thought = f", {row['reasoning_tokens']} of them thinking" if row["reasoning_tokens"] else ""
    served = f"served as {row['served_model']}" if row["served_model"] not in ("", row["model"]) else ""
    times = ("queue", "decide", "connect", "ttft", "total", "overhead")
    state = f" ({row['charge_state']}{price})" if row["charge_nano"] is not None else ""
    kept = ""
    if row["cached_id"]:
        kept = f"{row['cache']}: the answer to {row['cached_id']}, {(row['cached_ms'] or 0) / 1000:.0f} s old; "
        kept += f"{dollars(row['saved_nano'], 9)} saved"
    lines = {
        "cache": kept or row["cache"],
        "charge": f"{dollars(row['charge_nano'], 9)}{state}{hold}",
        "tokens": f"{row['input_tokens']} in{cached}; {row['output_tokens']} out{thought} ({row['usage_source']})",
        "times": " · ".join(f"{name} {milliseconds(row[f'{name}_us'])}" for name in times),
        "model": " · ".join(filter(None, (row["provider"], row["model"], served))),
        "caller": " · ".join(filter(None, (row["key"], row["project"], row["team"], row["organisation"]))),
        "asked": f"{row['asked_model']} ({row['kind']}, {'stream' if row['stream'] else 'no stream'})",
        "status": f"{row['status']} {row['outcome']}, config {row['config_version']}",
        "client id": row["client_id"],
    }
    return {name: clean(text) for name, text in lines.items() if text}
