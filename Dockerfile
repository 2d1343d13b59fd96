# The server and its client in a small image that runs without root.
#
#   docker build -t ropeway .
#   deploy/fetch_model.sh
#   docker run --rm --read-only --cap-drop all -p 127.0.0.1:50051:50051 -p 127.0.0.1:9464:9464 \
#     -v "$PWD/models:/models:ro" ropeway --model=/models/SmolLM2-135M-Instruct.Q4_1.gguf
#
# For NVIDIA GPUs: --build-arg CUDA=ON and a BASE whose apt knows NVIDIA's packages, as deploy/gpu.md has it; then
# docker run --gpus all.
#
# Settings are flags after the image's name, or environment variables (ROPEWAY_MODEL, ROPEWAY_MAX_RUNNING, ...).
ARG BASE=debian:bookworm-slim
ARG CUDA=OFF

FROM ${BASE} AS build
ARG CUDA
WORKDIR /src
COPY deploy/install_packages.sh deploy/
RUN deploy/install_packages.sh build $([ "$CUDA" != ON ] || echo cuda)
COPY . .
RUN cmake --preset release -DROPEWAY_BUILD_TESTS=OFF -DROPEWAY_CUDA="$CUDA" >/dev/null \
 && deploy/build.sh release ropeway_server ropeway $([ "$CUDA" != ON ] || echo ropeway_cuda) \
 && strip --strip-unneeded build/release/bin/*

FROM ${BASE}
ARG CUDA
COPY deploy/install_packages.sh /usr/local/share/ropeway/
RUN /usr/local/share/ropeway/install_packages.sh run $([ "$CUDA" != ON ] || echo cuda-run) \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/release/bin/ /usr/local/bin/
# Fails the build where a shared library is missing. The driver's comes with the container.
RUN ropeway_server --version && ropeway --help \
 && if [ "$CUDA" = ON ]; then ldd /usr/local/bin/libropeway_cuda.so && ! ldd /usr/local/bin/libropeway_cuda.so | grep "not found"; fi
USER 10001:10001
ENV ROPEWAY_LISTEN=0.0.0.0:50051 ROPEWAY_METRICS_LISTEN=0.0.0.0:9464
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["ropeway", "health", "--wait", "3"]
ENTRYPOINT ["ropeway_server"]
