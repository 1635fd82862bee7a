// How the pixels of images are shared out among threads.
#pragma once

#include <cstdint>

namespace adair {

// A part of one image: rows [top, bottom) and columns [left, right).
struct Block {
  int64_t image, top, bottom, left, right;
};

// A grid of blocks over all images.
struct Grid {
  int64_t images, height, width, block_height, block_width;

  int64_t down() const { return (height + block_height - 1) / block_height; }
  int64_t across() const { return (width + block_width - 1) / block_width; }
  int64_t blocks() const { return images * down() * across(); }

  Block at(int64_t index) const {
    const int64_t column = index % across(), row = index / across() % down(), image = index / across() / down();
    const int64_t top = row * block_height, left = column * block_width;
    return {image, top, top + block_height < height ? top + block_height : height, left,
            left + block_width < width ? left + block_width : width};
  }
};

inline int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Divides `length` into equal parts of about `wanted`.
inline int64_t even_part(int64_t length, int64_t wanted) {
  return wanted >= length ? length : divide_up(length, divide_up(length, wanted));
}

}  // namespace adair
