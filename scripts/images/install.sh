#!/bin/sh
# Installs /versions/requirements.txt in /opt/stemjob, without what only a developer needs: install.sh [cpu|cuda]
set -eu
torch=${1:-}

[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"
set -- --quiet --no-cache --system-certs --python /opt/stemjob/bin/python --requirement /versions/requirements.txt
[ "$torch" != cpu ] || set -- "$@" --torch-backend cpu
python3 -m venv --without-pip /opt/stemjob
/versions/uv pip install --no-deps "$@"
/opt/stemjob/bin/python /build/slim.py
if [ -n "$torch" ]; then
    /opt/stemjob/bin/python -B /build/torch_kind.py "$torch"
fi
/opt/stemjob/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/stemjob/lib || true
