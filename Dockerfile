# The server and its client in a small image that runs without root.
#
#   docker build -t ropeway .
#   deploy/fetch_model.sh
#   docker run --rm --read-only --cap-drop all -p 127.0.0.1:50051:50051 -p 127.0.0.1:9464:9464 \
#     -v "$PWD/models:/models:ro" ropeway --model=/models/SmolLM2-135M-Instruct.Q4_1.gguf
#
# Settings are flags after the image's name, or environment variables (ROPEWAY_MODEL, ROPEWAY_MAX_RUNNING, ...).
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
COPY deploy/install_packages.sh deploy/
RUN deploy/install_packages.sh build
COPY . .
RUN cmake --preset release -DROPEWAY_BUILD_TESTS=OFF \
 && cmake --build build/release --target ropeway_server ropeway \
 && strip build/release/bin/ropeway_server build/release/bin/ropeway

FROM ${BASE}
COPY deploy/install_packages.sh /usr/local/share/ropeway/
RUN /usr/local/share/ropeway/install_packages.sh run && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/release/bin/ropeway_server /src/build/release/bin/ropeway /usr/local/bin/
# Fails the build where a shared library is missing.
RUN ropeway_server --version && ropeway --help
USER 10001:10001
ENV ROPEWAY_LISTEN=0.0.0.0:50051 ROPEWAY_METRICS_LISTEN=0.0.0.0:9464
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["ropeway", "health", "--wait", "3"]
ENTRYPOINT ["ropeway_server"]
