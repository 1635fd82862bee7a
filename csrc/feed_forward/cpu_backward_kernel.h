// The backward pass of the feed-forward branch, row by row like the forward pass; included after it, once for each
// instruction set.
//
// With dY the gradient of the branch's output, [a, b] the depthwise convolution's output and z = LN x:
//   d[gated] = W_out^T dY,  da = d[gated] b GELU'(a),  db = d[gated] GELU(a)
//   d[hidden] = the convolution of [da, db] with flipped taps,  dz = W_in^T d[hidden],  dx = dLN(dz) (+ dY)
// Sums over pixels (gradients of parameters) are made for each group of blocks by itself and added in the order of the
// groups; groups depend on the shape alone, so that the bits do not depend on the number of threads.

#include "common/products.h"

constexpr int64_t kMostGroups = 32;

// Gradients of the parameters over some of the pixels, padded; the matrices transposed so that rows are long.
struct FeedForwardSums {
  float *in, *in_bias, *taps, *taps_bias, *out, *out_bias, *norm_weight, *norm_bias;

  template <class T>
  static int64_t count(const FeedForwardBackward<T>& b) {
    const int64_t c = round_up(b.forward.channels, kWidth), h = round_up(b.forward.hidden, kWidth);
    return (b.to_in_weight ? c * 2 * h : 0) + (b.to_in_bias ? 2 * h : 0) + (b.to_depthwise ? 18 * h : 0) +
           (b.to_depthwise_bias ? 2 * h : 0) + (b.to_out_weight ? c * h : 0) + (b.to_out_bias ? c : 0) +
           (b.to_norm_weight ? c : 0) + (b.to_norm_bias ? c : 0);
  }

  template <class T>
  FeedForwardSums(const FeedForwardBackward<T>& b, float* memory) {
    const int64_t c = round_up(b.forward.channels, kWidth), h = round_up(b.forward.hidden, kWidth);
    auto take = [&](const float* wanted, int64_t size) {
      float* piece = wanted == nullptr ? nullptr : memory;
      memory += wanted == nullptr ? 0 : size;
      return piece;
    };
    in = take(b.to_in_weight, c * 2 * h);
    in_bias = take(b.to_in_bias, 2 * h);
    taps = take(b.to_depthwise, 18 * h);
    taps_bias = take(b.to_depthwise_bias, 2 * h);
    out = take(b.to_out_weight, c * h);
    out_bias = take(b.to_out_bias, c);
    norm_weight = take(b.to_norm_weight, c);
    norm_bias = take(b.to_norm_bias, c);
  }

  // Writes the sums without their padding.
  template <class T>
  void write_to(const FeedForwardBackward<T>& b) const {
    const FeedForward<T>& f = b.forward;
    const HiddenChannels channels(f.hidden);
    for (int64_t place = 0; place < channels.padded(); ++place) {
      const int64_t at = channels.at(place);
      if (at < 0) continue;
      for (int64_t k = 0; in != nullptr && k < f.channels; ++k) {
        b.to_in_weight[at * f.channels + k] = in[k * channels.padded() + place];
      }
      for (int64_t tap = 0; taps != nullptr && tap < 9; ++tap) {
        b.to_depthwise[at * 9 + tap] = taps[tap * channels.padded() + place];
      }
      if (in_bias != nullptr) b.to_in_bias[at] = in_bias[place];
      if (taps_bias != nullptr) b.to_depthwise_bias[at] = taps_bias[place];
    }
    for (int64_t k = 0; k < f.channels; ++k) {
      for (int64_t n = 0; out != nullptr && n < f.hidden; ++n) b.to_out_weight[k * f.hidden + n] = out[k * channels.half + n];
      if (out_bias != nullptr) b.to_out_bias[k] = out_bias[k];
      if (norm_weight != nullptr) b.to_norm_weight[k] = norm_weight[k];
      if (norm_bias != nullptr) b.to_norm_bias[k] = norm_bias[k];
    }
  }
};

template <class T>
void feed_forward_backward_block(const FeedForwardBackward<T>& b, const FeedForwardTransposedWeights<T>& weights,
                                 const Block& block, const FeedForwardSums& sums) {
  typedef typename OperandOf<T>::type E;
  const FeedForward<T>& f = b.forward;
  const int64_t c = weights.channels, h = weights.hidden.half, columns = block.right - block.left, wide = columns + 2;
  const bool hidden_again = sums.taps != nullptr;
  const int64_t ring_size = 3 * wide * 2 * h;
  Scratch scratch(Scratch::bytes<float>(wide * c) + Scratch::bytes<E>(wide * c) * 2 +
                  Scratch::bytes<float>(ring_size) * (hidden_again ? 2 : 1) + Scratch::bytes<float>(wide * h) * 2 +
                  Scratch::bytes<E>(columns * 2 * h) + Scratch::bytes<float>(columns * 2 * h) +
                  Scratch::bytes<float>(columns * c) + Scratch::bytes<float>(c) * 2 +
                  (sums.in == nullptr ? 0 : WaitingProducts::bytes(c, 2 * h, columns)) +
                  (sums.out == nullptr ? 0 : WaitingProducts::bytes(c, h, columns)));
  float* wide_gradient = scratch.take<float>(wide * c);
  E* gradient = scratch.take<E>(wide * c);
  E* normalised = scratch.take<E>(wide * c);
  float* ring = scratch.take<float>(ring_size);
  float* hidden_ring = hidden_again ? scratch.take<float>(ring_size) : nullptr;
  float* to_gated = scratch.take<float>(wide * h);
  float* gated = scratch.take<float>(wide * h);
  E* to_hidden = scratch.take<E>(columns * 2 * h);
  float* wide_to_hidden = scratch.take<float>(columns * 2 * h);
  float* to_normalised = scratch.take<float>(columns * c);
  float* pixel = scratch.take<float>(c);
  float* to_pixel = scratch.take<float>(c);
  WaitingProducts in_products(c, 2 * h, columns, sums.in, scratch), out_products(c, h, columns, sums.out, scratch);
  const vec last = last_vector(f.channels);
  const bool biased = f.norm_bias != nullptr;
  const int64_t from = block.left > 0 ? block.left - 1 : 0, to = block.right < f.width ? block.right + 1 : f.width;
  const int64_t inside = from - block.left + 1;  // where `from` lies in a row of the ring
  auto row_of = [&](float* rings, int64_t y) { return rings + ((y + 3) % 3) * wide * 2 * h; };
  std::memset(ring, 0, ring_size * sizeof(float));
  if (hidden_again) std::memset(hidden_ring, 0, ring_size * sizeof(float));
  for (int64_t y = block.top - 1; y <= block.bottom; ++y) {
    const bool outside = y < 0 || y >= f.height;
    if (outside) {
      std::memset(row_of(ring, y), 0, wide * 2 * h * sizeof(float));
      if (hidden_again) std::memset(row_of(hidden_ring, y), 0, wide * 2 * h * sizeof(float));
    } else {
      const int64_t start = (block.image * f.height + y) * f.width + from;
      for (int64_t i = 0; i < to - from; ++i) {
        read_pixel(b.gradient + (start + i) * f.channels, f.channels, wide_gradient + i * c, c);
        for (int64_t k = 0; k < c; k += kWidth) store(gradient + i * c + k, load(wide_gradient + i * c + k));
      }
      multiply(gradient, c, to - from, weights.out_transposed, h, c, nullptr, to_gated, h);
      gate_gradient_row(f.convolved + start * 2 * f.hidden, f.hidden, h, to_gated, to - from,
                        row_of(ring, y) + inside * 2 * h, sums.out == nullptr ? nullptr : gated);
      if (y >= block.top && y < block.bottom) {
        const int64_t skip = block.left - from;
        if (sums.out != nullptr) {
          std::memcpy(out_products.next_a(), wide_gradient + skip * c, columns * c * sizeof(float));
          std::memcpy(out_products.next_b(), gated + skip * h, columns * h * sizeof(float));
          out_products.add_row();
        }
        if (sums.out_bias != nullptr) add_rows(wide_gradient + skip * c, c, c, columns, sums.out_bias);
        if (sums.taps_bias != nullptr) add_rows(row_of(ring, y) + 2 * h, 2 * h, 2 * h, columns, sums.taps_bias);
      }
      if (hidden_again) {
        for (int64_t i = 0; i < to - from; ++i) {
          read_pixel(f.x + (start + i) * f.channels, f.channels, pixel, c);
          normalise_pixel(pixel, statistics(pixel, f.channels, last, f.eps), weights.norm_weight,
                          biased ? weights.norm_bias : nullptr, c, normalised + i * c);
        }
        multiply(normalised, c, to - from, weights.in, 2 * h, c, f.in_bias == nullptr ? nullptr : weights.in_bias,
                 row_of(hidden_ring, y) + inside * 2 * h, 2 * h);
      }
    }
    if (y < block.top + 1) continue;
    const float* const rows[3] = {row_of(ring, y - 2), row_of(ring, y - 1), row_of(ring, y)};
    if (hidden_again) {
      const float* const inputs[3] = {row_of(hidden_ring, y - 2), row_of(hidden_ring, y - 1), row_of(hidden_ring, y)};
      add_tap_gradients(inputs, 2 * h, rows[1] + 2 * h, columns, sums.taps);
    }
    float* wide_row = sums.in != nullptr ? in_products.next_b() : sums.in_bias != nullptr ? wide_to_hidden : nullptr;
    convolve_row(rows, 2 * h, weights.taps, nullptr, columns, [&](int64_t x, int64_t channel, vec value) {
      store(to_hidden + x * 2 * h + channel, value);
      if (wide_row != nullptr) store(wide_row + x * 2 * h + channel, value);
    });
    multiply(to_hidden, 2 * h, columns, weights.in_transposed, c, 2 * h, nullptr, to_normalised, c);
    const int64_t start = (block.image * f.height + y - 1) * f.width + block.left;
    for (int64_t i = 0; i < columns; ++i) {
      read_pixel(f.x + (start + i) * f.channels, f.channels, pixel, c);
      const Statistics found = statistics(pixel, f.channels, last, f.eps);
      if (sums.in != nullptr) {
        normalise_pixel(pixel, found, weights.norm_weight, biased ? weights.norm_bias : nullptr, c,
                        in_products.next_a() + i * c);
      }
      if (sums.norm_weight != nullptr || sums.norm_bias != nullptr) {
        add_norm_parameter_gradients(pixel, found, biased, c, to_normalised + i * c, sums.norm_weight, sums.norm_bias);
      }
      if (b.to_x == nullptr) continue;
      normalised_pixel_gradient(pixel, found, weights.norm_weight, biased, f.channels, to_normalised + i * c, to_pixel);
      const T* dy = b.gradient + (start + i) * f.channels;
      T* dx = b.to_x + (start + i) * f.channels;
      for (int64_t k = 0; k < f.channels; k += kWidth) {
        const vec branch = load(to_pixel + k);
        write(dx + k, f.residual ? branch + read(dy + k, f.channels - k) : branch, f.channels - k);
      }
    }
    if (sums.in_bias != nullptr) add_rows(wide_row, 2 * h, 2 * h, columns, sums.in_bias);
    if (sums.in != nullptr) in_products.add_row();
  }
}

template <class T>
void feed_forward_backward_kernel(const FeedForwardBackward<T>& b, const Parallel& parallel) {
  const FeedForward<T>& f = b.forward;
  Scratch memory(FeedForwardTransposedWeights<T>::bytes(f));
  const FeedForwardTransposedWeights<T> weights(f, b.to_depthwise != nullptr, memory);
  const int64_t columns = even_part(f.width, std::max<int64_t>(30, kRingFloats / (3 * weights.hidden.padded())));
  const Grid grid{f.images, f.height, f.width, even_part(f.height, 32), columns};
  const int64_t size = FeedForwardSums::count(b);
  const int64_t groups = size == 0 ? grid.blocks() : std::min(grid.blocks(), kMostGroups);
  Scratch partial_sums(Scratch::bytes<float>(groups * size));
  float* partial = partial_sums.take<float>(groups * size);
  std::memset(partial, 0, groups * size * sizeof(float));
  parallel.run(groups, [&](int64_t group) {
    const FeedForwardSums sums(b, partial + group * size);
    for (int64_t index = group * grid.blocks() / groups; index < (group + 1) * grid.blocks() / groups; ++index) {
      feed_forward_backward_block(b, weights, grid.at(index), sums);
    }
  });
  if (size == 0) return;
  add_groups(partial, groups, size, parallel);
  FeedForwardSums(b, partial).write_to(b);
}
