// The attention folded into the output convolution, in float32 and with the channels of each head padded. Included once
// for each instruction set.

// The output convolution's weights, rounded to T, with the channels of each head padded: (channels, heads.padded()).
template <class T>
inline void padded_out_weight(const AttentionBranch<T>& a, const Parts& heads, float* to) {
  const int64_t rows = a.expansion.channels * heads.count;
  std::memset(to, 0, rows * heads.padded_size * sizeof(float));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < heads.size; ++i) {
      to[row * heads.padded_size + i] = rounded<T>(a.out_weight[row * heads.size + i]);
    }
  }
}

// The columns of one head of W_o A, the attention folded into the output convolution: (channels, heads.padded()).
// `packed` is working memory of a packed head.
inline void fold_attention(const float* out_weight, const float* attention, int64_t channels, const Parts& heads,
                           int64_t head, float* packed, float* folded) {
  const int64_t padded = heads.padded_size, first = head * padded;
  pack<float>(head_matrix(attention, heads).transposed(), packed, kSerial);
  multiply(out_weight + first, heads.padded(), channels, packed, padded, padded, nullptr, folded + first,
           heads.padded());
}
