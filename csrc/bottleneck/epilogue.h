// A bottleneck adapter as the end of a branch: y += up(GELU(dw(down(branch)))), where the branch's kernel has written
// y = branch (+ x). What comes out of `down` is kept for all pixels, and y is added to while it is in the caches; only
// pixels at the edges of a thread's block wait for their neighbours. Included once for each instruction set.

template <class T>
struct Epilogue {
  typedef typename OperandOf<T>::type E;

  // Pixels that are worked on together.
  static constexpr int64_t kPixels = 128;

  // Working memory of a thread.
  struct Room {
    E *features, *hidden;
    float* result;

    static size_t bytes(const Bottleneck<T>& f) {
      const int64_t c = round_up(f.channels, kWidth), r = round_up(f.rank, kWidth);
      return Scratch::bytes<E>(kPixels * c) + Scratch::bytes<E>(kPixels * r) + Scratch::bytes<float>(kPixels * c);
    }
    Room(const Bottleneck<T>& f, Scratch& scratch)
        : features(scratch.take<E>(kPixels * round_up(f.channels, kWidth))),
          hidden(scratch.take<E>(kPixels * round_up(f.rank, kWidth))),
          result(scratch.take<float>(kPixels * round_up(f.channels, kWidth))) {}
  };

  Bottleneck<T> f;
  BottleneckWeights<T> weights;
  float* reduced;      // (images, height + 2, width + 2, rank), in a frame of zeros
  int64_t image_size;  // of `reduced`

  // Floats of an image's `reduced`.
  static int64_t reduced_size(const Bottleneck<T>& f) {
    return (f.height + 2) * (f.width + 2) * round_up(f.rank, kWidth);
  }

  float* place(int64_t image, int64_t y, int64_t x) const {
    return reduced + image * image_size + ((y + 1) * (f.width + 2) + x + 1) * round_up(f.rank, kWidth);
  }

  void clear_frame(int64_t image) const {
    const int64_t pixel = round_up(f.rank, kWidth) * sizeof(float);
    std::memset(place(image, -1, -1), 0, (f.width + 2) * pixel);
    std::memset(place(image, f.height, -1), 0, (f.width + 2) * pixel);
    for (int64_t y = 0; y < f.height; ++y) {
      std::memset(place(image, y, -1), 0, pixel);
      std::memset(place(image, y, f.width), 0, pixel);
    }
  }

  // Floats as the adapter by itself would read them: rounded to T.
  static const E* operand_of(const float* features, int64_t count, E* room) {
    if constexpr (std::is_same_v<T, float>) {
      return features;
    } else {
      for (int64_t i = 0; i < count; i += kWidth) store(room + i, rounded<T>(load(features + i)));
      return room;
    }
  }

  // Takes the branch's output at `count` pixels of a row from x on: floats, padded with zeros to whole vectors.
  void reduce(int64_t image, int64_t y, int64_t x, int64_t count, const float* features, const Room& room) const {
    const int64_t c = round_up(f.channels, kWidth), r = round_up(f.rank, kWidth);
    for (int64_t first = 0; first < count; first += kPixels) {
      const int64_t some = std::min(kPixels, count - first);
      const E* operand = operand_of(features + first * c, some * c, room.features);
      multiply(operand, c, some, weights.down, r, c, weights.down_bias, place(image, y, x + first), r);
    }
  }

  // Adds to y at the pixels [from, to) of a row, whose neighbours have been reduced.
  void finish(int64_t image, int64_t y, int64_t from, int64_t to, const Room& room) const {
    const int64_t c = round_up(f.channels, kWidth);
    for (; from < to; from += kPixels) {
      const int64_t some = std::min(kPixels, to - from);
      const float* const rows[3] = {place(image, y - 1, from - 1), place(image, y, from - 1),
                                    place(image, y + 1, from - 1)};
      expand_bottleneck(f, weights, rows, some, room.hidden, room.result);
      T* result = f.y + ((image * f.height + y) * f.width + from) * f.channels;
      for (int64_t i = 0; i < some; ++i, result += f.channels) {
        for (int64_t k = 0; k < f.channels; k += kWidth) {
          const vec sum = read(result + k, f.channels - k) + load(room.result + i * c + k);
          write(result + k, sum, f.channels - k);
        }
      }
    }
  }

  // The pixels of a block whose neighbours are in it, or outside of the image.
  Block inside(const Block& block) const {
    return {block.image, block.top + (block.top > 0), block.bottom - (block.bottom < f.height),
            block.left + (block.left > 0), block.right - (block.right < f.width)};
  }

  // Finishes those rows of `inside` from `next` on whose neighbours are reduced, when the rows before `end` are.
  void finish_rows(const Block& inside, int64_t& next, int64_t end, const Room& room) const {
    auto ready = [&](int64_t y) { return y < end && (y + 1 < end || y + 1 == f.height); };
    for (; next < inside.bottom && ready(next); ++next) {
      finish(inside.image, next, inside.left, inside.right, room);
    }
  }

  // Finishes the pixels at both sides of a block's upper and left edge. Of blocks of a grid, only the last of a row or
  // a column may be a single pixel wide: no pixel is at two of these edges.
  void finish_edges(const Block& block, const Room& room) const {
    if (block.top > 0) {
      finish(block.image, block.top - 1, block.left, block.right, room);
      finish(block.image, block.top, block.left, block.right, room);
    }
    if (block.left == 0) return;
    const Block rows = inside(block);
    for (int64_t y = rows.top; y < rows.bottom; ++y) finish(block.image, y, block.left - 1, block.left + 1, room);
  }
};

// The epilogues of all sets of parameters; those of sets without one are left out.
template <class T>
class Epilogues {
 public:
  template <class Arguments>
  static size_t bytes(const PerImage<Arguments>& sets) {
    size_t total = Scratch::bytes<const Epilogue<T>*>(sets.count) + Scratch::bytes<Epilogue<T>>(sets.count);
    for (int64_t set = 0; set < sets.count; ++set) {
      const Bottleneck<T>& f = sets.sets[set].epilogue;
      if (f.down != nullptr) total += BottleneckWeights<T>::bytes(f, false);
    }
    return total + Scratch::bytes<float>(sets.shared().expansion.images * image_size(sets));
  }

  template <class Arguments>
  Epilogues(const PerImage<Arguments>& sets, Scratch& scratch)
      : of_sets_(scratch.take<const Epilogue<T>*>(sets.count)) {
    Epilogue<T>* made = scratch.take<Epilogue<T>>(sets.count);
    const int64_t size = image_size(sets), images = sets.shared().expansion.images;
    float* reduced = scratch.take<float>(images * size);
    for (int64_t set = 0; set < sets.count; ++set) {
      const Bottleneck<T>& f = sets.sets[set].epilogue;
      of_sets_[set] = nullptr;
      if (f.down == nullptr) continue;
      made[set] = {f, BottleneckWeights<T>(f, 0, false, scratch), reduced, size};
      of_sets_[set] = made + set;
      any_ = true;
    }
    for (int64_t image = 0; image < images; ++image) {
      const Epilogue<T>* own = of_sets_[sets.index[image]];
      if (own != nullptr) own->clear_frame(image);
    }
  }

  bool any() const { return any_; }
  // Null where there is none.
  const Epilogue<T>* of_set(int64_t set) const { return of_sets_[set]; }

 private:
  template <class Arguments>
  static int64_t image_size(const PerImage<Arguments>& sets) {
    int64_t most = 0;
    for (int64_t set = 0; set < sets.count; ++set) {
      const Bottleneck<T>& f = sets.sets[set].epilogue;
      if (f.down != nullptr) most = std::max(most, Epilogue<T>::reduced_size(f));
    }
    return most;
  }

  const Epilogue<T>** of_sets_;
  bool any_ = false;
};

// Finishes the edges of all blocks, when everything else is done.
template <class T, class Arguments>
inline void finish_edges(const Epilogues<T>& epilogues, const PerImage<Arguments>& sets, const Grid& grid,
                         const Parallel& parallel) {
  if (!epilogues.any()) return;
  parallel.run(grid.blocks(), [&](int64_t index) {
    const Block block = grid.at(index);
    const Epilogue<T>* epilogue = epilogues.of_set(sets.index[block.image]);
    if (epilogue == nullptr) return;
    Scratch scratch(Epilogue<T>::Room::bytes(epilogue->f));
    epilogue->finish_edges(block, typename Epilogue<T>::Room(epilogue->f, scratch));
  });
}
