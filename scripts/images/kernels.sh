#!/bin/sh
# Compiles the kernels in ./kernels with the compiler that pyproject.toml asks for.
set -eu
compiler=$(sed -n '/^\[build-system\]/,/^\[project\]/s/.*"\(ziglang==[^"]*\)".*/\1/p' pyproject.toml)
python3 -m venv /opt/compiler
/opt/compiler/bin/python -m pip install --quiet --no-cache-dir --disable-pip-version-check "$compiler"
/opt/compiler/bin/python -B kernels/build.py
touch -d @0 kernels/*.so # a time is part of what the next stage's cache compares
