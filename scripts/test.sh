#!/bin/sh
# All tests. When programs of the testbed are missing and Go is there, they are built (10 minutes and more, once)
# while the tests run that don't need them. Without Go, those that need them skip and say so; with CI=true they fail.
set -eu
python=.venv/bin/python

if [ "${CI:-}" = true ] && [ "$(id -u)" = 0 ]; then
    $python -m tests.testbed.build --packages
fi
if $python -m tests.testbed.build --missing >/dev/null || ! command -v go >/dev/null; then
    exec $python -m pytest "$@"
fi
log=$(mktemp)
nice -n 5 $python -m tests.testbed.build >"$log" 2>&1 &
build=$!
trap 'kill "$build" 2>/dev/null || true; rm -f "$log"' EXIT
echo "Building the testbed's programs meanwhile (once) ..."
$python -m pytest -m "not testbed" "$@"
wait "$build" || { cat "$log"; exit 1; }
$python -m pytest -m testbed "$@"
