# One image for steps, attempts, beat and flower; docker-compose.yml says which and checks their health.
# Your own functions: `FROM celery-reconciler:local`, install or copy them, name them in RECONCILER_IMPORTS, and let the build
# check that they can be imported, as below: `RUN reconciler doctor --imports`.
#
# What is built today is built tomorrow: the base has its digest, each package its hash (docker/lock.sh renews them).

ARG PYTHON=python:3.11-slim@sha256:9c900dea9e8fb7e16277c179b555cc72d29a352dbc33cff48ad5a0412fd5bfc7

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv && python -m venv /opt/build
WORKDIR /src
COPY docker/build.txt docker/requirements.txt docker/
RUN /opt/build/bin/pip install --require-hashes -r docker/build.txt \
    && /opt/venv/bin/pip install --require-hashes -r docker/requirements.txt
COPY pyproject.toml README.md LICENSE beat_schedule.py ./
COPY reconciler reconciler
COPY worker worker
COPY deploy deploy
# No other package comes in here, and none may be missing: `pip check` fails now, not the first start.
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/venv/bin/pip install --no-deps --no-index /tmp/wheel/*.whl \
    && /opt/venv/bin/pip check \
    && /opt/venv/bin/python -c "import reconciler.wiring"

FROM ${PYTHON}
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --create-home --shell /usr/sbin/nologin reconciler
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY examples examples
USER reconciler
ARG RECONCILER_IMPORTS=examples
RUN reconciler doctor --imports
CMD ["reconciler", "--help"]
