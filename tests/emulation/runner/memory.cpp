#include "memory.h"

#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <vector>

#include "threads.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace emulation {
namespace {

constexpr size_t kGuard = 1024, kAlignment = 512, kGranule = 2;
constexpr unsigned char kPoison = 0xff;

// Reads since the last write.
struct Reads {
  Moment last;
  bool several_blocks = false, several_warps = false, several_lanes = false;

  void add(const Moment& now) {
    several_blocks = several_blocks || (last.block >= 0 && last.block != now.block);
    if (last.block >= 0 && !ordered(last, now)) {
      several_warps = several_warps || last.block != now.block || last.thread / kWarp != now.thread / kWarp;
      several_lanes = true;
    } else if (last.block != now.block || last.barriers != now.barriers || last.warp_barriers != now.warp_barriers) {
      // Reads that are ordered before this one are before whatever is ordered after it.
      if (last.block != now.block || last.barriers != now.barriers) several_warps = false;
      several_lanes = false;
    }
    last = now;
  }

  bool conflicts(const Moment& write) const {
    if (last.block < 0) return false;
    if (several_blocks || last.block != write.block) return true;
    if (last.barriers != write.barriers) return false;
    if (several_warps || last.thread / kWarp != write.thread / kWarp) return true;
    return last.warp_barriers == write.warp_barriers && (several_lanes || last.thread != write.thread);
  }
};

struct Cell {
  bool has_value = false;
  Moment written;
  Reads reads;
};

class Shadow {
 public:
  void reset(size_t bytes) { cells_.assign((bytes + kGranule - 1) / kGranule, Cell()); }

  void begin_launch() {
    for (Cell& cell : cells_) cell.written = Moment(), cell.reads = Reads();
  }

  void read(size_t offset, size_t bytes, const std::string& what) {
    const Moment& now = grid().thread().now;
    for (size_t i = offset / kGranule; i * kGranule < offset + bytes; ++i) {
      Cell& cell = cells_[i];
      if (!cell.has_value) fail("reads what nobody has written", what, offset);
      if (cell.written.block >= 0 && !ordered(cell.written, now)) {
        fail_race("reads", "has written", what, offset, cell.written);
      }
      cell.reads.add(now);
    }
  }

  void write(size_t offset, size_t bytes, const std::string& what) {
    const Moment& now = grid().thread().now;
    for (size_t i = offset / kGranule; i * kGranule < offset + bytes; ++i) {
      Cell& cell = cells_[i];
      if (cell.written.block >= 0 && !ordered(cell.written, now)) {
        fail_race("writes", "has written", what, offset, cell.written);
      }
      if (cell.reads.conflicts(now)) fail_race("writes", "has read", what, offset, cell.reads.last);
      cell = Cell{true, now, Reads()};
    }
  }

  bool has_value(size_t offset, size_t bytes) const {
    for (size_t i = offset / kGranule; i * kGranule < offset + bytes; ++i) {
      if (!cells_[i].has_value) return false;
    }
    return true;
  }

  [[noreturn]] static void fail(const std::string& does, const std::string& what, size_t offset) {
    throw Error(grid().where() + ": " + does + ": byte " + std::to_string(offset) + " of " + what);
  }

 private:
  [[noreturn]] static void fail_race(const std::string& does, const std::string& other, const std::string& what,
                                     size_t offset, const Moment& moment) {
    fail("a race: " + does + " what thread " + std::to_string(moment.thread) + " of block " +
             std::to_string(moment.block) + " " + other + ", with no barrier between",
         what, offset);
  }

  std::vector<Cell> cells_;
};

struct Buffer {
  std::string name;
  Role role;
  size_t bytes, shift, whole;
  bool is_freed = false;
  std::unique_ptr<unsigned char, void (*)(void*)> memory{nullptr, &std::free};
  Shadow shadow;

  unsigned char* begin() const { return memory.get() + kGuard + shift; }
};

std::list<Buffer> buffers;
const char* shared_begin = nullptr;
size_t shared_bytes = 0;
Shadow shared_shadow;

Buffer& find(const void* address, size_t bytes, const char* does) {
  const unsigned char* at = static_cast<const unsigned char*>(address);
  const Buffer* nearest = nullptr;
  for (Buffer& buffer : buffers) {
    if (at >= buffer.begin() && at + bytes <= buffer.begin() + buffer.bytes) {
      if (buffer.is_freed) throw Error(grid().where() + ": " + does + " " + buffer.name + ", which has been freed");
      return buffer;
    }
    if (at + kGuard >= buffer.begin() && at <= buffer.begin() + buffer.bytes + kGuard) nearest = &buffer;
  }
  if (nearest == nullptr) throw Error(grid().where() + ": " + does + " outside of every tensor");
  throw Error(grid().where() + ": out of bounds: " + does + " byte " + std::to_string(at - nearest->begin()) + " of " +
              nearest->name + ", which has " + std::to_string(nearest->bytes));
}

void require_aligned(const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) {
    throw Error(grid().where() + ": an access of " + std::to_string(bytes) + " bytes that is not aligned");
  }
}

size_t shared_offset(const void* array, size_t array_bytes, const void* address, size_t bytes, const char* does) {
  require_aligned(address, bytes);
  const char* at = static_cast<const char*>(address);
  const char* first = static_cast<const char*>(array);
  if (at < first || at + bytes > first + array_bytes) {
    throw Error(grid().where() + ": out of bounds: " + does + " byte " + std::to_string(at - first) +
                " of an array in shared memory that has " + std::to_string(array_bytes));
  }
  return at - shared_begin;
}

}  // namespace

void* add_buffer(const std::string& name, Role role, const void* from, size_t bytes, size_t shift) {
  Buffer& buffer = buffers.emplace_back();
  buffer.name = name;
  buffer.role = role;
  buffer.bytes = bytes;
  buffer.shift = shift;
  const size_t whole = (bytes + shift + 2 * kGuard + kAlignment - 1) / kAlignment * kAlignment;
  buffer.whole = whole;
  buffer.memory.reset(static_cast<unsigned char*>(std::aligned_alloc(kAlignment, whole)));
  std::memset(buffer.memory.get(), kPoison, whole);
  if (role == Role::kInput) {
    std::memcpy(buffer.begin(), from, bytes);
  } else {
    buffer.shadow.reset(bytes);
  }
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(buffer.memory.get(), kGuard + shift);
  __asan_poison_memory_region(buffer.begin() + bytes, whole - kGuard - shift - bytes);
#endif
  return buffer.begin();
}

void finish_buffer(const std::string& name, void* to, size_t element) {
  for (Buffer& buffer : buffers) {
    if (buffer.name != name) continue;
    for (size_t offset = 0; offset < buffer.bytes; offset += element) {
      if (!buffer.shadow.has_value(offset, element)) {
        throw Error("element " + std::to_string(offset / element) + " of " + name + ", which has " +
                    std::to_string(buffer.bytes / element) + ", was never written");
      }
    }
#if !defined(__SANITIZE_ADDRESS__)
    for (size_t i = 0; i < kGuard; ++i) {
      if (buffer.begin()[-1 - static_cast<ptrdiff_t>(i)] != kPoison || buffer.begin()[buffer.bytes + i] != kPoison) {
        throw Error("out of bounds: something was written beside " + name);
      }
    }
#endif
    std::memcpy(to, buffer.begin(), buffer.bytes);
    return;
  }
}

void free_buffer(void* begin) {
  for (Buffer& buffer : buffers) {
    if (buffer.begin() == begin) buffer.is_freed = true;
  }
}

void forget_buffers() {
#if defined(__SANITIZE_ADDRESS__)
  for (Buffer& buffer : buffers) __asan_unpoison_memory_region(buffer.memory.get(), buffer.whole);
#endif
  buffers.clear();
}

void begin_launch() {
  for (Buffer& buffer : buffers) buffer.shadow.begin_launch();
}

void begin_shared(const void* begin, size_t bytes) {
  shared_begin = static_cast<const char*>(begin);
  shared_bytes = bytes;
  shared_shadow.reset(bytes);
}

void reads_global(const void* address, size_t bytes) {
  require_aligned(address, bytes);
  Buffer& buffer = find(address, bytes, "reads");
  if (buffer.role == Role::kInput) return;
  buffer.shadow.read(static_cast<const unsigned char*>(address) - buffer.begin(), bytes, buffer.name);
}

void writes_global(const void* address, size_t bytes) {
  require_aligned(address, bytes);
  Buffer& buffer = find(address, bytes, "writes");
  const size_t offset = static_cast<const unsigned char*>(address) - buffer.begin();
  if (buffer.role == Role::kInput) Shadow::fail("writes an input", buffer.name, offset);
  buffer.shadow.write(offset, bytes, buffer.name);
}

void reads_shared(const void* array, size_t array_bytes, const void* address, size_t bytes) {
  shared_shadow.read(shared_offset(array, array_bytes, address, bytes, "reads"), bytes, "shared memory");
}

void writes_shared(const void* array, size_t array_bytes, const void* address, size_t bytes) {
  shared_shadow.write(shared_offset(array, array_bytes, address, bytes, "writes"), bytes, "shared memory");
}

}  // namespace emulation
