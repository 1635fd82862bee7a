// Layer norm with channels last: vectors of channels, kWidth pixels together, so that their sums are added up across
// vectors at once. Included once for each instruction set.

// Pixels that one thread takes at a time, and parts of the weight gradient that are summed apart.
constexpr int64_t kNormFloats = 64 * 1024;
constexpr int64_t kNormParts = 64;

// Calls work(c, left) for each vector of channels; `left` channels begin there.
template <class Work>
inline void each_vector(int64_t channels, const Work& work) {
  int64_t c = 0;
  for (; c + kWidth <= channels; c += kWidth) work(c, static_cast<int64_t>(kWidth));
  if (c < channels) work(c, channels - c);
}

// A parameter padded with zeros to whole vectors; zeros where there is none.
inline float* padded(const float* parameter, int64_t channels, Scratch& scratch) {
  const int64_t size = round_up(channels, kWidth);
  float* result = scratch.take<float>(size);
  for (int64_t c = 0; c < size; ++c) result[c] = c < channels && parameter != nullptr ? parameter[c] : 0.0f;
  return result;
}

template <class T, bool Biased>
inline void normalise_group(const LayerNorm2d<T>& f, const float* weight, const float* bias, int64_t first,
                            int64_t count) {
  const int64_t channels = f.channels;
  const T* x = f.x + first * channels;
  const vec share = splat(1.0f / static_cast<float>(channels));
  const vec last = first_lanes(channels % kWidth);
  vec totals[kWidth] = {};
  for (int64_t p = 0; p < count; ++p) {
    vec total{};
    each_vector(channels, [&](int64_t c, int64_t left) { total += read(x + p * channels + c, left); });
    totals[p] = total;
  }
  float means[kWidth], rstds[kWidth];
  store(means, sums(totals) * share);
  for (int64_t p = 0; p < count; ++p) {
    const vec mean = splat(means[p]);
    vec squares{};
    each_vector(channels, [&](int64_t c, int64_t left) {
      vec centred = read(x + p * channels + c, left) - mean;
      // The padding would count with the square of the mean.
      if (left < kWidth) centred *= last;
      squares += centred * centred;
    });
    totals[p] = squares;
  }
  store(rstds, reciprocal_root(sums(totals) * share + splat(f.eps)));
  std::memcpy(f.mean + first, means, count * sizeof(float));
  std::memcpy(f.rstd + first, rstds, count * sizeof(float));
  T* y = f.y + first * channels;
  for (int64_t p = 0; p < count; ++p) {
    const vec mean = splat(means[p]), rstd = splat(rstds[p]);
    each_vector(channels, [&](int64_t c, int64_t left) {
      const vec value = read(x + p * channels + c, left), scaled = rstd * load(weight + c);
      write(y + p * channels + c, Biased ? (value - mean) * scaled + load(bias + c) : value * scaled, left);
    });
  }
}

template <class T>
void normalise_pixels(const LayerNorm2d<T>& f, const Parallel& parallel) {
  Scratch scratch(2 * Scratch::bytes<float>(round_up(f.channels, kWidth)));
  const float* weight = padded(f.weight, f.channels, scratch);
  const float* bias = padded(f.bias, f.channels, scratch);
  const int64_t pixels = f.images * f.pixels;
  const int64_t part = even_part(pixels, std::max<int64_t>(kWidth, kNormFloats / f.channels));
  parallel.run(divide_up(pixels, part), [&](int64_t index) {
    const int64_t end = std::min(pixels, (index + 1) * part);
    for (int64_t first = index * part; first < end; first += kWidth) {
      const int64_t count = std::min<int64_t>(kWidth, end - first);
      if (f.bias != nullptr) {
        normalise_group<T, true>(f, weight, bias, first, count);
      } else {
        normalise_group<T, false>(f, weight, bias, first, count);
      }
    }
  });
}

template <class T, bool Biased>
inline void differentiate_group(const LayerNorm2dBackward<T>& f, const float* weight, int64_t first, int64_t count,
                                float* to_weight, float* to_bias) {
  const int64_t channels = f.channels;
  const T* x = f.x + first * channels;
  const T* gradient = f.gradient + first * channels;
  const float* means = f.mean + first;
  const float* rstds = f.rstd + first;
  const vec share = splat(1.0f / static_cast<float>(channels));
  // What the gradient of the weight multiplies: x normalised, or only scaled.
  auto factor = [](vec value, vec mean, vec rstd) { return Biased ? (value - mean) * rstd : value * rstd; };
  vec inner_sums[kWidth] = {}, along_sums[kWidth] = {};
  for (int64_t p = 0; p < count; ++p) {
    const vec mean = splat(means[p]), rstd = splat(rstds[p]);
    vec inner_sum{}, along_sum{};
    each_vector(channels, [&](int64_t c, int64_t left) {
      const vec inner = read(gradient + p * channels + c, left) * load(weight + c);
      inner_sum += inner;
      along_sum += inner * factor(read(x + p * channels + c, left), mean, rstd);
    });
    inner_sums[p] = inner_sum, along_sums[p] = along_sum;
  }
  float inner_means[kWidth], along_means[kWidth];
  store(inner_means, Biased ? sums(inner_sums) * share : vec{});
  store(along_means, sums(along_sums) * share);
  T* to_x = f.to_x + first * channels;
  each_vector(channels, [&](int64_t c, int64_t left) {
    const vec scale = load(weight + c);
    vec weight_sum{}, bias_sum{};
    for (int64_t p = 0; p < count; ++p) {
      const vec mean = splat(means[p]), rstd = splat(rstds[p]);
      const vec outer = read(gradient + p * channels + c, left), value = read(x + p * channels + c, left);
      const vec centred = (value - mean) * rstd;
      const vec found = outer * scale - splat(inner_means[p]) - centred * splat(along_means[p]);
      write(to_x + p * channels + c, found * rstd, left);
      weight_sum += outer * factor(value, mean, rstd);
      bias_sum += outer;
    }
    store(to_weight + c, load(to_weight + c) + weight_sum);
    store(to_bias + c, load(to_bias + c) + bias_sum);
  });
}

template <class T>
void differentiate_pixels(const LayerNorm2dBackward<T>& f, const Parallel& parallel) {
  const int64_t size = round_up(f.channels, kWidth), pixels = f.images * f.pixels;
  const int64_t part = even_part(pixels, std::max(kNormFloats / f.channels, divide_up(pixels, kNormParts)));
  const int64_t parts = divide_up(pixels, part);
  Scratch scratch(Scratch::bytes<float>(size) + Scratch::bytes<float>(parts * 2 * size));
  const float* weight = padded(f.weight, f.channels, scratch);
  float* partial = scratch.take<float>(parts * 2 * size);
  parallel.run(parts, [&](int64_t index) {
    float* to_weight = partial + index * 2 * size;
    std::memset(to_weight, 0, 2 * size * sizeof(float));
    const int64_t end = std::min(pixels, (index + 1) * part);
    for (int64_t first = index * part; first < end; first += kWidth) {
      const int64_t count = std::min<int64_t>(kWidth, end - first);
      if (f.bias_free) {
        differentiate_group<T, false>(f, weight, first, count, to_weight, to_weight + size);
      } else {
        differentiate_group<T, true>(f, weight, first, count, to_weight, to_weight + size);
      }
    }
  });
  add_parts(partial, parts, 2 * size, f.channels, f.to_weight);
  add_parts(partial + size, parts, 2 * size, f.channels, f.to_bias);
}
