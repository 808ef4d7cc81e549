#!/bin/sh
# Writes the exact versions of some extras, and the program that installs them: resolve.sh EXTRA,... [cpu|cuda]
#
# A step of its own, whose outcome is the same bytes as long as no version changes: so an edit of pyproject.toml
# that changes no dependency costs no new installation.
set -eu
extras=$1
torch=${2:-}

python3 -m venv /opt/uv
/opt/uv/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check --constraint constraints.txt uv

set -- --quiet --no-cache --system-certs --python /opt/uv/bin/python --constraint constraints.txt --no-header --no-annotate
for extra in $(echo "$extras" | tr ',' ' '); do
    set -- "$@" --extra "$extra"
done
case $torch in
"" | cuda) ;;
cpu) set -- "$@" --torch-backend cpu ;;
*)
    echo "TORCH is '$torch', but it is cuda or cpu." >&2
    exit 1
    ;;
esac
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="$PIP_INDEX_URL"

mkdir /versions
/opt/uv/bin/uv pip compile "$@" pyproject.toml --output-file /versions/requirements.txt >/dev/null
cp /opt/uv/bin/uv /versions/uv
touch -d @0 /versions/uv /versions/requirements.txt /versions # a time is part of what the next stage's cache compares
