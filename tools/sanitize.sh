#!/usr/bin/env bash
# The native kernels under AddressSanitizer and UndefinedBehaviorSanitizer: builds them in build/sanitize and runs
# the tests of the operators there, at each instruction set of this machine; then the emulated CUDA kernels. These runs
# are independent of each other, and go side by side.
#
#   tools/sanitize.sh [pytest arguments]
#
# PYTHON is the interpreter (default .venv/bin/python), CXX a GCC, SANITIZE_JOBS how many runs go at once (default: the
# number of cores), SANITIZE_ONLY those that are wanted, of baseline, avx2, avx512, avx512_bf16, amx_bf16 and emulation.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
export CXX=${CXX:-g++}
runtime=$($CXX -print-file-name=libasan.so)
test -e "$runtime" || { echo "sanitize: $CXX has no libasan.so" >&2; exit 1; }
folder=$root/build/sanitize
mkdir -p "$folder/package"

# -O1: at higher levels the instrumented kernels take minutes to compile. -g1: reports name files and lines, no more.
sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=undefined"
ADAIR_BUILD=cpu ADAIR_WERROR=0 CFLAGS="-O1 -g1 -fno-omit-frame-pointer $sanitizers ${CFLAGS:-}" LDFLAGS="$sanitizers ${LDFLAGS:-}" \
  "$python" setup.py --quiet build_ext --build-lib "$folder/package" --build-temp "$folder/build"
find "$folder/package" -name '*.py' -delete
find adair_core -name '*.py' -exec cp --parents {} "$folder/package" \;

# Python and PyTorch keep memory until the end, and allocate in one library what another one frees.
export ASAN_OPTIONS=detect_leaks=0:alloc_dealloc_mismatch=0:new_delete_type_mismatch=0
export UBSAN_OPTIONS=print_stacktrace=1
preload="$runtime $($CXX -print-file-name=libstdc++.so)"
export folder root python preload

instrumented() { LD_PRELOAD=$preload "$python" "$@"; }

# Two threads, so that sharing the work out is tested too; they sleep while they wait, as there are other runs.
at_level() {
  export ADAIR_CPU_CAPABILITY=$1 PYTHONPATH=$folder/package OMP_NUM_THREADS=2 OMP_WAIT_POLICY=passive
  # In that folder, as Python would look into the source folder first. The program is what the test of every instruction
  # set starts for each of them; all would be tested again at each level. Nor those tests that start compilers, nor
  # float64, which is the references'.
  cd "$folder/package" &&
    instrumented "$root/tests/ops/native_checks.py" &&
    instrumented -m pytest -q -p no:cacheprovider -c "$root/pyproject.toml" "$root/tests/ops" \
      -k "not compiles and not native_library and not gradcheck and not opcheck and not every_instruction_set" "${@:2}"
}

emulation() {
  # One dtype: what another changes is values, not where accesses go, but for vectors, which are longer.
  ADAIR_EMULATION_SANITIZE=1 OMP_NUM_THREADS=1 instrumented -m pytest -q -p no:cacheprovider tests/emulation \
    -k "bfloat16 or runner" "$@"
}

# What a run prints comes when it ends, in one piece.
run() {
  local status=0
  (if test "$1" = emulation; then emulation "${@:2}"; else at_level "$@"; fi) >"$folder/$1.log" 2>&1 || status=$?
  echo "sanitize: $1"
  cat "$folder/$1.log"
  return $status
}
export -f instrumented at_level emulation run

found=$(PYTHONPATH=$folder/package OMP_NUM_THREADS=1 bash -c 'cd "$folder/package" && instrumented -c \
  "from adair_core.ops.native import library; print(library().path, library().capability)"')
case $found in
  "$folder"/*) highest=${found##* } ;;
  *) echo "sanitize: the instrumented library is not the one that is used, but: $found" >&2; exit 1 ;;
esac
runs=emulation
for level in baseline avx2 avx512 avx512_bf16 amx_bf16; do
  runs+=" $level"
  test "$level" != "$highest" || break
done
tr ' ' '\n' <<<"${SANITIZE_ONLY:-$runs}" | xargs -P "${SANITIZE_JOBS:-$(nproc)}" -I{} bash -c 'run "$@"' run {} "$@"
