// Channels in equal parts, each padded with zeros to whole vectors. Included once for each instruction set.

struct Parts {
  int64_t count, size, padded_size;

  Parts(int64_t count, int64_t size) : count(count), size(size), padded_size(round_up(size, kWidth)) {}

  int64_t padded() const { return count * padded_size; }

  // The channel without padding at a padded place, or -1.
  int64_t at(int64_t place) const {
    const int64_t inside = place % padded_size;
    return inside < size ? place / padded_size * size + inside : -1;
  }
};

// The channel at every place, or -1: for loops in which the divisions of Parts::at would cost more than all else.
struct PlaceTable {
  int64_t* channels;

  static int64_t bytes(const Parts& parts) { return Scratch::bytes<int64_t>(parts.padded()); }
  PlaceTable(const Parts& parts, Scratch& scratch) : channels(scratch.take<int64_t>(parts.padded())) {
    for (int64_t place = 0; place < parts.padded(); ++place) channels[place] = parts.at(place);
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
  for (int64_t place = 0; place < parts.padded(); ++place) {
    const int64_t at = parts.at(place);
    to[place] = at >= 0 ? rounded<T>(from[at]) : 0.0f;
  }
  return to;
}

// Taps of a depthwise convolution, taps[tap * padded + place]; `flipped` for the gradient with respect to the input.
template <class T>
inline void padded_taps(const float* depthwise, const Parts& parts, bool flipped, float* taps) {
  for (int64_t tap = 0; tap < 9; ++tap) {
    for (int64_t place = 0; place < parts.padded(); ++place) {
      const int64_t at = parts.at(place);
      taps[tap * parts.padded() + place] = at >= 0 ? rounded<T>(depthwise[at * 9 + (flipped ? 8 - tap : tap)]) : 0.0f;
    }
  }
}
