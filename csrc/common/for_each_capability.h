// Compiles one file of kernels for every instruction set, each time in a namespace of its own:
//
//   #define ADAIR_KERNELS "layer_norm2d/cpu_kernel.h"
//   #include "common/for_each_capability.h"
//
//   ADAIR_DISPATCH(layer_norm2d_rows)(arguments...);   // calls the one for this machine
//
// The file is included in namespace adair::<level>::{anonymous}; it sees ADAIR_VECTOR (floats in a vector register),
// ADAIR_REGISTERS (vector registers), ADAIR_HAS_BF16 and ADAIR_HAS_TILES, and must include nothing but other such
// files. Target attributes rather than compiler flags choose the instructions: the standard library's inline functions
// are compiled once, for the baseline, and cannot end up in the program in a version that the machine does not run.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include "common/blocks.h"
#include "common/capability.h"
#include "common/numbers.h"
#include "common/parallel.h"
#include "common/per_image.h"
#include "common/scratch.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define ADAIR_HAS_TILES 0
#define ADAIR_CAPABILITY baseline
#define ADAIR_VECTOR 4
#define ADAIR_REGISTERS 16
#define ADAIR_HAS_BF16 0
namespace adair::ADAIR_CAPABILITY {
namespace {
#include ADAIR_KERNELS
}
}  // namespace adair::ADAIR_CAPABILITY
#undef ADAIR_CAPABILITY
#undef ADAIR_VECTOR
#undef ADAIR_REGISTERS
#undef ADAIR_HAS_BF16

#if defined(__x86_64__)

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define ADAIR_CAPABILITY avx2
#define ADAIR_VECTOR 8
#define ADAIR_REGISTERS 16
#define ADAIR_HAS_BF16 0
namespace adair::ADAIR_CAPABILITY {
namespace {
#include ADAIR_KERNELS
}
}  // namespace adair::ADAIR_CAPABILITY
#undef ADAIR_CAPABILITY
#undef ADAIR_VECTOR
#undef ADAIR_REGISTERS
#undef ADAIR_HAS_BF16
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")
#endif
#define ADAIR_CAPABILITY avx512
#define ADAIR_VECTOR 16
#define ADAIR_REGISTERS 32
#define ADAIR_HAS_BF16 0
namespace adair::ADAIR_CAPABILITY {
namespace {
#include ADAIR_KERNELS
}
}  // namespace adair::ADAIR_CAPABILITY
#undef ADAIR_CAPABILITY
#undef ADAIR_HAS_BF16
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx2,fma,prefer-vector-width=512")
#endif
#define ADAIR_CAPABILITY avx512_bf16
#define ADAIR_HAS_BF16 1
namespace adair::ADAIR_CAPABILITY {
namespace {
#include ADAIR_KERNELS
}
}  // namespace adair::ADAIR_CAPABILITY
#undef ADAIR_CAPABILITY
#undef ADAIR_HAS_TILES
#if !ADAIR_EMULATE_AMX
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16,avx2,fma"))), \
    apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16,avx2,fma,prefer-vector-width=512")
#endif
#endif
#define ADAIR_CAPABILITY amx_bf16
#define ADAIR_HAS_TILES 1
namespace adair::ADAIR_CAPABILITY {
namespace {
#include ADAIR_KERNELS
}
}  // namespace adair::ADAIR_CAPABILITY
#undef ADAIR_CAPABILITY
#undef ADAIR_VECTOR
#undef ADAIR_REGISTERS
#undef ADAIR_HAS_BF16
#undef ADAIR_HAS_TILES
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#define ADAIR_DISPATCH(function)                                          \
  (::adair::select_kernel(::adair::baseline::function, ::adair::avx2::function, ::adair::avx512::function, \
                          ::adair::avx512_bf16::function, ::adair::amx_bf16::function))

namespace adair {
template <class Function>
inline Function* select_kernel(Function* baseline, Function* avx2, Function* avx512, Function* avx512_bf16,
                               Function* amx_bf16) {
  switch (cpu_capability()) {
    case Capability::amx_bf16:
      return amx_bf16;
    case Capability::avx512_bf16:
      return avx512_bf16;
    case Capability::avx512:
      return avx512;
    case Capability::avx2:
      return avx2;
    default:
      return baseline;
  }
}
}  // namespace adair

#else

#define ADAIR_DISPATCH(function) (::adair::baseline::function)

#endif

#undef ADAIR_KERNELS
