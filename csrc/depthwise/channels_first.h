// Depthwise convolution with channels first: a plane at a time. Included once for each instruction set.

template <class T>
void convolve_planes(const Depthwise<T>& f, const Parallel& parallel) {
  parallel.run(f.images * f.channels, [&](int64_t plane) {
    const int64_t channel = plane % f.channels, start = plane * f.height * f.width;
    Scratch scratch(PlaneRing::bytes(f.width));
    const PlaneRing ring(f.width, scratch);
    float taps[9];
    plane_taps<T>(f.weight + channel * 9, f.flipped, taps);
    const float bias = f.bias == nullptr ? 0.0f : rounded<T>(f.bias[channel]);
    for (int64_t y = 0; y <= f.height; ++y) {
      ring.read_row(y, f.x + start, f.height);
      if (y > 0) write_convolved(ring, y - 1, taps, bias, f.y + start);
    }
  });
}

template <class T>
void sum_tap_gradients_of_planes(const DepthwiseGradients<T>& f, const Parallel& parallel) {
  Scratch memory(PlaneContributions::bytes(f.images, f.channels));
  const PlaneContributions contributions(f.images, f.channels, memory);
  parallel.run(f.images * f.channels, [&](int64_t plane) {
    const int64_t start = plane * f.height * f.width, padded = round_up(f.width, kWidth);
    Scratch scratch(PlaneTapSums<T>::bytes(f.width) + Scratch::bytes<float>(padded));
    PlaneTapSums<T> sums(f.width, f.height, f.to_weight == nullptr ? nullptr : f.x + start, scratch);
    float* gradient = scratch.take<float>(padded);
    for (int64_t y = 0; y < f.height; ++y) {
      read_pixel(f.gradient + start + y * f.width, f.width, gradient, padded);
      sums.add_row(y, f.height, gradient);
    }
    sums.write_sums(contributions.of(plane / f.channels, plane % f.channels));
  });
  contributions.add_up(f.to_weight, f.to_bias);
}
