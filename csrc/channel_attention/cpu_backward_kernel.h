// The backward pass of the attention across channels. Included once for each instruction set.
//
// A first pass over the pixels adds up dA = dY v^T, a second one computes
//   dq = K k - r_q q,  dk = K^T q - r_k k,  dv = A^T dY
// with what `differentiate_attention` makes of dA (see adair_core/ops/channel_attention/reference.py).

// What the second pass needs: of each head of each image K, K^T and A^T, packed, and r_q and r_k of each image.
template <class E>
struct AttentionFactors {
  int64_t matrix_size;
  E *to_q, *to_k, *to_v;
  float* radial;  // (images, 2, heads.padded())

  static size_t bytes(int64_t images, const Parts& heads) {
    const int64_t matrix = packed_size<E>(heads.padded_size, heads.padded_size);
    return 3 * Scratch::bytes<E>(images * heads.count * matrix) + Scratch::bytes<float>(images * 2 * heads.padded());
  }

  AttentionFactors(int64_t images, const Parts& heads, Scratch& scratch)
      : matrix_size(packed_size<E>(heads.padded_size, heads.padded_size)) {
    const int64_t all = images * heads.count * matrix_size;
    to_q = scratch.take<E>(all), to_k = scratch.take<E>(all), to_v = scratch.take<E>(all);
    radial = scratch.take<float>(images * 2 * heads.padded());
  }
};

// `rows` (count x n) -= radial x operands.
template <class E>
inline void subtract_radial(const float* radial, const E* operands, int64_t operands_stride, int64_t n, int64_t count,
                            float* rows, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t c = 0; c < n; c += kWidth) {
      float* value = rows + i * stride + c;
      store(value, load(value) - load(radial + c) * load(operands + i * operands_stride + c));
    }
  }
}

template <class T, class E>
void differentiate_pixels(const ChannelAttentionBackward<T>& b, const Parts& heads, const AttentionFactors<E>& found,
                          int64_t image, int64_t start, int64_t count) {
  const int64_t channels = b.forward.channels, places = heads.padded();
  const int64_t first = image * heads.count * found.matrix_size;
  const bool direct = is_unpadded_float<T>(heads);
  Scratch scratch(3 * Scratch::bytes<E>(count * places) + Scratch::bytes<float>(direct ? 0 : count * 3 * places));
  int64_t stride, gradient_stride;
  const T* qkv = b.forward.qkv + start * 3 * channels;
  const E* q = operand_rows(qkv, 3 * channels, heads, count, scratch.take<E>(count * places), stride);
  const E* k = operand_rows(qkv + channels, 3 * channels, heads, count, scratch.take<E>(count * places), stride);
  const E* gradient = operand_rows(b.gradient + start * channels, channels, heads, count,
                                   scratch.take<E>(count * places), gradient_stride);
  T* to = b.to_qkv + start * 3 * channels;
  float* results = direct ? reinterpret_cast<float*>(to) : scratch.take<float>(count * 3 * places);
  mix_heads(k, stride, count, found.to_q + first, found.matrix_size, heads, results, 3 * places);
  mix_heads(q, stride, count, found.to_k + first, found.matrix_size, heads, results + places, 3 * places);
  mix_heads(gradient, gradient_stride, count, found.to_v + first, found.matrix_size, heads, results + 2 * places,
            3 * places);
  const float* radial = found.radial + image * 2 * places;
  subtract_radial(radial, q, stride, places, count, results, 3 * places);
  subtract_radial(radial + places, k, stride, places, count, results + places, 3 * places);
  if (direct) return;
  const Parts thirds(3 * heads.count, heads.size);
  for (int64_t i = 0; i < count; ++i) write_parts(results + i * 3 * places, thirds, to + i * 3 * channels);
}

template <class T>
void channel_attention_backward_kernel(const ChannelAttentionBackward<T>& b, const Parallel& parallel) {
  typedef typename OperandOf<T>::type E;
  const ChannelAttention<T>& a = b.forward;
  const Parts heads(a.heads, a.per_head());
  const int64_t padded = heads.padded_size, all = a.images * a.heads, groups = summed_groups(a.pixels);
  const int64_t sums_size = AngleSums::products(heads);
  Scratch scratch(AttentionFactors<E>::bytes(a.images, heads) +
                  Scratch::bytes<float>(a.images * groups * sums_size) + Scratch::bytes<float>(all));
  const AttentionFactors<E> found(a.images, heads, scratch);
  float* sums = scratch.take<float>(a.images * groups * sums_size);
  float* temperature = scratch.take<float>(all);
  const Pairs<T> gradients_and_values{b.gradient, a.channels, a.qkv + 2 * a.channels, 3 * a.channels};
  for_each_group(a.images, a.pixels, parallel, [&](int64_t first, int64_t count, int64_t index) {
    std::memset(sums + index * sums_size, 0, sums_size * sizeof(float));
    add_head_products(gradients_and_values, heads, first, count, false, sums + index * sums_size);
  });
  parallel.run(all, [&](int64_t index) {
    const int64_t image = index / a.heads, place = index % a.heads * padded, matrix = index * found.matrix_size;
    float* to_attention = sums + image * groups * sums_size + place * padded;
    for (int64_t group = 1; group < groups; ++group) {
      for (int64_t i = 0; i < padded * padded; ++i) to_attention[i] += to_attention[group * sums_size + i];
    }
    Scratch memory(2 * Scratch::bytes<float>(padded * padded));
    float* attention = memory.take<float>(padded * padded);
    float* mixing = memory.take<float>(padded * padded);
    const Angles angles = angles_of(a, heads, a.images, image, index % a.heads);
    float* q_radial = found.radial + image * 2 * heads.padded() + place;
    attention_of(angles, heads, attention);
    temperature[index] = differentiate_attention(angles, heads, attention, to_attention, mixing, q_radial,
                                                 q_radial + heads.padded());
    pack<float>(head_matrix(mixing, heads), found.to_q + matrix, kSerial);
    pack<float>(head_matrix(mixing, heads).transposed(), found.to_k + matrix, kSerial);
    pack<float>(head_matrix(attention, heads).transposed(), found.to_v + matrix, kSerial);
  });
  for (int64_t head = 0; b.to_temperature != nullptr && head < a.heads; ++head) {
    float total = 0.0f;
    for (int64_t image = 0; image < a.images; ++image) total += temperature[image * a.heads + head];
    b.to_temperature[head] = total;
  }
  if (b.to_qkv == nullptr) return;
  const int64_t chunks = divide_up(a.pixels, kAttendedPixels);
  parallel.run(a.images * chunks, [&](int64_t index) {
    const int64_t image = index / chunks, first = index % chunks * kAttendedPixels;
    differentiate_pixels(b, heads, found, image, image * a.pixels + first,
                         std::min(kAttendedPixels, a.pixels - first));
  });
}
