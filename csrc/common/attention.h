// Attention across channels from the products and lengths of q and k, and its gradient: small matrices, one head of one
// image at a time, in float32 and padded with zeros to whole vectors. Included once for each instruction set.

constexpr float kShortest = 1e-12f;  // of q and k: shorter ones count as this long

// Sums over pixels of one image: for each head q^T k, then the squares of q and of k.
struct AngleSums {
  static int64_t products(const Parts& heads) { return heads.padded() * heads.padded_size; }
  static int64_t count(const Parts& heads) { return products(heads) + 2 * heads.padded(); }
};

// One head of one image.
struct Angles {
  float temperature;
  float* cosines;               // (size, size): of the angles between q and k
  float *q_lengths, *k_lengths;  // at least kShortest
};

// From the arguments of a kernel, whose cosines are (images, heads, size, size) and lengths (2, images, heads, size).
template <class Arguments>
inline Angles angles_of(const Arguments& a, const Parts& heads, int64_t images, int64_t image, int64_t head) {
  const int64_t index = image * heads.count + head, size = heads.size;
  return {a.temperature[head], a.cosines + index * size * size, a.lengths + index * size,
          a.lengths + (images * heads.count + index) * size};
}

// Cosines and lengths of one head from the sums of the `blocks` of its image.
inline void measure_angles(const Angles& angles, const Parts& heads, int64_t head, const float* sums, int64_t blocks) {
  const int64_t size = heads.size, padded = heads.padded_size, stride = AngleSums::count(heads);
  auto total = [&](int64_t at) {
    float value = sums[at];
    for (int64_t block = 1; block < blocks; ++block) value += sums[block * stride + at];
    return value;
  };
  float* const lengths[2] = {angles.q_lengths, angles.k_lengths};
  for (int64_t kind = 0; kind < 2; ++kind) {
    for (int64_t i = 0; i < size; ++i) {
      const int64_t at = AngleSums::products(heads) + kind * heads.padded() + head * padded + i;
      const float length = __builtin_sqrtf(total(at));
      lengths[kind][i] = length < kShortest ? kShortest : length;
    }
  }
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < size; ++j) {
      angles.cosines[i * size + j] = total((head * padded + i) * padded + j) / (lengths[0][i] * lengths[1][j]);
    }
  }
}

// attention = softmax(t S) over the columns; both are of one head.
inline void attention_of(const Angles& angles, const Parts& heads, float* attention) {
  const int64_t size = heads.size, padded = heads.padded_size;
  std::memset(attention, 0, padded * padded * sizeof(float));
  for (int64_t i = 0; i < size; ++i) {
    float* row = attention + i * padded;
    float largest = angles.temperature * angles.cosines[i * size];
    for (int64_t j = 0; j < size; ++j) {
      row[j] = angles.temperature * angles.cosines[i * size + j];
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

// From the gradient dA of the attention A, both padded, with S the cosines and t the temperature:
//   dP = A (dA - rowsum(dA A)),  dS = t dP,  K = diag(1/|q|) dS diag(1/|k|)
//   r_q = rowsum(dS S) / |q|^2,  r_k = colsum(dS S) / |k|^2, zero where the length is the shortest
// `mixing` becomes K and is padded, as are r_q and r_k. Returns sum(dP S), the temperature's gradient.
inline float differentiate_attention(const Angles& angles, const Parts& heads, const float* attention,
                                     const float* gradient, float* mixing, float* q_radial, float* k_radial) {
  const int64_t size = heads.size, padded = heads.padded_size;
  const float *q_length = angles.q_lengths, *k_length = angles.k_lengths;
  std::memset(mixing, 0, padded * padded * sizeof(float));
  for (int64_t i = 0; i < padded; ++i) q_radial[i] = k_radial[i] = 0.0f;
  float to_temperature = 0.0f;
  for (int64_t i = 0; i < size; ++i) {
    float mean = 0.0f;
    for (int64_t j = 0; j < size; ++j) mean += gradient[i * padded + j] * attention[i * padded + j];
    for (int64_t j = 0; j < size; ++j) {
      const float to_scaled = attention[i * padded + j] * (gradient[i * padded + j] - mean);
      const float to_cosine = angles.temperature * to_scaled, cosine = angles.cosines[i * size + j];
      to_temperature += to_scaled * cosine;
      mixing[i * padded + j] = to_cosine / (q_length[i] * k_length[j]);
      q_radial[i] += to_cosine * cosine;
      k_radial[j] += to_cosine * cosine;
    }
  }
  for (int64_t i = 0; i < size; ++i) {
    q_radial[i] = q_length[i] <= kShortest ? 0.0f : q_radial[i] / (q_length[i] * q_length[i]);
    k_radial[i] = k_length[i] <= kShortest ? 0.0f : k_radial[i] / (k_length[i] * k_length[i]);
  }
  return to_temperature;
}

// The matrix of one head, as it is packed for products with its transpose.
inline Matrix head_matrix(const float* values, const Parts& heads) {
  const Parts side(1, heads.padded_size);
  return Matrix::plain(values, side, side);
}

// Rows of operands from `count` pixels of `channels`, whose first are those of the heads; they are taken where they lie
// if that needs no padding.
template <class T, class E>
inline const E* operand_rows(const T* from, int64_t channels, const Parts& heads, int64_t count, E* memory,
                             int64_t& stride) {
  if (sizeof(T) == sizeof(E) && heads.size == heads.padded_size) {
    stride = channels;
    return reinterpret_cast<const E*>(from);
  }
  stride = heads.padded();
  for (int64_t i = 0; i < count; ++i) read_parts(from + i * channels, heads, memory + i * stride);
  return memory;
}
