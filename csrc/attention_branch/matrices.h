// The small matrices of attention across channels: one head of one image at a time, in float32, padded with zeros to
// whole vectors. Included once for each instruction set.

constexpr float kShortest = 1e-12f;  // of q and k: shorter ones count as this long

// attention = softmax(t S) over the columns; S has `size` rows of `size` cosines.
inline void attention_of(const float* cosines, float temperature, const Parts& heads, float* attention) {
  const int64_t size = heads.size, padded = heads.padded_size;
  std::memset(attention, 0, padded * padded * sizeof(float));
  for (int64_t i = 0; i < size; ++i) {
    float* row = attention + i * padded;
    float largest = temperature * cosines[i * size];
    for (int64_t j = 0; j < size; ++j) {
      row[j] = temperature * cosines[i * size + j];
      largest = row[j] > largest ? row[j] : largest;
    }
    float total = 0.0f;
    for (int64_t j = 0; j < size; j += kWidth) {
      const vec exponent = load(row + j) - splat(largest);
      const vec value = exponent != exponent ? exponent : exp_of_negative(exponent);
      write(row + j, value, size - j);
      total += sum(read(row + j, size - j));
    }
    for (int64_t j = 0; j < size; ++j) row[j] /= total;
  }
}

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

// The matrix of one head, as it is packed for products with its transpose.
inline Matrix head_matrix(const float* values, const Parts& heads) {
  const Parts side(1, heads.padded_size);
  return Matrix::plain(values, side, side);
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
