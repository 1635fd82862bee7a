// The attention branch. Included once for each instruction set.
//
// A first pass over the image computes q, k and v row by row, adds up q^T k and the squares of q and k, and writes v;
// a second one mixes the channels of v. Sums over pixels are made for each block by itself and added in the order of
// the blocks, which depend on the size of an image alone: the bits depend neither on the number of threads nor on the
// other images.

constexpr int64_t kMixedPixels = 128;

// One block. `sums_of(y)` are the sums that row y is added to.
template <class T, class SumsOf>
void attend_block(const AttentionBranch<T>& a, const ExpansionWeights<T>& weights, const Parts& heads,
                  const Block& block, const SumsOf& sums_of) {
  typedef typename OperandOf<T>::type E;
  const int64_t places = weights.parts.padded(), columns = block.right - block.left;
  const int64_t third = heads.padded(), padded = heads.padded_size;
  const Parts written = a.keep ? weights.parts : heads;
  const int64_t room = round_up(columns, kStep<E>);
  Scratch scratch(Scratch::bytes<float>(columns * places) + Scratch::bytes<E>(LeftOperand<E>::size(third, room)) +
                  Scratch::bytes<E>(room * third) + expand_bytes(block, weights));
  float* row = scratch.take<float>(columns * places);
  const LeftOperand<E> queries(scratch.take<E>(LeftOperand<E>::size(third, room)), third, room);
  E* keys = scratch.take<E>(room * third);
  expand_block(a.expansion, weights, block, scratch, [&](const float* const rows[3], int64_t y) {
    // Rounded at once, so that the cosines are those of the q and k that the backward pass reads.
    convolve_row(rows, places, weights.taps, weights.taps_bias, columns,
                 [&](int64_t x, int64_t c, vec value) { store(row + x * places + c, rounded<T>(value)); });
    // They are of type T already: operands hold them exactly.
    float* sums = sums_of(y);
    queries.put(row, places, third, columns, 0);
    interleave(row + third, places, third, columns, keys, third);
    for (int64_t head = 0; head < heads.count; ++head) {
      add_products(queries.from(head * padded), queries.stride(), padded, keys + head * padded * kStep<E>, third,
                   padded, columns, sums + head * padded * padded, padded);
    }
    add_squares(row, places, 2 * third, columns, sums + AngleSums::products(heads));
    const int64_t start = a.expansion.pixel(block.image, y, block.left);
    for (int64_t x = 0; x < columns; ++x) {
      write_parts(row + x * places + (a.keep ? 0 : 2 * third), written, a.kept + (start + x) * a.kept_channels());
    }
  });
}

// How the v of an image becomes y: by one matrix, W_o A, or, where the image has fewer pixels than channels and making
// that matrix would cost more than it saves, by the attention of each head and then W_o.
template <class T>
struct Mixing {
  typedef typename OperandOf<T>::type E;
  bool folded;
  const E *matrix, *attention;
  int64_t head_size;
  const float* bias;
};

// Calls use(branch) with what is written without x: rows of floats, padded to whole vectors.
template <class T, class Use>
void mix_pixels(const AttentionBranch<T>& a, const Parts& heads, const Mixing<T>& mixing, int64_t start, int64_t count,
                const Use& use) {
  typedef typename OperandOf<T>::type E;
  const int64_t channels = a.expansion.channels, padded_channels = round_up(channels, kWidth);
  const int64_t places = heads.padded(), padded = heads.padded_size;
  Scratch scratch(Scratch::bytes<E>(count * places) * 2 + Scratch::bytes<float>(count * places) +
                  Scratch::bytes<float>(count * padded_channels));
  int64_t stride;
  const E* rows =
      operand_rows(a.values(start), a.kept_channels(), heads, count, scratch.take<E>(count * places), stride);
  E* attended = scratch.take<E>(count * places);
  float* wide_attended = scratch.take<float>(count * places);
  float* result = scratch.take<float>(count * padded_channels);
  if (!mixing.folded) {
    for (int64_t head = 0; head < heads.count; ++head) {
      multiply(rows + head * padded, stride, count, mixing.attention + head * mixing.head_size, padded, padded,
               nullptr, wide_attended + head * padded, places);
    }
    for (int64_t i = 0; i < count * places; i += kWidth) store(attended + i, load(wide_attended + i));
    rows = attended, stride = places;
  }
  multiply(rows, stride, count, mixing.matrix, padded_channels, places, mixing.bias, result, padded_channels);
  for (int64_t i = 0; i < count; ++i) {
    const T* x = a.expansion.x + (start + i) * channels;
    T* y = a.y + (start + i) * channels;
    for (int64_t c = 0; c < channels; c += kWidth) {
      const vec branch = load(result + i * padded_channels + c);
      write(y + c, a.residual ? branch + read(x + c, channels - c) : branch, channels - c);
    }
  }
  use(result);
}

// Mixes whole rows, and finishes those of them whose neighbours are there. `mix` is mix_pixels with the rest of its
// arguments.
template <class T, class Mix>
void mix_rows(const Epilogue<T>& epilogue, const Block& block, const Mix& mix) {
  const Bottleneck<T>& f = epilogue.f;
  const int64_t padded_channels = round_up(f.channels, kWidth);
  Scratch scratch(Epilogue<T>::Room::bytes(f));
  const typename Epilogue<T>::Room room(f, scratch);
  const Block inside = epilogue.inside(block);
  int64_t finished = inside.top;
  const int64_t last = block.bottom * f.width;
  for (int64_t first = block.top * f.width; first < last; first += kMixedPixels) {
    const int64_t end = std::min(first + kMixedPixels, last);
    mix(block.image * f.height * f.width + first, end - first, [&](const float* branch) {
      for (int64_t pixel = first; pixel < end;) {
        const int64_t y = pixel / f.width, x = pixel % f.width, count = std::min(end - pixel, f.width - x);
        epilogue.reduce(block.image, y, x, count, branch + (pixel - first) * padded_channels, room);
        pixel += count;
      }
    });
    epilogue.finish_rows(inside, finished, end / f.width, room);
  }
}

// Parts of the images whose sums are added. Not higher, so that small sums do not meet large ones; blocks that threads
// work on are made of whole ones.
inline Grid summed_parts(int64_t images, int64_t height, int64_t width, int64_t places) {
  const int64_t rows = std::min<int64_t>(std::max<int64_t>(height / 4, 8), 64);
  return {images, height, width, even_part(height, rows), expansion_columns(width, places)};
}

template <class T>
void attention_branch_kernel(const PerImage<AttentionBranch<T>>& sets, const Parallel& parallel) {
  typedef typename OperandOf<T>::type E;
  const AttentionBranch<T>& shared = sets.shared();
  const Expansion<T>& e = shared.expansion;
  const Parts heads(shared.heads(), e.part), whole(1, e.channels);
  const int64_t images = e.images, places = heads.padded(), padded = heads.padded_size, pixels = e.pixels();
  const Grid grid = summed_parts(images, e.height, e.width, 3 * places);
  const int64_t blocks = grid.blocks() / images, sums_size = AngleSums::count(heads);
  const int64_t rows = expansion_rows(e.height, images * grid.across(), parallel.threads);
  const Grid shares{images, e.height, e.width, round_up(rows, grid.block_height), grid.block_width};
  const bool fold = pixels > e.channels;
  const int64_t matrix_size = packed_size<E>(whole.padded(), places), head_size = packed_size<E>(padded, padded);
  const int64_t matrices = fold ? images : sets.weights, all_heads = images * heads.count;
  const int64_t wide_size = e.channels * places;
  Scratch scratch(expansions_bytes<T>(sets) + Scratch::bytes<float>(grid.blocks() * sums_size) +
                  Scratch::bytes<float>(all_heads * padded * padded) + Scratch::bytes<float>(sets.weights * wide_size) +
                  Scratch::bytes<float>(fold ? images * wide_size : 0) +
                  Scratch::bytes<float>(sets.weights * whole.padded()) + Scratch::bytes<E>(matrices * matrix_size) +
                  Scratch::bytes<E>(all_heads * head_size) + Epilogues<T>::bytes(sets));
  const ExpansionWeights<T>* weights = prepare_expansions<T>(sets, scratch, parallel);
  float* sums = scratch.take<float>(grid.blocks() * sums_size);
  float* attention = scratch.take<float>(all_heads * padded * padded);
  float* out_weights = scratch.take<float>(sets.weights * wide_size);
  float* folded = scratch.take<float>(fold ? images * wide_size : 0);
  float* biases = scratch.take<float>(sets.weights * whole.padded());
  E* packed_matrices = scratch.take<E>(matrices * matrix_size);
  E* packed_attention = scratch.take<E>(all_heads * head_size);
  const Epilogues<T> epilogues(sets, scratch);
  parallel.run(shares.blocks(), [&](int64_t index) {
    const Block block = shares.at(index);
    auto sums_of = [&](int64_t y) {
      const int64_t part = y / grid.block_height * grid.across() + block.left / grid.block_width;
      return sums + (block.image * blocks + part) * sums_size;
    };
    for (int64_t y = block.top; y < block.bottom; y += grid.block_height) {
      std::memset(sums_of(y), 0, sums_size * sizeof(float));
    }
    attend_block(sets.of(block.image), weights[sets.weights_of(block.image)], heads, block, sums_of);
  });
  run_each(sets.weights, parallel, [&](int64_t set, const Parallel&) {
    padded_out_weight(sets.sets[set], heads, out_weights + set * wide_size);
    padded_parameter<T>(sets.sets[set].out_bias, whole, biases + set * whole.padded());
  });
  parallel.run(all_heads, [&](int64_t index) {
    const int64_t image = index / heads.count, head = index % heads.count;
    const AttentionBranch<T>& a = sets.of(image);
    const Angles angles = angles_of(a, heads, images, image, head);
    measure_angles(angles, heads, head, sums + image * blocks * sums_size, blocks);
    float* found = attention + index * padded * padded;
    attention_of(angles, heads, found);
    if (fold) {
      Scratch packed(Scratch::bytes<float>(packed_size<float>(padded, padded)));
      fold_attention(out_weights + sets.weights_of(image) * wide_size, found, e.channels, heads, head,
                     packed.take<float>(packed_size<float>(padded, padded)), folded + image * wide_size);
    } else {
      pack<float>(head_matrix(found, heads), packed_attention + index * head_size, kSerial);
    }
  });
  run_each(matrices, parallel, [&](int64_t index, const Parallel& inner) {
    const float* matrix = (fold ? folded : out_weights) + index * wide_size;
    pack<float>(Matrix::plain(matrix, whole, Parts(1, places)), packed_matrices + index * matrix_size, inner);
  });
  auto mix = [&](int64_t image, int64_t start, int64_t count, const auto& use) {
    const int64_t own = sets.weights_of(image);
    const Mixing<T> mixing{fold, packed_matrices + (fold ? image : own) * matrix_size,
                           packed_attention + image * heads.count * head_size, head_size,
                           sets.of(image).out_bias == nullptr ? nullptr : biases + own * whole.padded()};
    mix_pixels(sets.of(image), heads, mixing, start, count, use);
  };
  if (!epilogues.any()) {
    const int64_t chunks = divide_up(pixels, kMixedPixels);
    return parallel.run(images * chunks, [&](int64_t index) {
      const int64_t image = index / chunks, first = index % chunks * kMixedPixels;
      mix(image, image * pixels + first, std::min(kMixedPixels, pixels - first), [](const float*) {});
    });
  }
  const Grid strips{images, e.height, e.width, even_part(e.height, expansion_rows(e.height, images, parallel.threads)),
                    e.width};
  parallel.run(strips.blocks(), [&](int64_t index) {
    const Block block = strips.at(index);
    const Epilogue<T>* epilogue = epilogues.of_set(sets.index[block.image]);
    auto mix_here = [&](int64_t start, int64_t count, const auto& use) { mix(block.image, start, count, use); };
    if (epilogue != nullptr) return mix_rows(*epilogue, block, mix_here);
    const int64_t last = block.bottom * e.width;
    for (int64_t first = block.top * e.width; first < last; first += kMixedPixels) {
      mix_here(block.image * pixels + first, std::min(kMixedPixels, last - first), [](const float*) {});
    }
  });
  finish_edges(epilogues, sets, strips, parallel);
}
