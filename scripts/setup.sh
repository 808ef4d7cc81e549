#!/bin/sh
# Makes the environment in .venv: a virtual environment with the pinned versions of constraints.txt.
set -eu

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "stemjob needs Python 3.11 or newer; $PYTHON is $("$PYTHON" --version 2>&1). Set PYTHON=..." >&2
    exit 1
}
echo "Setting up .venv (once; torch with CUDA takes 6 GB of disk; TORCH=cpu takes much less) ..." >&2
if [ ! -x .venv/bin/python ]; then
    "$PYTHON" -m venv .venv || {
        echo "Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2
        rm -rf .venv
        exit 1
    }
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

# uv has settings of its own; whoever told pip about a mirror means it for this too.
mirror=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
mirror=${PIP_INDEX_URL:-$mirror}
if [ -n "$mirror" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX="$mirror"
fi
set -- --quiet --python .venv/bin/python --constraint constraints.txt
[ -z "$TORCH" ] || set -- "$@" --torch-backend "$TORCH"
.venv/bin/uv pip install "$@" --editable '.[api,runner,gcs,kubernetes,lambda]' --group dev
touch .venv/.ready
