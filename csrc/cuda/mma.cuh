// The matrix instructions of tensor cores: a warp adds the product of a 16 x k and a k x 8 matrix to a 16 x 8 matrix of
// float32 sums. Nothing else in csrc knows how fragments lie in registers.
#pragma once

#include "cuda/numbers.cuh"

#ifndef __CUDACC__
#include "mma_emulation.h"
#endif

namespace adair {

template <class T>
struct MatrixInstruction;

#ifdef __CUDACC__
#define ADAIR_MATRIX_INSTRUCTION(T, instruction)                                                        \
  template <>                                                                                           \
  struct MatrixInstruction<T> {                                                                         \
    ADAIR_DEVICE static void run(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {    \
      asm(instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                \
          : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])                                  \
          : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                          \
    }                                                                                                   \
  }
ADAIR_MATRIX_INSTRUCTION(__nv_bfloat16, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32");
ADAIR_MATRIX_INSTRUCTION(__half, "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32");
ADAIR_MATRIX_INSTRUCTION(float, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32");
#undef ADAIR_MATRIX_INSTRUCTION
#else
template <class T>
struct MatrixInstruction {
  static void run(float (&sums)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    emulation::multiply<T>(EMULATION_SITE("mma.sync"), sums, a, b);
  }
};
#endif

// The nearest number with the eleven significant bits of tf32, in the bits of a float; in doubt the larger one.
ADAIR_DEVICE uint32_t to_tf32(float value) {
#ifdef __CUDACC__
  uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(value));
  return bits;
#else
  const uint32_t bits = emulation::bits_of(value);
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & 0xffffe000u;
#endif
}

ADAIR_DEVICE float float_of(uint32_t bits) {
#ifdef __CUDACC__
  return __uint_as_float(bits);
#else
  return emulation::from_bits(bits);
#endif
}

}  // namespace adair
