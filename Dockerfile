# One image for steps, attempts, beat and flower; docker-compose.yml says which and checks their health.
# Your own functions: `FROM celery-reconciler:local`, install or copy them, and name them in RECONCILER_IMPORTS.

FROM python:3.11-slim AS build
RUN python -m venv /opt/venv
WORKDIR /src
COPY pyproject.toml README.md LICENSE beat_schedule.py ./
COPY reconciler reconciler
COPY worker worker
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check ".[flower]" \
    && /opt/venv/bin/python -c "import reconciler.wiring" # a missing dependency fails here, not at the first start

FROM python:3.11-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --create-home --shell /usr/sbin/nologin reconciler
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY examples examples
USER reconciler
CMD ["reconciler", "--help"]
