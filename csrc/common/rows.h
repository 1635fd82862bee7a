// Rows of pixels, channels last: reading, normalising and writing them. Included once for each instruction set.

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

// Mean and 1 / sqrt(variance + eps) over the channels of one pixel.
struct Statistics {
  float mean;
  float rstd;
};

// Ones for the channels in the last vector, zeros for its padding.
inline vec last_vector(int64_t channels) {
  return first_lanes((channels - 1) % kWidth + 1);
}

inline Statistics statistics(const float* pixel, int64_t channels, vec last, float eps) {
  const int64_t end = round_up(channels, kWidth) - kWidth;
  vec total{};
  for (int64_t c = 0; c <= end; c += kWidth) total += load(pixel + c);
  const float mean = sum(total) / static_cast<float>(channels);
  vec squares{};
  for (int64_t c = 0; c < end; c += kWidth) {
    const vec centred = load(pixel + c) - splat(mean);
    squares += centred * centred;
  }
  // The padding would count with the square of the mean.
  const vec centred = (load(pixel + end) - splat(mean)) * last;
  squares += centred * centred;
  return {mean, 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(channels) + eps)};
}

// The layer norm of one pixel: (x - mean) rstd w + b, or x rstd w where there is no bias (see
// adair_core/ops/layer_norm2d/reference.py). Weight and bias are padded with zeros, and so is the result.
template <class T>
inline void normalise_pixel(const float* pixel, Statistics found, const float* weight, const float* bias,
                            int64_t padded, T* to) {
  for (int64_t c = 0; c < padded; c += kWidth) {
    const vec scaled = splat(found.rstd) * load(weight + c);
    const vec x = load(pixel + c);
    store(to + c, bias == nullptr ? x * scaled : (x - splat(found.mean)) * scaled + load(bias + c));
  }
}

// The gradient of the layer norm of one pixel, with respect to the pixel: with g = gradient x weight, z = x - mean and
// <.> the mean over channels,
//   biased:    rstd (g - <g> - z rstd^2 <g z>)
//   bias-free: rstd (g - z rstd^2 <g x>)
// The weight's padding with zeros makes that of the gradient count for nothing; that of the result is arbitrary.
inline void normalised_pixel_gradient(const float* pixel, Statistics found, const float* weight, bool biased,
                                      int64_t channels, const float* gradient, float* to) {
  const int64_t padded = round_up(channels, kWidth);
  const vec mean = splat(found.mean), origin = splat(biased ? found.mean : 0.0f);
  vec total{}, along{};
  for (int64_t c = 0; c < padded; c += kWidth) {
    const vec g = load(gradient + c) * load(weight + c);
    total += g;
    along += g * (load(pixel + c) - origin);
  }
  const float count = static_cast<float>(channels);
  const vec middle = splat(biased ? sum(total) / count : 0.0f);
  const vec slope = splat(found.rstd * found.rstd * sum(along) / count);
  for (int64_t c = 0; c < padded; c += kWidth) {
    const vec g = load(gradient + c) * load(weight + c);
    store(to + c, splat(found.rstd) * (g - middle - (load(pixel + c) - mean) * slope));
  }
}

// Adds what one pixel contributes to the gradients of a layer norm's weight and bias; null where they are not wanted.
inline void add_norm_parameter_gradients(const float* pixel, Statistics found, bool biased, int64_t padded,
                                         const float* gradient, float* to_weight, float* to_bias) {
  const vec origin = splat(biased ? found.mean : 0.0f), rstd = splat(found.rstd);
  for (int64_t c = 0; c < padded; c += kWidth) {
    const vec g = load(gradient + c);
    if (to_weight != nullptr) store(to_weight + c, load(to_weight + c) + g * (load(pixel + c) - origin) * rstd);
    if (to_bias != nullptr) store(to_bias + c, load(to_bias + c) + g);
  }
}
