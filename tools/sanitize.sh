#!/usr/bin/env bash
# The native kernels under AddressSanitizer and UndefinedBehaviorSanitizer: builds them into a temporary folder and runs
# the tests of the operators there, at each instruction set of this machine; then the emulated CUDA kernels.
#
#   tools/sanitize.sh [pytest arguments]      PYTHON is the interpreter (default .venv/bin/python), CXX a GCC
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
export CXX=${CXX:-g++}
runtime=$($CXX -print-file-name=libasan.so)
test -e "$runtime" || { echo "sanitize: $CXX has no libasan.so" >&2; exit 1; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# -O1: at higher levels the instrumented kernels take minutes to compile.
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
ADAIR_BUILD=cpu ADAIR_WERROR=0 CFLAGS="-O1 -g -fno-omit-frame-pointer $sanitizers ${CFLAGS:-}" LDFLAGS="$sanitizers ${LDFLAGS:-}" \
  "$python" setup.py --quiet build_ext --build-lib "$folder/package" --build-temp "$folder/build"
find adair_core -name '*.py' -exec cp --parents {} "$folder/package" \;

# Python and PyTorch keep memory until the end, and allocate in one library what another one frees.
export ASAN_OPTIONS=detect_leaks=0:alloc_dealloc_mismatch=0:new_delete_type_mismatch=0
export UBSAN_OPTIONS=print_stacktrace=1
# Two threads, so that sharing the work out is tested too.
export PYTHONPATH=$folder/package OMP_NUM_THREADS=2
cd "$folder/package"  # Python would look into the source folder first
export LD_PRELOAD="$runtime $($CXX -print-file-name=libstdc++.so)"

found=$("$python" -c 'from adair_core.ops.native import library; print(library().path, library().capability)')
case $found in
  "$folder"/*) highest=${found##* } ;;
  *) echo "sanitize: the instrumented library is not the one that is used, but: $found" >&2; exit 1 ;;
esac
for level in baseline avx2 avx512 avx512_bf16 amx_bf16; do
  echo "sanitize: $level"
  # Not those that start compilers and other programs, nor float64, which is the references'.
  ADAIR_CPU_CAPABILITY=$level "$python" -m pytest -q -p no:cacheprovider -c "$root/pyproject.toml" "$root/tests/ops" \
    -k "not compiles and not native_library and not gradcheck and not opcheck" "$@"
  test "$level" != "$highest" || break
done
echo "sanitize: emulated CUDA kernels"
cd "$root"
# One dtype: what another changes is values, not where accesses go, but for vectors, which are longer.
OMP_NUM_THREADS=1 ADAIR_EMULATION_SANITIZE=1 "$python" -m pytest -q -p no:cacheprovider tests/emulation \
  -k "bfloat16 or runner" "$@"
