"""The SQL that joins feedback to requests, when it is asked for: either may be booked before the other.

Which request or session a feedback is about, within its tenant and never after it was given:

- Tenant: the same project, team and organisation; where a key has none of them, the same key.
- Our request id: that request of the tenant.
- A name that the client chose, an `x-request-id` or a session: the same key's, because names are unique for a key at most.
  Of several requests with one `x-request-id` the last before the feedback.
"""

from __future__ import annotations

from collections.abc import Sequence

_TENANT = """(r.project, r.team, r.organisation) = (f.project, f.team, f.organisation)
    AND (r.key = f.key OR r.project || r.team || r.organisation <> '')"""

# `seq` of the request that feedback `f` is about; NULL: there is none.
_REQUEST = f"""COALESCE(
    (SELECT r.seq FROM requests r WHERE r.id = f.request_id AND {_TENANT}),
    (SELECT r.seq FROM requests r WHERE r.client_id = f.request_id AND r.client_id <> '' AND r.key = f.key
        AND r.at_ms <= f.at_ms AND {_TENANT} ORDER BY r.at_ms DESC, r.seq DESC LIMIT 1))"""  # noqa: S608  ours alone

_IN_SESSION = f"r.session = f.session AND r.session <> '' AND r.key = f.key AND r.at_ms <= f.at_ms AND {_TENANT}"

# The score that was given last for each request, and for each session: by somebody, and by what was seen. What is about
# requests since then is itself younger.
# A LIMIT keeps the query inside from being merged into the one around it, where each use would look the request up again.
_ALL = 9_223_372_036_854_775_807
_SCORED = "score IS NOT NULL AND at_ms >= :since"
_IMPLIED = "CASE WHEN substr({}source || ':', 1, 9) = 'implicit:' THEN 1 ELSE 0 END"  # it was seen, nobody said it
_LAST_OF_REQUESTS = f"""
    SELECT seq, request, score, thumbs, implied FROM (
        SELECT seq, request, score, thumbs, implied,
            ROW_NUMBER() OVER (PARTITION BY request, implied ORDER BY at_ms DESC, seq DESC) AS place
        FROM (
            SELECT f.seq, f.at_ms, f.score, f.thumbs, {_IMPLIED.format("f.")} AS implied, {_REQUEST} AS request
            FROM feedback f WHERE {_SCORED} AND request_id <> '' LIMIT {_ALL}
        ) found WHERE request IS NOT NULL
    ) placed WHERE place = 1"""  # noqa: S608
_LAST_OF_SESSIONS = f"""
    SELECT * FROM (
        SELECT *, {_IMPLIED.format("")} AS implied, ROW_NUMBER() OVER (
            PARTITION BY session, key, project, team, organisation, {_IMPLIED.format("")} ORDER BY at_ms DESC, seq DESC
        ) AS place
        FROM feedback WHERE {_SCORED} AND session <> ''
    ) placed WHERE place = 1"""  # noqa: S608
# As `stores/report.py:JUDGED`. What was seen is never added to what was said.
_SUMS = """COUNT(*) FILTER (WHERE implied = 0), SUM(CASE WHEN implied = 0 THEN micro END),
    COUNT(*) FILTER (WHERE implied = 0 AND thumbs = 'up'), COUNT(*) FILTER (WHERE implied = 0 AND thumbs IN ('up', 'down')),
    COUNT(*) FILTER (WHERE implied = 1), SUM(CASE WHEN implied = 1 THEN micro END)"""


def scores_sql(columns: Sequence[tuple[str, str]], condition: str, micro: str) -> str:
    """Return the statement of the last scores by columns of requests, each a name and an expression over `r`; `condition`:
    which of the requests `r`; `micro`: the score of `f` in millionths. Parameters are `since` and those of the expressions.

    Each row is 0, the group and the sums of `stores/report.py:JUDGED`; in the last one, which is over all, 1 stands in
    front. A session that was judged counts once in each group that it has requests in, and once over all."""
    names = "".join(f"{name}, " for name, _ in columns)
    named = "".join(f"{expression} AS {name}, " for name, expression in columns)
    none = "NULL, " * len(columns)
    groups = ", ".join(str(n + 2) for n in range(len(columns)))
    return f"""
        WITH judged AS (
            SELECT {named} f.seq AS judgement, {micro} AS micro, f.thumbs AS thumbs, f.implied AS implied
            FROM ({_LAST_OF_REQUESTS}) f
            CROSS JOIN requests r ON r.seq = f.request WHERE {condition}
            UNION ALL
            SELECT DISTINCT {named} f.seq, {micro}, f.thumbs, f.implied FROM ({_LAST_OF_SESSIONS}) f
            CROSS JOIN requests r ON {_IN_SESSION} WHERE {condition}
        )
        SELECT 0, {names} {_SUMS} FROM judged {f"GROUP BY {groups}" if groups else ""}
        UNION ALL
        SELECT 1, {none} {_SUMS} FROM (SELECT DISTINCT judgement, micro, thumbs, implied FROM judged) once"""  # noqa: S608  columns


COUNTS_SQL = f"""
    SELECT COUNT(*), COUNT(*) FILTER (WHERE CASE
        WHEN f.request_id <> '' THEN {_REQUEST} IS NULL
        ELSE NOT EXISTS (SELECT 1 FROM requests r WHERE {_IN_SESSION}) END)
    FROM feedback f WHERE f.at_ms >= :since AND (:within = '' OR f.organisation = :within)"""  # noqa: S608

# The newest feedback for one request or its session; parameters are columns of the request, and `most`.
OF_REQUEST = f"""
    SELECT f.* FROM feedback f WHERE f.request_id IN (:id, :client_id) AND f.request_id <> '' AND {_REQUEST} = :seq
    UNION ALL
    SELECT f.* FROM feedback f JOIN requests r ON {_IN_SESSION} WHERE r.seq = :seq AND f.session = :session
    AND f.session <> '' ORDER BY at_ms DESC, seq DESC LIMIT :most"""  # noqa: S608
