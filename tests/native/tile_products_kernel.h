#include "common/vector.h"
#include "common/rows.h"
#include "common/parts.h"
#include "common/gemm.h"
#include "common/pack.h"

inline void product(const float* a, const float* w, const float* start, int64_t rows, int64_t n, int64_t k, float* c) {
#if ADAIR_HAS_BF16
  const int64_t depth = round_up(k, kWidth), columns = round_up(n, kWidth);
  Scratch scratch(Scratch::bytes<bfloat16>(rows * depth) + Scratch::bytes<bfloat16>(packed_size<bfloat16>(columns, depth)) +
                  Scratch::bytes<float>(columns));
  bfloat16* operand = scratch.take<bfloat16>(rows * depth);
  bfloat16* packed = scratch.take<bfloat16>(packed_size<bfloat16>(columns, depth));
  float* begin = scratch.take<float>(columns);
  for (int64_t i = 0; i < rows * depth; ++i) {
    const int64_t row = i / depth, column = i % depth;
    from_float(column < k ? a[row * k + column] : 0.0f, operand + i);
  }
  for (int64_t i = 0; i < columns; ++i) begin[i] = start != nullptr && i < n ? start[i] : 0.0f;
  pack<bfloat16>(Matrix::plain(w, Parts(1, n), Parts(1, k)), packed, kSerial);
  multiply(operand, depth, rows, packed, columns, depth, start == nullptr ? nullptr : begin, c, columns);
#else
  (void)a, (void)w, (void)start, (void)rows, (void)n, (void)k, (void)c;
#endif
}
