// Rows of pixels, channels last: reading and normalising them. Included once for each instruction set.

// Copies one pixel, and pads it with zeros to `padded` channels (whole vectors).
template <class T, class E>
inline void read_pixel(const T* from, int64_t channels, E* to, int64_t padded) {
  int64_t c = 0;
  for (; c + kWidth <= channels; c += kWidth) store(to + c, load(from + c));
  if (c < channels) {
    store(to + c, load_part(from + c, channels - c));
    c += kWidth;
  }
  for (; c < padded; c += kWidth) store(to + c, vec{});
}

template <class T, class E>
inline void read_pixels(const T* from, int64_t channels, int64_t count, E* to, int64_t padded) {
  for (int64_t i = 0; i < count; ++i) read_pixel(from + i * channels, channels, to + i * padded, padded);
}

// The layer norms of pixels are computed for groups of up to kWidth, whose sums over channels are added up across
// vectors at once. Pixels, and all else that has channels, are padded with zeros.

// Mean and 1 / sqrt(variance + eps) over the channels of each pixel of a group.
struct Statistics {
  float mean[kWidth], rstd[kWidth];

  Statistics(const float* pixels, int64_t channels, int64_t count, float eps) {
    const int64_t padded = round_up(channels, kWidth), end = padded - kWidth;
    const vec size = splat(static_cast<float>(channels)), last = first_lanes(channels - end);
    vec totals[kWidth] = {};
    for (int64_t p = 0; p < count; ++p) {
      for (int64_t c = 0; c < padded; c += kWidth) totals[p] += load(pixels + p * padded + c);
    }
    store(mean, sums(totals) / size);
    for (int64_t p = 0; p < count; ++p) {
      vec squares{};
      for (int64_t c = 0; c < end; c += kWidth) {
        const vec centred = load(pixels + p * padded + c) - splat(mean[p]);
        squares += centred * centred;
      }
      // The padding would count with the square of the mean.
      const vec centred = (load(pixels + p * padded + end) - splat(mean[p])) * last;
      totals[p] = squares + centred * centred;
    }
    store(rstd, reciprocal_root(sums(totals) / size + splat(eps)));
  }
};

// The layer norm of a group: (x - mean) rstd w + b, or x rstd w where there is no bias (see
// adair_core/ops/layer_norm2d/reference.py).
template <class E>
inline void normalise(const float* pixels, const Statistics& found, const float* weight, const float* bias,
                      int64_t padded, int64_t count, E* to) {
  for (int64_t p = 0; p < count; ++p) {
    const vec mean = splat(found.mean[p]), rstd = splat(found.rstd[p]);
    for (int64_t c = 0; c < padded; c += kWidth) {
      const vec scaled = rstd * load(weight + c), x = load(pixels + p * padded + c);
      store(to + p * padded + c, bias == nullptr ? x * scaled : (x - mean) * scaled + load(bias + c));
    }
  }
}

// The gradient of the layer norm of a group, with respect to the pixels: with g = gradient x weight, z = x - mean and
// <.> the mean over channels,
//   biased:    rstd (g - <g> - z rstd^2 <g z>)
//   bias-free: rstd (g - z rstd^2 <g x>)
// The weight's padding with zeros makes that of the gradient count for nothing; that of the result is arbitrary.
inline void differentiate_norm(const float* pixels, const Statistics& found, const float* weight, bool biased,
                               int64_t channels, int64_t count, const float* gradient, float* to) {
  const int64_t padded = round_up(channels, kWidth);
  vec totals[kWidth] = {}, along[kWidth] = {};
  for (int64_t p = 0; p < count; ++p) {
    const vec origin = splat(biased ? found.mean[p] : 0.0f);
    for (int64_t c = 0; c < padded; c += kWidth) {
      const vec g = load(gradient + p * padded + c) * load(weight + c);
      totals[p] += g;
      along[p] += g * (load(pixels + p * padded + c) - origin);
    }
  }
  const vec size = splat(static_cast<float>(channels));
  float middles[kWidth], slopes[kWidth];
  store(middles, biased ? sums(totals) / size : vec{});
  store(slopes, load(found.rstd) * load(found.rstd) * (sums(along) / size));
  for (int64_t p = 0; p < count; ++p) {
    const vec mean = splat(found.mean[p]), rstd = splat(found.rstd[p]);
    for (int64_t c = 0; c < padded; c += kWidth) {
      const vec g = load(gradient + p * padded + c) * load(weight + c);
      const vec centred = load(pixels + p * padded + c) - mean;
      store(to + p * padded + c, rstd * (g - splat(middles[p]) - centred * splat(slopes[p])));
    }
  }
}

// Adds what a group contributes to the gradients of a layer norm's weight and bias; null where they are not wanted.
inline void add_norm_parameter_gradients(const float* pixels, const Statistics& found, bool biased, int64_t padded,
                                         int64_t count, const float* gradient, float* to_weight, float* to_bias) {
  for (int64_t c = 0; c < padded; c += kWidth) {
    vec weight{}, bias{};
    for (int64_t p = 0; p < count; ++p) {
      const vec g = load(gradient + p * padded + c), origin = splat(biased ? found.mean[p] : 0.0f);
      weight += g * (load(pixels + p * padded + c) - origin) * splat(found.rstd[p]);
      bias += g;
    }
    if (to_weight != nullptr) store(to_weight + c, load(to_weight + c) + weight);
    if (to_bias != nullptr) store(to_bias + c, load(to_bias + c) + bias);
  }
}
