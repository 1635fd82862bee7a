// The attention across channels, on pixels. Included once for each instruction set.
//
// A first pass over the pixels adds up q^T k and the squares of q and k, a second one mixes the channels of v. Sums are
// made for each group of pixels by itself and added in the order of the groups, which depend on the size of an image
// alone: the bits depend neither on the number of threads nor on the other images.

constexpr int64_t kAttendedPixels = 128;  // at a time; worth a pass through the sums of wide heads

// Groups of an image's pixels. Not larger, so that small sums do not meet large ones.
inline int64_t summed_groups(int64_t pixels) {
  const int64_t wanted = std::min<int64_t>(std::max<int64_t>(divide_up(pixels, 16), 512), 4096);
  return divide_up(pixels, wanted);
}

// Calls work(first, count, index) for every group of every image, `first` a pixel among those of all images.
template <class Work>
inline void for_each_group(int64_t images, int64_t pixels, const Parallel& parallel, const Work& work) {
  const int64_t groups = summed_groups(pixels);
  parallel.run(images * groups, [&](int64_t index) {
    const int64_t image = index / groups, group = index % groups;
    const int64_t first = group * pixels / groups, end = (group + 1) * pixels / groups;
    work(image * pixels + first, end - first, index);
  });
}

// Rows of two kinds of pixels, whose first channels are those of the heads.
template <class T>
struct Pairs {
  const T* left;
  int64_t left_channels;
  const T* right;
  int64_t right_channels;
};

// Adds left^T right of each head over `count` pixels from `start` to `sums`, and, if wanted, the squares behind them.
template <class T>
void add_head_products(const Pairs<T>& pairs, const Parts& heads, int64_t start, int64_t count, bool squares,
                       float* sums) {
  typedef typename OperandOf<T>::type E;
  constexpr bool kFloats = std::is_same_v<E, float>;
  const int64_t places = heads.padded(), padded = heads.padded_size;
  const int64_t room = round_up(kAttendedPixels, kStep<E>), operands = kFloats ? 0 : room;
  Scratch scratch(2 * Scratch::bytes<float>(room * places) +
                  Scratch::bytes<E>(LeftOperand<E>::size(places, operands)) + Scratch::bytes<E>(operands * places));
  float* left_memory = scratch.take<float>(room * places);
  float* right_memory = scratch.take<float>(room * places);
  const LeftOperand<E> lefts(scratch.take<E>(LeftOperand<E>::size(places, operands)), places, operands);
  E* rights = scratch.take<E>(operands * places);
  for (int64_t first = start; first < start + count; first += kAttendedPixels) {
    const int64_t pixels = std::min(kAttendedPixels, start + count - first);
    int64_t left_stride, right_stride;
    const float* left = operand_rows(pairs.left + first * pairs.left_channels, pairs.left_channels, heads, pixels,
                                     left_memory, left_stride);
    const float* right = operand_rows(pairs.right + first * pairs.right_channels, pairs.right_channels, heads, pixels,
                                      right_memory, right_stride);
    if constexpr (!kFloats) {
      lefts.put(left, left_stride, places, pixels, 0);
      interleave(right, right_stride, places, pixels, rights, places);
    }
    for (int64_t head = 0; head < heads.count; ++head) {
      const int64_t place = head * padded;
      float* to = sums + place * padded;
      if constexpr (kFloats) {
        add_products(left + place, left_stride, padded, right + place, right_stride, padded, pixels, to, padded);
      } else {
        add_products(lefts.from(place), lefts.stride(), padded, rights + place * kStep<E>, places, padded, pixels, to,
                     padded);
      }
    }
    if (!squares) continue;
    add_squares(left, left_stride, places, pixels, sums + AngleSums::products(heads));
    add_squares(right, right_stride, places, pixels, sums + AngleSums::products(heads) + places);
  }
}

// One product of each head: results = rows matrix^T, `stride` apart, with the packed matrices of an image's heads.
template <class E>
inline void mix_heads(const E* rows, int64_t rows_stride, int64_t count, const E* matrices, int64_t matrix_size,
                      const Parts& heads, float* results, int64_t stride) {
  const int64_t padded = heads.padded_size;
  for (int64_t head = 0; head < heads.count; ++head) {
    multiply(rows + head * padded, rows_stride, count, matrices + head * matrix_size, padded, padded, nullptr,
             results + head * padded, stride);
  }
}

// Whether pixels of type T are rows of results as they lie.
template <class T>
inline bool is_unpadded_float(const Parts& heads) {
  return std::is_same_v<T, float> && heads.size == heads.padded_size;
}

template <class T, class E>
void mix_values(const ChannelAttention<T>& a, const Parts& heads, const E* matrices, int64_t matrix_size,
                int64_t start, int64_t count) {
  const int64_t places = heads.padded();
  Scratch scratch(Scratch::bytes<E>(count * places) + Scratch::bytes<float>(count * places));
  int64_t stride;
  const E* rows = operand_rows(a.qkv + (start * 3 + 2) * a.channels, 3 * a.channels, heads, count,
                               scratch.take<E>(count * places), stride);
  T* y = a.y + start * a.channels;
  if (is_unpadded_float<T>(heads)) {
    return mix_heads(rows, stride, count, matrices, matrix_size, heads, reinterpret_cast<float*>(y), a.channels);
  }
  float* results = scratch.take<float>(count * places);
  mix_heads(rows, stride, count, matrices, matrix_size, heads, results, places);
  for (int64_t i = 0; i < count; ++i) write_parts(results + i * places, heads, y + i * a.channels);
}

template <class T>
void channel_attention_kernel(const ChannelAttention<T>& a, const Parallel& parallel) {
  typedef typename OperandOf<T>::type E;
  const Parts heads(a.heads, a.per_head());
  const int64_t padded = heads.padded_size, all = a.images * a.heads, groups = summed_groups(a.pixels);
  const int64_t sums_size = AngleSums::count(heads), matrix_size = packed_size<E>(padded, padded);
  Scratch scratch(Scratch::bytes<float>(a.images * groups * sums_size) + Scratch::bytes<E>(all * matrix_size));
  float* sums = scratch.take<float>(a.images * groups * sums_size);
  E* matrices = scratch.take<E>(all * matrix_size);
  const Pairs<T> queries_and_keys{a.qkv, 3 * a.channels, a.qkv + a.channels, 3 * a.channels};
  for_each_group(a.images, a.pixels, parallel, [&](int64_t first, int64_t count, int64_t index) {
    std::memset(sums + index * sums_size, 0, sums_size * sizeof(float));
    add_head_products(queries_and_keys, heads, first, count, true, sums + index * sums_size);
  });
  parallel.run(all, [&](int64_t index) {
    const int64_t image = index / a.heads, head = index % a.heads;
    const Angles angles = angles_of(a, heads, a.images, image, head);
    measure_angles(angles, heads, head, sums + image * groups * sums_size, groups);
    Scratch memory(Scratch::bytes<float>(padded * padded));
    float* attention = memory.take<float>(padded * padded);
    attention_of(angles, heads, attention);
    pack<float>(head_matrix(attention, heads), matrices + index * matrix_size, kSerial);
  });
  const int64_t chunks = divide_up(a.pixels, kAttendedPixels);
  parallel.run(a.images * chunks, [&](int64_t index) {
    const int64_t image = index / chunks, first = index % chunks * kAttendedPixels;
    mix_values(a, heads, matrices + image * a.heads * matrix_size, matrix_size, image * a.pixels + first,
               std::min(kAttendedPixels, a.pixels - first));
  });
}
