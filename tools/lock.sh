#!/usr/bin/env bash
# lock.sh: choose the versions of all dependencies again and write them, with hashes, to requirements*.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(.venv/bin/uv pip compile pyproject.toml --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url --python-version 3.11)
"${compile[@]}" --extra build -o requirements.lock
"${compile[@]}" --extra build --extra dev -o requirements-dev.lock
