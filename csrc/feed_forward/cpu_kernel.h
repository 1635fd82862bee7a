// The feed-forward branch: the rows of the expansion are gated and projected back as they come. Included once for each
// instruction set.

// W_out.
template <class T>
inline Matrix projection_matrix(const FeedForward<T>& f) {
  return Matrix::plain(f.out_weight, Parts(1, f.expansion.channels), Parts(1, f.hidden()));
}

template <class T>
void feed_forward_block(const FeedForward<T>& f, const ExpansionWeights<T>& weights,
                        const typename OperandOf<T>::type* projection, const float* bias, const Block& block) {
  typedef typename OperandOf<T>::type E;
  const Expansion<T>& e = f.expansion;
  const int64_t channels = weights.channels, hidden = weights.parts.padded_size, columns = block.right - block.left;
  const int64_t together = rows_together(block), pixels = together * columns;
  Scratch scratch(Scratch::bytes<E>(pixels * hidden) + Scratch::bytes<float>(pixels * channels) +
                  expand_bytes(block, weights));
  E* gated = scratch.take<E>(pixels * hidden);
  float* result = scratch.take<float>(pixels * channels);
  int64_t first = block.top;
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
      const int64_t start = e.pixel(block.image, first, block.left);
      for (int64_t pixel = start; pixel < start + columns; ++pixel, branch += channels) {
        const T* x = e.x + pixel * e.channels;
        for (int64_t c = 0; c < e.channels; c += kWidth) {
          const vec value = load(branch + c);
          write(f.y + pixel * e.channels + c, f.residual ? value + read(x + c, e.channels - c) : value, e.channels - c);
        }
      }
    }
  });
}

template <class T>
void feed_forward_kernel(const FeedForward<T>& f, const Parallel& parallel) {
  typedef typename OperandOf<T>::type E;
  const Expansion<T>& e = f.expansion;
  const Matrix out = projection_matrix(f);
  Scratch scratch(ExpansionWeights<T>::bytes(e) + Scratch::bytes<E>(out.packed<E>()) +
                  Scratch::bytes<float>(out.rows.padded()));
  const ExpansionWeights<T> weights(e, true, false, scratch, parallel);
  E* projection = scratch.take<E>(out.packed<E>());
  pack<T>(out, projection, parallel);
  const float* bias = padded_parameter<T>(f.out_bias, out.rows, scratch.take<float>(out.rows.padded()));
  // Rows above and below a block are computed twice: as few blocks as keep the threads busy.
  const int64_t columns = expansion_columns(e.width, weights.parts.padded());
  const int64_t wanted = divide_up(4 * parallel.threads, e.images * divide_up(e.width, columns));
  const int64_t rows = even_part(e.height, std::max<int64_t>(8, divide_up(e.height, wanted)));
  const Grid grid{e.images, e.height, e.width, rows, columns};
  parallel.run(grid.blocks(), [&](int64_t index) { feed_forward_block(f, weights, projection, bias, grid.at(index)); });
}
