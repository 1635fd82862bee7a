// Channels in equal parts, each padded with zeros to whole vectors. Included once for each instruction set.

struct Parts {
  int64_t count, size, padded_size;

  Parts(int64_t count, int64_t size) : Parts(count, size, kWidth) {}
  // Padded to whole `steps` only, for what is summed over.
  Parts(int64_t count, int64_t size, int64_t steps) : count(count), size(size), padded_size(round_up(size, steps)) {}

  int64_t channels() const { return count * size; }
  int64_t padded() const { return count * padded_size; }
  // Whether there is no padding.
  bool whole() const { return size == padded_size; }

  // Calls use(channel, place) with every channel and its place among the padded ones.
  template <class Use>
  void for_each(const Use& use) const {
    for (int64_t part = 0; part < count; ++part) {
      for (int64_t i = 0; i < size; ++i) use(part * size + i, part * padded_size + i);
    }
  }
};

// Reads all parts of one pixel.
template <class T, class E>
inline void read_parts(const T* from, const Parts& parts, E* to) {
  for (int64_t part = 0; part < parts.count; ++part) {
    read_pixel(from + part * parts.size, parts.size, to + part * parts.padded_size, parts.padded_size);
  }
}

// Writes all parts of one pixel without their padding.
template <class T>
inline void write_parts(const float* from, const Parts& parts, T* to) {
  for (int64_t part = 0; part < parts.count; ++part) {
    for (int64_t c = 0; c < parts.size; c += kWidth) {
      write(to + part * parts.size + c, load(from + part * parts.padded_size + c), parts.size - c);
    }
  }
}

// A parameter of each channel, rounded as the arithmetic in type T sees it; null stays null.
template <class T>
inline float* padded_parameter(const float* from, const Parts& parts, float* to) {
  if (from == nullptr) return nullptr;
  std::memset(to, 0, parts.padded() * sizeof(float));
  parts.for_each([&](int64_t channel, int64_t place) { to[place] = rounded<T>(from[channel]); });
  return to;
}

// Taps of a depthwise convolution, taps[tap * padded + place]; `flipped` for the gradient with respect to the input.
template <class T>
inline void padded_taps(const float* depthwise, const Parts& parts, bool flipped, float* taps) {
  const int64_t padded = parts.padded();
  std::memset(taps, 0, 9 * padded * sizeof(float));
  parts.for_each([&](int64_t channel, int64_t place) {
    for (int64_t tap = 0; tap < 9; ++tap) {
      taps[tap * padded + place] = rounded<T>(depthwise[channel * 9 + (flipped ? 8 - tap : tap)]);
    }
  });
}
