#include "common/vector.h"
#include "common/gemm.h"

inline void product(const float* a, const float* w, const float* start, int64_t rows, int64_t n, int64_t k, float* c) {
#if ADAIR_HAS_BF16
  const int64_t depth = round_up(k, 2), columns = round_up(n, kWidth);
  Scratch scratch(Scratch::bytes<bfloat16>(rows * depth) + Scratch::bytes<bfloat16>(packed_size<bfloat16>(n, k)) +
                  Scratch::bytes<float>(columns));
  bfloat16* operand = scratch.take<bfloat16>(rows * depth);
  bfloat16* packed = scratch.take<bfloat16>(packed_size<bfloat16>(n, k));
  float* begin = scratch.take<float>(columns);
  for (int64_t i = 0; i < rows * depth; ++i) {
    const int64_t row = i / depth, column = i % depth;
    from_float(column < k ? a[row * k + column] : 0.0f, operand + i);
  }
  for (int64_t i = 0; i < columns; ++i) begin[i] = start != nullptr && i < n ? start[i] : 0.0f;
  pack<bfloat16>([&](int64_t i, int64_t j) { return i < n && j < k ? w[i * k + j] : 0.0f; }, n, k, packed);
  multiply(operand, depth, rows, packed, n, k, start == nullptr ? nullptr : begin, c, columns);
#else
  (void)a, (void)w, (void)start, (void)rows, (void)n, (void)k, (void)c;
#endif
}
