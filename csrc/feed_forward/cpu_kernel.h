// The feed-forward branch: the rows of the expansion are gated and projected back as they come. Included once for each
// instruction set.

// W_out.
template <class T>
inline Matrix projection_matrix(const FeedForward<T>& f) {
  return Matrix::plain(f.out_weight, Parts(1, f.expansion.channels), Parts(1, f.hidden()));
}

template <class T>
void feed_forward_block(const FeedForward<T>& f, const ExpansionWeights<T>& weights,
                        const typename OperandOf<T>::type* projection, const float* bias, const Epilogue<T>* epilogue,
                        const Block& block) {
  typedef typename OperandOf<T>::type E;
  const Expansion<T>& e = f.expansion;
  const int64_t channels = weights.channels, hidden = weights.parts.padded_size, columns = block.right - block.left;
  const int64_t together = rows_together(block), pixels = together * columns;
  Scratch scratch(Scratch::bytes<E>(pixels * hidden) + Scratch::bytes<float>(pixels * channels) +
                  expand_bytes(block, weights) + (epilogue == nullptr ? 0 : Epilogue<T>::Room::bytes(epilogue->f)));
  E* gated = scratch.take<E>(pixels * hidden);
  float* result = scratch.take<float>(pixels * channels);
  std::optional<typename Epilogue<T>::Room> room;
  Block inside{};
  if (epilogue != nullptr) room.emplace(epilogue->f, scratch), inside = epilogue->inside(block);
  int64_t first = block.top, finished = inside.top;
  expand_block(e, weights, block, scratch, [&](const float* const rows[3], int64_t y) {
    T* convolved = f.convolved == nullptr ? nullptr
                                          : f.convolved + e.pixel(block.image, y, block.left) * 2 * f.hidden();
    gate_row(weights.taps, weights.taps_bias, hidden, rows, columns, gated + (y - first) * columns * hidden, convolved,
             f.hidden());
    const int64_t end = y + 1;
    if (end - first < together && end < block.bottom) return;
    multiply_groups(end - first, gated, columns * hidden, hidden, columns, projection, channels, hidden, bias, result,
                    columns * channels, channels);
    for (const float* branch = result; first < end; ++first) {
      if (epilogue != nullptr) epilogue->reduce(block.image, first, block.left, columns, branch, *room);
      const int64_t start = e.pixel(block.image, first, block.left);
      for (int64_t pixel = start; pixel < start + columns; ++pixel, branch += channels) {
        const T* x = e.x + pixel * e.channels;
        for (int64_t c = 0; c < e.channels; c += kWidth) {
          const vec value = load(branch + c);
          write(f.y + pixel * e.channels + c, f.residual ? value + read(x + c, e.channels - c) : value, e.channels - c);
        }
      }
    }
    if (epilogue != nullptr) epilogue->finish_rows(inside, finished, end, *room);
  });
}

template <class T>
void feed_forward_kernel(const PerImage<FeedForward<T>>& sets, const Parallel& parallel) {
  typedef typename OperandOf<T>::type E;
  const Expansion<T>& e = sets.shared().expansion;
  const Matrix shape = projection_matrix(sets.shared());
  const int64_t matrix_size = shape.packed<E>(), bias_size = shape.rows.padded();
  Scratch scratch(expansions_bytes<T>(sets) + Scratch::bytes<E>(sets.weights * matrix_size) +
                  Scratch::bytes<float>(sets.weights * bias_size) + Epilogues<T>::bytes(sets));
  const ExpansionWeights<T>* weights = prepare_expansions<T>(sets, scratch, parallel);
  E* projections = scratch.take<E>(sets.weights * matrix_size);
  float* biases = scratch.take<float>(sets.weights * bias_size);
  const Epilogues<T> epilogues(sets, scratch);
  run_each(sets.weights, parallel, [&](int64_t set, const Parallel& inner) {
    pack<T>(projection_matrix(sets.sets[set]), projections + set * matrix_size, inner);
    padded_parameter<T>(sets.sets[set].out_bias, shape.rows, biases + set * bias_size);
  });
  const int64_t columns = expansion_columns(e.width, weights[0].parts.padded());
  const int64_t rows = expansion_rows(e.height, e.images * divide_up(e.width, columns), parallel.threads);
  const Grid grid{e.images, e.height, e.width, even_part(e.height, rows), columns};
  parallel.run(grid.blocks(), [&](int64_t index) {
    const Block block = grid.at(index);
    const int64_t set = sets.index[block.image], own = sets.weights_of(block.image);
    const FeedForward<T>& f = sets.sets[set];
    feed_forward_block(f, weights[own], projections + own * matrix_size,
                       f.out_bias == nullptr ? nullptr : biases + own * bias_size, epilogues.of_set(set), block);
  });
  finish_edges(epilogues, sets, grid, parallel);
}
