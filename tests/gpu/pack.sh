#!/usr/bin/env bash
# Packs what check.sh needs on a machine that has a GPU and its driver, and no packages and no compiler: programs built for
# that GPU, the libraries they need, golden files.
#
# Usage: tests/gpu/pack.sh [ARCHITECTURE]    (compute capability times ten; default 90, H100 and H200)
#
# Prints the name of the file. There: tar -xf FILE && ropeway-gpu/check.sh [--model FILE]
set -euo pipefail
cd "$(dirname "$0")/../.."

die() { echo "pack.sh: $*" >&2; exit 1; }
readonly MOST_BYTES=$((25 << 20))
architecture=${1:-90}
[[ "$architecture" =~ ^[0-9]+$ ]] || die "ARCHITECTURE must be a number such as 80, 90 or 120, is '$architecture'"
build=build/gpu-$architecture
out=$build/ropeway-gpu
programs=(ropeway_server ropeway cuda_bench engine_bench executors_test kernels_cuda_device_test)

log=build/gpu-$architecture.log
mkdir -p build
echo "building for $architecture; $log has the output" >&2
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=true LANG=C.UTF-8
{ cmake --preset release -B "$build" -DROPEWAY_CUDA=ON -DROPEWAY_CUDA_ARCHITECTURES="$architecture-real" \
    -DROPEWAY_BUILD_BENCHMARKS=ON &&
    cmake --build "$build" --parallel "$(nproc)" --target "${programs[@]}" ropeway_cuda cuda_timeline; } >"$log" 2>&1 ||
  { tail -n 40 "$log" >&2; die "the build failed"; }

rm -rf "$out"
mkdir -p "$out/bin" "$out/lib" "$out/tests/golden/models" "$out/tools"
for program in "${programs[@]}"; do
  strip -o "$out/bin/$program" "$(find "$build" -type f -name "$program" -executable | head -n 1)"
done
strip -o "$out/bin/libropeway_cuda.so" "$(find "$build" -type f -name libropeway_cuda.so | head -n 1)"
strip -o "$out/lib/libcuda_timeline.so" "$(find "$build" -type f -name libcuda_timeline.so | head -n 1)"
# All but the C library, what comes with the compiler, and CUDA's own, which are those of the machine.
export THEIRS='^(libc|libm|libmvec|libdl|librt|libpthread|libresolv|libutil|libstdc\+\+|libgcc_s|libcublas.*|libnccl|libcuda.*)\.so'
for program in "${programs[@]}"; do ldd "$out/bin/$program"; done |
  awk '$3 ~ /^\// && $1 !~ ENVIRON["THEIRS"] {print $3}' | sort -u | xargs -r cp -L --target-directory="$out/lib"
cp -r tests/golden/models/{tiny,smollm2} "$out/tests/golden/models"
cp -r tests/golden/positions "$out/tests/golden"
cp tests/gpu/{check.sh,goals.txt} "$out"
cp tests/tools/{random_gguf.py,gguf_tensors.py} "$out/tools"
git describe --always --dirty >"$out/COMMIT"

file=$build/ropeway-gpu-$architecture.tar.xz
# A dictionary of all that is packed: the tests hold the same kernels as the library, once more.
tar -C "$build" -c ropeway-gpu | xz --lzma2=preset=9e,dict=192MiB >"$file"
bytes=$(stat -c %s "$file")
[ "$bytes" -le "$MOST_BYTES" ] || die "$file may have $MOST_BYTES bytes, has $bytes"
echo "$file: $((bytes >> 10)) KiB" >&2
echo "$file"
