# The image of every process: orchestrator and reference participants. Two stages; nothing that builds is in the second.
FROM python:3.11-slim-bookworm AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src
RUN python -m venv /tools \
    && /tools/bin/pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
    && python -m venv --without-pip /opt/ordersaga \
    && /tools/bin/pip --python /opt/ordersaga/bin/python install --no-cache-dir --constraint constraints.txt /wheels/*.whl

FROM python:3.11-slim-bookworm
# The base's own installer goes; what runs is a user of its own without a home, a shell or anything that it may write to.
RUN rm -rf /usr/local/lib/python3.11/site-packages /usr/local/lib/python3.11/ensurepip /usr/local/bin/pip* \
    && groupadd --gid 10001 ordersaga \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ordersaga
COPY --from=build /opt/ordersaga /opt/ordersaga
ENV PATH=/opt/ordersaga/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORDERSAGA_HTTP_HOST=0.0.0.0 \
    ORDERSAGA_LOG_FORMAT=json
USER 10001:10001
EXPOSE 8080 8090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
    CMD ["ordersaga", "healthcheck", "http://127.0.0.1:8080/livez"]
ENTRYPOINT ["ordersaga"]
CMD ["serve"]
