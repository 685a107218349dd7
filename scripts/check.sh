#!/usr/bin/env bash
# Everything a change must pass. Each check runs even when one before it failed; the tests come last.
#   scripts/check.sh [PYTEST ARGUMENTS]
set -uo pipefail
cd "$(dirname "$0")/.."
PATH="$PWD/.venv/bin:$PATH"
failed=()

check() {
  local name=$1
  shift
  echo "== $name: $*"
  "$@" || failed+=("$name")
}

check format ruff format --check .
check lint ruff check .
check types mypy
check layers lint-imports
check tests pytest -n 2 -m "not serial and not nightly" "$@"
check serial pytest -m "serial and not nightly" "$@"

if ((${#failed[@]})); then
  echo "FAILED: ${failed[*]}"
  exit 1
fi
echo "all checks passed"
