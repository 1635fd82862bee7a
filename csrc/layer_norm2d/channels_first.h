// Layer norm with channels first: vectors of pixels. A run of pixels of all channels is copied to working memory once:
// in place, its channels are a plane apart, and planes of 2^n pixels fall on the same few cache lines. Included once
// for each instruction set.

// Floats of a run, in a part of the second-level cache.
constexpr int64_t kRunFloats = 32 * 1024;

inline int64_t run_of_pixels(int64_t floats_per_pixel, int64_t pixels) {
  const int64_t wanted = std::max<int64_t>(4 * kWidth, kRunFloats / floats_per_pixel);
  return round_up(std::min(even_part(pixels, wanted), pixels), kWidth);
}

template <class T, bool Biased>
inline void normalise_run(const LayerNorm2d<T>& f, int64_t image, int64_t start, int64_t count, int64_t run,
                          float* values, float* mean, float* rstd) {
  const int64_t channels = f.channels;
  const vec share = splat(1.0f / static_cast<float>(channels));
  const T* x = f.x + image * channels * f.pixels + start;
  T* y = f.y + image * channels * f.pixels + start;
  std::memset(mean, 0, run * sizeof(float));
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < count; i += kWidth) {
      const vec value = read(x + c * f.pixels + i, count - i);
      store(values + c * run + i, value);
      store(mean + i, load(mean + i) + value);
    }
  }
  for (int64_t i = 0; i < count; i += kWidth) store(mean + i, load(mean + i) * share);
  std::memset(rstd, 0, run * sizeof(float));
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < count; i += kWidth) {
      const vec centred = load(values + c * run + i) - load(mean + i);
      store(rstd + i, load(rstd + i) + centred * centred);
    }
  }
  for (int64_t i = 0; i < count; i += kWidth) {
    store(rstd + i, reciprocal_root(load(rstd + i) * share + splat(f.eps)));
  }
  std::memcpy(f.mean + image * f.pixels + start, mean, count * sizeof(float));
  std::memcpy(f.rstd + image * f.pixels + start, rstd, count * sizeof(float));
  for (int64_t c = 0; c < channels; ++c) {
    const vec weight = splat(f.weight[c]), bias = splat(Biased ? f.bias[c] : 0.0f);
    for (int64_t i = 0; i < count; i += kWidth) {
      const vec value = load(values + c * run + i), scaled = load(rstd + i) * weight;
      write(y + c * f.pixels + i, Biased ? (value - load(mean + i)) * scaled + bias : value * scaled, count - i);
    }
  }
}

template <class T>
void normalise_planes(const LayerNorm2d<T>& f, const Parallel& parallel) {
  const int64_t run = run_of_pixels(f.channels, f.pixels), runs = divide_up(f.pixels, run);
  parallel.run(f.images * runs, [&](int64_t index) {
    Scratch scratch(Scratch::bytes<float>(f.channels * run) + 2 * Scratch::bytes<float>(run));
    float* values = scratch.take<float>(f.channels * run);
    float* mean = scratch.take<float>(run);
    float* rstd = scratch.take<float>(run);
    const int64_t image = index / runs, start = index % runs * run, count = std::min(run, f.pixels - start);
    if (f.bias != nullptr) {
      normalise_run<T, true>(f, image, start, count, run, values, mean, rstd);
    } else {
      normalise_run<T, false>(f, image, start, count, run, values, mean, rstd);
    }
  });
}

// Working memory of the gradient of one run.
struct RunGradient {
  float *inner, *centred, *mean, *rstd, *inner_sum, *along_sum;

  static size_t bytes(int64_t channels, int64_t run) {
    return 2 * Scratch::bytes<float>(channels * run) + 4 * Scratch::bytes<float>(run);
  }

  RunGradient(int64_t channels, int64_t run, Scratch& scratch) {
    inner = scratch.take<float>(channels * run);
    centred = scratch.take<float>(channels * run);
    for (float** row : {&mean, &rstd, &inner_sum, &along_sum}) *row = scratch.take<float>(run);
  }
};

// `to_weight` and `to_bias` hold a vector for each channel.
template <class T, bool Biased>
inline void differentiate_run(const LayerNorm2dBackward<T>& f, int64_t image, int64_t start, int64_t count,
                              int64_t run, const RunGradient& work, float* to_weight, float* to_bias) {
  const int64_t channels = f.channels;
  const vec share = splat(1.0f / static_cast<float>(channels));
  const T* x = f.x + image * channels * f.pixels + start;
  const T* gradient = f.gradient + image * channels * f.pixels + start;
  T* to_x = f.to_x + image * channels * f.pixels + start;
  for (float* row : {work.mean, work.rstd, work.inner_sum, work.along_sum}) std::memset(row, 0, run * sizeof(float));
  std::memcpy(work.mean, f.mean + image * f.pixels + start, count * sizeof(float));
  std::memcpy(work.rstd, f.rstd + image * f.pixels + start, count * sizeof(float));
  for (int64_t c = 0; c < channels; ++c) {
    const vec weight = splat(f.weight[c]);
    vec weight_sum = load(to_weight + c * kWidth), bias_sum = load(to_bias + c * kWidth);
    for (int64_t i = 0; i < count; i += kWidth) {
      const vec value = read(x + c * f.pixels + i, count - i), outer = read(gradient + c * f.pixels + i, count - i);
      const vec rstd = load(work.rstd + i), inner = outer * weight;
      const vec centred = (value - load(work.mean + i)) * rstd;
      // What the gradient of the weight multiplies: x normalised, or only scaled.
      const vec factor = Biased ? centred : value * rstd;
      store(work.inner + c * run + i, inner);
      store(work.centred + c * run + i, centred);
      if (Biased) store(work.inner_sum + i, load(work.inner_sum + i) + inner);
      store(work.along_sum + i, load(work.along_sum + i) + inner * factor);
      weight_sum += outer * factor;
      bias_sum += outer;
    }
    store(to_weight + c * kWidth, weight_sum);
    store(to_bias + c * kWidth, bias_sum);
  }
  for (int64_t i = 0; i < count; i += kWidth) {
    store(work.inner_sum + i, load(work.inner_sum + i) * share);
    store(work.along_sum + i, load(work.along_sum + i) * share);
  }
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < count; i += kWidth) {
      const vec found = load(work.inner + c * run + i) - load(work.inner_sum + i) -
                        load(work.centred + c * run + i) * load(work.along_sum + i);
      write(to_x + c * f.pixels + i, found * load(work.rstd + i), count - i);
    }
  }
}

template <class T>
void differentiate_planes(const LayerNorm2dBackward<T>& f, const Parallel& parallel) {
  const int64_t channels = f.channels, run = run_of_pixels(2 * channels, f.pixels);
  // Parts of an image's runs, whose gradients of the weight are summed apart.
  const int64_t runs = divide_up(f.pixels, run), part = divide_up(runs, std::max<int64_t>(1, kNormParts / f.images));
  const int64_t parts = divide_up(runs, part);
  Scratch memory(Scratch::bytes<float>(f.images * parts * 2 * channels));
  float* partial = memory.take<float>(f.images * parts * 2 * channels);
  parallel.run(f.images * parts, [&](int64_t index) {
    Scratch scratch(RunGradient::bytes(channels, run) + Scratch::bytes<float>(2 * channels * kWidth));
    const RunGradient work(channels, run, scratch);
    float* to_weight = scratch.take<float>(2 * channels * kWidth);
    std::memset(to_weight, 0, 2 * channels * kWidth * sizeof(float));
    const int64_t image = index / parts, first = index % parts * part;
    for (int64_t i = first; i < std::min(runs, first + part); ++i) {
      const int64_t start = i * run, count = std::min(run, f.pixels - start);
      float* to_bias = to_weight + channels * kWidth;
      if (f.bias_free) {
        differentiate_run<T, false>(f, image, start, count, run, work, to_weight, to_bias);
      } else {
        differentiate_run<T, true>(f, image, start, count, run, work, to_weight, to_bias);
      }
    }
    for (int64_t c = 0; c < 2 * channels; ++c) {
      partial[index * 2 * channels + c] = sum(load(to_weight + c * kWidth));
    }
  });
  add_parts(partial, f.images * parts, 2 * channels, channels, f.to_weight);
  add_parts(partial + channels, f.images * parts, 2 * channels, channels, f.to_bias);
}
