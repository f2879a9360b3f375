# docker build -t echoserver . && docker run --rm -p 9000:9000 echoserver

FROM python:3.14-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY echoserver echoserver
COPY client client
# Build tools stay in this stage; the next one gets only the installed files.
RUN python -m pip install --no-cache-dir --prefix=/installed '.[admin]'

FROM python:3.14-slim
LABEL org.opencontainers.image.title="echoserver" \
      org.opencontainers.image.description="A multithreaded TCP echo server with pluggable handlers" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /installed /usr/local
COPY config/docker.toml /etc/echoserver.toml
# Read by the server and by the health check, so that both use the same port.
ENV ECHOSERVER_CONFIG=/etc/echoserver.toml
# Mount your own handler here and name it as module:attribute.
WORKDIR /srv
# By number, so that an orchestrator can tell it isn't root. The server writes no files: --read-only works.
USER 65532:65532
EXPOSE 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["echoserver", "healthcheck"]
# The first process of a container loses any signal that arrives before it has a handler for it (pid_namespaces(7)), and
# an interpreter takes a while to load. Blocked signals wait (env(1)), so a `docker stop` right after the start works.
ENTRYPOINT ["env", "--block-signal=TERM,INT,HUP,USR1", "echoserver"]
CMD ["serve"]
