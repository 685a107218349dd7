"""docs/admin-api.md lists every endpoint of the admin listener as it is, and no other."""

from __future__ import annotations

from pathlib import Path

from doc_pages import page, rows, section, words

from pointsman.control.admin import Admin
from pointsman.control.pump import Counts
from pointsman.core.policy import Policy


def test_every_endpoint_is_listed_with_who_may_use_it() -> None:
    policy = Policy(version="v", source="s", providers={}, deployments=(), routes={})
    endpoints = Admin(Path("nowhere"), policy, Counts()).endpoints()
    made = [(row.method, row.path, row.access, row.bound, row.what) for row in endpoints]
    table = rows(section(page("docs/admin-api.md"), "Endpoints"))
    listed = [(words(row[0])[0], words(row[1])[0], row[2], row[3] == "yes", row[4]) for row in table]
    assert listed == made
