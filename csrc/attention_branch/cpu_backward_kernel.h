// The backward pass of the attention branch. Included once for each instruction set.
//
// With dY the gradient of the branch's output, M = W_o A, S the cosines, and |q|, |k| the lengths:
//   dM = dY v^T,  dA = W_o^T dM,  dW_o = dM A^T,  dP = A (dA - rowsum(dA A)),  dS = t dP,  dt = sum(dP S)
//   dv = M^T dY,  dq = K k - r_q q,  dk = K^T q - r_k k
// with K = diag(1/|q|) dS diag(1/|k|), r_q = rowsum(dS S) / |q|^2 and r_k = colsum(dS S) / |k|^2, zero where the length
// is the shortest (see adair_core/ops/channel_attention/reference.py). A first pass over the image adds up dM; a second
// one computes d[q, k, v] row by row, and what lies before it.

constexpr int64_t kSummedPixels = 128;  // read at a time: worth a pass through the sum of a wide layer

// How the sum over the pixels of an image is split: by its size alone.
inline int64_t mixing_groups(int64_t pixels) { return std::min<int64_t>(16, divide_up(pixels, 512)); }

// dM and the sum of dY over `count` pixels from `start`, in `sums`: (padded channels, heads.padded()), then
// (padded channels).
template <class T>
void add_mixing_gradient(const AttentionBranchBackward<T>& b, const Parts& heads, int64_t start, int64_t count,
                         float* sums) {
  typedef typename OperandOf<T>::type E;
  const int64_t channels = b.forward.expansion.channels, padded = round_up(channels, kWidth), places = heads.padded();
  Scratch scratch(WaitingProducts<E>::bytes(padded, places, kSummedPixels));
  std::memset(sums, 0, padded * (places + 1) * sizeof(float));
  WaitingProducts<E> products(padded, places, kSummedPixels, sums, scratch);
  for (int64_t first = start; first < start + count; first += kSummedPixels) {
    const int64_t pixels = std::min(kSummedPixels, start + count - first);
    read_pixels(b.gradient + first * channels, channels, pixels, products.next_a(), padded);
    for (int64_t i = 0; i < pixels; ++i) read_parts(b.forward.values(first + i), heads, products.next_b() + i * places);
    if (b.to_out_bias != nullptr) add_rows(products.next_a(), padded, padded, pixels, sums + padded * places);
    products.add(pixels);
  }
}

// What the second pass needs of each head of each image, and of each image.
template <class T>
struct AttentionGradients {
  typedef typename OperandOf<T>::type E;
  int64_t head_size, matrix_size;
  E *to_q, *to_k;      // K^T and K, packed
  float* radial;       // r_q and r_k: (images, 2, heads.padded())
  float* folded;       // M: (images, channels, heads.padded())
  E* to_v;             // M^T, packed
  float* temperature;  // of each head of each image
  float* out_weight;   // dW_o of each image: (images, channels, heads.padded()), or null

  static int64_t bytes(const AttentionBranchBackward<T>& b, const Parts& heads) {
    const Expansion<T>& e = b.forward.expansion;
    const int64_t all = e.images * heads.count, matrix = e.images * e.channels * heads.padded();
    return 2 * Scratch::bytes<E>(all * packed_size<E>(heads.padded_size, heads.padded_size)) +
           Scratch::bytes<float>(e.images * 2 * heads.padded()) + 2 * Scratch::bytes<float>(matrix) +
           Scratch::bytes<E>(e.images * packed_size<E>(heads.padded(), round_up(e.channels, kWidth))) +
           Scratch::bytes<float>(all);
  }

  AttentionGradients(const AttentionBranchBackward<T>& b, const Parts& heads, Scratch& scratch) {
    const Expansion<T>& e = b.forward.expansion;
    const int64_t all = e.images * heads.count, matrix = e.images * e.channels * heads.padded();
    head_size = packed_size<E>(heads.padded_size, heads.padded_size);
    matrix_size = packed_size<E>(heads.padded(), round_up(e.channels, kWidth));
    to_q = scratch.take<E>(all * head_size);
    to_k = scratch.take<E>(all * head_size);
    radial = scratch.take<float>(e.images * 2 * heads.padded());
    folded = scratch.take<float>(matrix);
    out_weight = b.to_out_weight == nullptr ? nullptr : scratch.take<float>(matrix);
    to_v = scratch.take<E>(e.images * matrix_size);
    temperature = scratch.take<float>(all);
  }
};

// One head of one image, from dM.
template <class T>
void differentiate_head(const AttentionBranchBackward<T>& b, const Parts& heads, const float* out_weight,
                        const float* to_mixing, int64_t image, int64_t head, const AttentionGradients<T>& found) {
  const AttentionBranch<T>& a = b.forward;
  const int64_t channels = a.expansion.channels, images = a.expansion.images, places = heads.padded();
  const int64_t padded = heads.padded_size, first = head * padded, index = image * heads.count + head;
  const int64_t packed_head = packed_size<float>(padded, padded);
  const Angles angles = angles_of(a, heads, images, image, head);
  Scratch scratch(Scratch::bytes<float>(padded * padded) * 3 + Scratch::bytes<float>(packed_head));
  float* attention = scratch.take<float>(padded * padded);
  float* gradient = scratch.take<float>(padded * padded);
  float* mixing = scratch.take<float>(padded * padded);
  float* packed = scratch.take<float>(packed_head);
  attention_of(angles, heads, attention);
  std::memset(gradient, 0, padded * padded * sizeof(float));
  add_products(out_weight + first, places, padded, to_mixing + first, places, padded, channels, gradient, padded);
  float* q_radial = found.radial + image * 2 * places + first;
  found.temperature[index] =
      differentiate_attention(angles, heads, attention, gradient, mixing, q_radial, q_radial + places);
  pack<float>(head_matrix(mixing, heads), found.to_q + index * found.head_size, kSerial);
  pack<float>(head_matrix(mixing, heads).transposed(), found.to_k + index * found.head_size, kSerial);
  fold_attention(out_weight, attention, channels, heads, head, packed, found.folded + image * channels * places);
  if (found.out_weight != nullptr) {
    pack<float>(head_matrix(attention, heads), packed, kSerial);
    multiply(to_mixing + first, places, channels, packed, padded, padded, nullptr,
             found.out_weight + image * channels * places + first, places);
  }
}

// Gradients of the parameters behind the attention, summed over the images in their order.
template <class T>
void write_attention_gradients(const AttentionBranchBackward<T>& b, const Parts& heads,
                               const AttentionGradients<T>& found, const float* sums, int64_t sums_size,
                               int64_t groups) {
  const Expansion<T>& e = b.forward.expansion;
  const int64_t places = heads.padded();
  auto total = [&](const float* values, int64_t stride, int64_t count) {
    float value = 0.0f;
    for (int64_t i = 0; i < count; ++i) value += values[i * stride];
    return value;
  };
  for (int64_t head = 0; b.to_temperature != nullptr && head < heads.count; ++head) {
    b.to_temperature[head] = total(found.temperature + head, heads.count, e.images);
  }
  for (int64_t n = 0; n < e.channels; ++n) {
    heads.for_each([&](int64_t channel, int64_t place) {
      if (b.to_out_weight == nullptr) return;
      b.to_out_weight[n * e.channels + channel] =
          total(found.out_weight + n * places + place, e.channels * places, e.images);
    });
    if (b.to_out_bias != nullptr) {
      b.to_out_bias[n] = total(sums + round_up(e.channels, kWidth) * places + n, sums_size, e.images * groups);
    }
  }
}

// d[q, k, v], for expansion_backward.
template <class T>
struct AttendedSource {
  typedef typename OperandOf<T>::type E;
  const AttentionBranchBackward<T>& b;
  const Parts& heads;
  const AttentionGradients<T>& found;

  int64_t channels() const { return round_up(b.forward.expansion.channels, kWidth); }
  static int64_t pixels(const Block& block) { return rows_together(block) * (block.right - block.left + 2); }
  size_t bytes(const Block& block) const {
    return Scratch::bytes<E>(pixels(block) * channels()) + Scratch::bytes<E>(pixels(block) * 2 * heads.padded());
  }
  int64_t sums() const { return 0; }
  void write(const float*) const {}

  auto fill(const Block& block, Scratch& scratch, float*) const {
    E* gradient = scratch.take<E>(pixels(block) * channels());
    E* queries = scratch.take<E>(pixels(block) * 2 * heads.padded());
    return [this, gradient, queries, image = block.image](const Ring& ring, int64_t y, int64_t end) {
      const int64_t count = ring.to - ring.from;
      for (int64_t row = y; row < end; ++row) {
        read_row(b.forward.expansion.pixel(image, row, ring.from), count, gradient + (row - y) * count * channels(),
                 queries + (row - y) * count * 2 * heads.padded());
      }
      multiply_rows(ring, image, y, end, gradient, queries);
    };
  }

  // Operands from `count` pixels: of the gradient, and of q and k.
  void read_row(int64_t start, int64_t count, E* gradient, E* queries) const {
    const int64_t size = b.forward.expansion.channels;
    const Parts both(2 * heads.count, heads.size);
    for (int64_t i = 0; i < count; ++i) {
      read_pixel(b.gradient + (start + i) * size, size, gradient + i * channels(), channels());
      read_parts(b.forward.kept + (start + i) * 3 * size, both, queries + i * 2 * heads.padded());
    }
  }

  void multiply_rows(const Ring& ring, int64_t image, int64_t y, int64_t end, const E* gradient,
                     const E* queries) const {
    const int64_t places = heads.padded(), padded = heads.padded_size, count = ring.to - ring.from;
    const int64_t stride = ring.wide * ring.places;
    float* to = ring.inside(y);
    multiply_groups(end - y, gradient, count * channels(), channels(), count, found.to_v + image * found.matrix_size,
                    places, channels(), nullptr, to + 2 * places, stride, 3 * places);
    const float* radial = found.radial + image * 2 * places;
    for (int64_t row = 0; row < end - y; ++row, to += stride, queries += count * 2 * places) {
      for (int64_t head = 0; head < heads.count; ++head) {
        const int64_t first = head * padded, matrix = (image * heads.count + head) * found.head_size;
        multiply(queries + places + first, 2 * places, count, found.to_q + matrix, padded, padded, nullptr, to + first,
                 3 * places);
        multiply(queries + first, 2 * places, count, found.to_k + matrix, padded, padded, nullptr, to + places + first,
                 3 * places);
      }
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t c = 0; c < 2 * places; c += kWidth) {
          float* value = to + i * 3 * places + c;
          store(value, load(value) - load(radial + c) * load(queries + i * 2 * places + c));
        }
      }
    }
  }
};

template <class T>
void attention_branch_backward_kernel(const AttentionBranchBackward<T>& b, const Parallel& parallel) {
  const AttentionBranch<T>& a = b.forward;
  const Expansion<T>& e = a.expansion;
  const Parts heads(a.heads(), e.part);
  const int64_t places = heads.padded(), padded = round_up(e.channels, kWidth), pixels = e.pixels();
  const int64_t groups = mixing_groups(pixels), sums_size = padded * (places + 1);
  Scratch scratch(AttentionGradients<T>::bytes(b, heads) + Scratch::bytes<float>(e.images * groups * sums_size) +
                  Scratch::bytes<float>(e.channels * places));
  const AttentionGradients<T> found(b, heads, scratch);
  float* sums = scratch.take<float>(e.images * groups * sums_size);
  float* out_weight = scratch.take<float>(e.channels * places);
  parallel.run(e.images * groups, [&](int64_t index) {
    const int64_t image = index / groups, group = index % groups;
    const int64_t first = group * pixels / groups, end = (group + 1) * pixels / groups;
    add_mixing_gradient(b, heads, image * pixels + first, end - first, sums + index * sums_size);
  });
  padded_out_weight(a, heads, out_weight);
  parallel.run(e.images * heads.count, [&](int64_t index) {
    const int64_t image = index / heads.count, head = index % heads.count;
    float* to_mixing = sums + image * groups * sums_size;
    for (int64_t n = 0; n < e.channels; ++n) {
      float* row = to_mixing + n * places + head * heads.padded_size;
      for (int64_t group = 1; group < groups; ++group) {
        for (int64_t i = 0; i < heads.padded_size; ++i) row[i] += row[group * sums_size + i];
      }
    }
    differentiate_head(b, heads, out_weight, to_mixing, image, head, found);
  });
  write_attention_gradients(b, heads, found, sums, sums_size, groups);
  if (!b.to.any()) return;
  for (int64_t image = 0; image < e.images; ++image) {
    const Matrix folded = Matrix::plain(found.folded + image * e.channels * places, Parts(1, e.channels),
                                        Parts(1, places));
    pack<float>(folded.transposed(), found.to_v + image * found.matrix_size, parallel);
  }
  expansion_backward(e, b.to, a.residual ? b.gradient : nullptr, parallel, AttendedSource<T>{b, heads, found});
}
