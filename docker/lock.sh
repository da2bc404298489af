#!/bin/sh
# Writes down what the image installs, each file with its hash: docker/requirements.txt, and docker/build.txt for the build.
# Run it after a change of dependencies in pyproject.toml; a test compares.   pip install uv
set -eu
cd "$(dirname "$0")/.."
lock() { uv pip compile "$@" --quiet --upgrade --generate-hashes --python-version 3.11 --no-header --no-annotate; }
lock pyproject.toml --extra flower --extra otel --output-file docker/requirements.txt
lock docker/build.in --output-file docker/build.txt
