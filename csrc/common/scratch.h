// Working memory of a kernel call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace adair {

// Memory from which aligned pieces are cut, one after the other.
class Pieces {
 public:
  static constexpr size_t kAlignment = 64;

  template <class T>
  static constexpr size_t bytes(int64_t count) {
    return (static_cast<size_t>(count) * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }

  explicit Pieces(char* start) : next_(start) {}

  template <class T>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += bytes<T>(count);
    return piece;
  }

 protected:
  char* next_;
};

// A block of memory from which pieces are cut; given back as a whole.
//
// Each thread keeps its last block of up to 16 MiB: the system would clear a new one, page by page. Pieces hold
// whatever was there. Their sizes are summed first:
//
//   Scratch scratch(Scratch::bytes<float>(100) + Scratch::bytes<bfloat16>(50));
//   float* a = scratch.take<float>(100);
//   bfloat16* b = scratch.take<bfloat16>(50);
class Scratch : public Pieces {
 public:
  explicit Scratch(size_t size) : Pieces(nullptr) {
    block_ = std::exchange(kept(), Block());
    if (block_.size < size || block_.start == nullptr) block_ = Block(size);
    next_ = block_.start;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    if (block_.size <= kLargestKept && block_.size > kept().size) kept() = std::move(block_);
  }

 private:
  static constexpr size_t kLargestKept = size_t{16} << 20;

  struct Block {
    char* start = nullptr;
    size_t size = 0;

    Block() = default;
    explicit Block(size_t wanted) : size((wanted / kAlignment + 1) * kAlignment) {
      start = static_cast<char*>(std::aligned_alloc(kAlignment, size));
      if (start == nullptr) throw std::bad_alloc();
    }
    Block(Block&& other) noexcept
        : start(std::exchange(other.start, nullptr)), size(std::exchange(other.size, 0)) {}
    Block& operator=(Block&& other) noexcept {
      std::swap(start, other.start);
      std::swap(size, other.size);
      return *this;
    }
    ~Block() { std::free(start); }
  };

  static Block& kept() {
    thread_local Block block;
    return block;
  }

  Block block_;
};

}  // namespace adair
