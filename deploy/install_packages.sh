#!/usr/bin/env bash
# Installs the Debian packages that are missing, as root or by sudo. Quiet where nothing is.
#
# Usage: deploy/install_packages.sh [GROUP...]
#   groups: build (default), run, clang, test, container, cuda, cuda-run
set -euo pipefail

BUILD=(g++ cmake ninja-build ccache pkg-config ca-certificates git python3 python3-pip
       libabsl-dev libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
       prometheus-cpp-dev nlohmann-json3-dev libcli11-dev libpcre2-dev libutf8proc-dev
       libcurl4-openssl-dev libssl-dev libgtest-dev libgmock-dev libbenchmark-dev)
# What the programs need at run time: the shared libraries of the above.
RUN=(ca-certificates libgrpc++1.51 libprotobuf32 libabsl20220623 libprometheus-cpp-core1.0
     libpcre2-8-0 libutf8proc2 libcurl4 libssl3)
CLANG=(clang clang-tidy clang-format libclang-rt-14-dev)
# The CUDA toolkit is in no Debian release: apt must know NVIDIA's packages (deploy/gpu.md).
CUDA=(cuda-nvcc-13-0 cuda-cudart-dev-13-0 libcublas-dev-13-0 libnccl-dev)
CUDA_RUN=(libcublas-13-0 libnccl2)
# What tests/deploy run beside the server.
TEST=(prometheus)
CONTAINER=(podman runc mmdebstrap)

die() { echo "install_packages.sh: $*" >&2; exit 1; }

packages=()
for group in "${@:-build}"; do
  case "$group" in
    build) packages+=("${BUILD[@]}") ;;
    run) packages+=("${RUN[@]}") ;;
    clang) packages+=("${CLANG[@]}") ;;
    cuda) packages+=("${CUDA[@]}") ;;
    cuda-run) packages+=("${CUDA_RUN[@]}") ;;
    test) packages+=("${TEST[@]}") ;;
    container) packages+=("${CONTAINER[@]}") ;;
    *) die "unknown group '$group': give build, run, clang, test, container, cuda or cuda-run" ;;
  esac
done

command -v dpkg-query >/dev/null || die "this machine has no dpkg; install by hand: ${packages[*]}"
missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || die "run as root, or install these first: ${missing[*]}"
  as_root=(sudo)
fi
log=$(mktemp --suffix .apt.log)
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q "$@" >"$log" 2>&1 ||
    die "apt-get $1 failed (is the network there? $log has its whole output): $(grep '^E:' "$log" | tail -n 1)"
}
echo "installing ${#missing[@]} packages: ${missing[*]}"
apt update
apt install -y --no-install-recommends "${missing[@]}"
rm -f "$log"
