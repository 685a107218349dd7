"""Contract: the page docs/failure-contract.md, written from the tables that decide. `python -m pointsman.lab.contract`."""

from __future__ import annotations

from collections.abc import Iterator

from pointsman.core.outcome import CLASSES, Retry, kind_of_status
from pointsman.dialects.anthropic.facts import ERRORS as ANTHROPIC
from pointsman.dialects.errors import LAST_WORDS, ErrorTable
from pointsman.dialects.gemini.facts import ERRORS as GEMINI
from pointsman.dialects.openai.facts import ERRORS as OPENAI

TABLES: dict[str, ErrorTable] = {"openai": OPENAI, "anthropic": ANTHROPIC, "gemini": GEMINI}
STATUSES = (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 522, 524, 529)
_RETRY = {
    Retry.NEXT: "another deployment",
    Retry.SAME: "at once, the same",
    Retry.NEVER: "no",
}
HEAD = """# Failure contract

What every end of an attempt means and what follows from it. Written from the tables that decide, by
`python -m pointsman.lab.contract`; a test holds it to them. What a client is told stands in [errors.md](errors.md).

- **blame** decides about health: only ends that the provider is to blame for count against a deployment.
- **tried again** is what may follow before the first content has left; after it nothing does. One budget of attempts is
  shared by everything, and a deployment that has just failed costs its quota group one of its retries: 15 % of its requests,
  half a retry a second, 20 at once.
- **billed** says whether the provider may charge for it, so whether an unknown usage is `unpriced` rather than nothing.
- **status** and **code** are what the client gets when nothing else can be done.
"""


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *_kinds(), "", *_statuses(), "", *_words()]) + "\n"


def _kinds() -> Iterator[str]:
    yield "## Ends of an attempt or a request\n"
    yield "| end | means | blame | tried again | billed | status | code |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for kind, row in CLASSES.items():
        code = f"`{row.code}`" if row.code else ""
        billed = "yes" if row.billable else "no"
        cells = (f"`{kind}`", kind.means, row.blame, _RETRY[row.retry], billed, row.status, code)
        yield f"| {' | '.join(map(str, cells))} |"


def _statuses() -> Iterator[str]:
    yield "## What a provider's status means when its body says nothing better\n"
    yield "| status | end |"
    yield "| --- | --- |"
    for status in STATUSES:
        yield f"| {status} | `{kind_of_status(status)}` |"
    yield "\nAny other 5xx is `server_error`, any other 4xx `invalid_request`; a redirect is not followed: `broken`."


def _words() -> Iterator[str]:
    yield "## What a provider's own words mean\n"
    yield "Read in this order: an exact word of the error (type, code, status), a phrase in its message, a broader word, the"
    yield "HTTP status, and last the words that are too vague to overrule one.\n"
    yield "| wire | read as | word or phrase | end |"
    yield "| --- | --- | --- | --- |"
    for wire, table in TABLES.items():
        for word, kind in table.words.items():
            yield f"| {wire} | word | `{word}` | `{kind}` |"
        for phrase, kind in table.phrases:
            yield f"| {wire} | phrase | `{phrase}` | `{kind}` |"
        for word, kind in table.broad.items():
            yield f"| {wire} | broad word | `{word}` | `{kind}` |"
    for word, kind in LAST_WORDS.items():
        yield f"| all | vague word | `{word}` | `{kind}` |"


if __name__ == "__main__":
    print(page(), end="")
