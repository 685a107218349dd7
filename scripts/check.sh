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

# Tell what a check that was begun earlier has said, once it has ended.
ended() {
  local code=0
  wait "$1" || code=$?
  cat "$2"
  return "$code"
}

# Of the tests that were asked for by name, none may be in one of the two parts (pytest: 5); of all tests, some must be.
# What fails in a few files may have had too little of a busy machine: it is run once more, alone, and named if it then passes.
# (Files, since a fixture that was too slow fails all tests that share it.)
tests() {
  local marks=$1 code=0 failures=.pytest_cache/v/cache/lastfailed count
  shift
  rm -f "$failures"
  pytest -m "$marks and not nightly" "$@" || code=$?
  ((code == 5 && asked > 0)) && code=0
  count=$(python -c "import json; print(len({name.partition('::')[0] for name in json.load(open('$failures'))}))" 2>/dev/null || echo 0)
  if ((code == 1 && 0 < count && count <= 4)); then
    cp "$failures" .pytest_cache/unsteady
    code=0
    pytest -m "$marks and not nightly" -n 0 --last-failed --last-failed-no-failures none "${@:2}" || code=$?
    ((code)) || unsteady+=("$(cat .pytest_cache/unsteady)")
  fi
  return "$code"
}
unsteady=()
asked=$#

# The counters are tested against a real Redis: a server of the tests' own, on a free port.
redis() {
  command -v redis-server >/dev/null && return
  [ "$(id -u)" = 0 ] || { echo "install redis-server (Debian: apt-get install redis-server)"; return 1; }
  apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server
}

# And against a real PostgreSQL, of which only the programs are used: never a cluster of this machine.
postgres() {
  { compgen -G "/usr/lib/postgresql/*/bin/initdb" || command -v initdb; } >/dev/null && return
  [ "$(id -u)" = 0 ] || { echo "install PostgreSQL (Debian: apt-get install postgresql)"; return 1; }
  mkdir -p /etc/postgresql-common/createcluster.d
  echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/pointsman-tests.conf
  apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql
}

# What stands in deploy/ is read by the real proxy.
nginx() {
  type -P nginx >/dev/null && return
  [ "$(id -u)" = 0 ] || { echo "install nginx (Debian: apt-get install nginx-light)"; return 1; }
  apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light
}

# So are alerts, rules and panels, by the real Prometheus.
prometheus() {
  type -P prometheus promtool >/dev/null && return
  [ "$(id -u)" = 0 ] || { echo "install Prometheus (Debian: apt-get install prometheus)"; return 1; }
  apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus
}

# What is compiled for a wheel of a platform needs a C compiler and the headers of this Python.
compiler() {
  command -v cc >/dev/null && [ -e "$(python -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" ] && return
  [ "$(id -u)" = 0 ] || { echo "install a C compiler and Python's headers (Debian: apt-get install gcc python3-dev)"; return 1; }
  apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev
}

# The dashboard is tested in a real browser.
chromium() {
  command -v chromium >/dev/null && return
  [ "$(id -u)" = 0 ] || { echo "install chromium (Debian: apt-get install chromium)"; return 1; }
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium
}

check format ruff format --check .
check lint ruff check .
check compiler compiler
# A cold mypy and a compilation take as long as they take: they have what the tests leave of the machine, and have ended before
# time is measured.
said=$(mktemp -d)
nice -n 19 mypy >"$said/types" 2>&1 &
mypy=$!
nice -n 19 python hatch_build.py >"$said/compile" 2>&1 &
compile=$!
trap 'kill "$mypy" "$compile" 2>/dev/null; rm -rf "$said"' EXIT
check layers lint-imports
check redis redis
check postgres postgres
check chromium chromium
check nginx nginx
check prometheus prometheus
# Tests are given out in small pieces: the slow ones are neighbours, and no process shall have them all.
check parallel tests "not serial" -n3 --maxschedchunk=60 "$@"
check types ended "$mypy" "$said/types"
check compile ended "$compile" "$said/compile"
# The same source, compiled: what reads bytes, carries calls and books them. `make nightly` runs all of the gateway's tests so.
((asked)) || PYTHONPATH=build/compiled check compiled tests "not serial" -n3 tests/simulation tests/test_compiled.py tests/dialects/test_relay* \
  tests/gateway/test_{bad_http,known_heads,plain_chunks,fuzz,upstream_http,failover,books,hedging,semantic_embeddings,drain}.py
check serial tests serial -n0 "$@"

((${#unsteady[@]})) && printf 'UNSTEADY, failed and then passed alone: %s\n' "${unsteady[@]}"

if ((${#failed[@]})); then
  echo "FAILED: ${failed[*]}"
  exit 1
fi
echo "all checks passed"
