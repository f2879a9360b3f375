# docker build -t echoserver . && docker run --rm -p 9000:9000 echoserver

FROM python:3.14-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY echoserver echoserver
COPY client client
# Whatever building takes stays in this stage: the next one gets the installed files alone.
RUN python -m pip install --no-cache-dir --prefix=/installed .

FROM python:3.14-slim
LABEL org.opencontainers.image.title="echoserver" \
      org.opencontainers.image.description="A multithreaded TCP echo server with pluggable handlers" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /installed /usr/local
COPY config/docker.toml /etc/echoserver.toml
# Read by the server and by the health check alike, so that both speak of the same port.
ENV ECHOSERVER_CONFIG=/etc/echoserver.toml
# Where a handler of your own is mounted, to be named as module:attribute.
WORKDIR /srv
# By number, so that an orchestrator can see that it isn't root. Nothing is written: --read-only works.
USER 65532:65532
EXPOSE 9000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["echoserver", "healthcheck"]
# The first process of a container loses the signals that come before it has handlers for them (pid_namespaces(7)), and
# loading an interpreter takes a while. Blocked ones wait (env(1)): a `docker stop` right after the start is heard too.
ENTRYPOINT ["env", "--block-signal=TERM,INT,USR1", "echoserver"]
CMD ["serve"]
