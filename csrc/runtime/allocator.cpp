#include "runtime/allocator.h"

#include <cstdlib>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace adair {

#if defined(__GLIBC__)
namespace {

// mallopt takes an int: 2^32 would arrive as 0.
constexpr int kThreshold = 1 << 30;
// The largest value that older versions of glibc (before 2.35) accept for the threshold of mmap.
constexpr int kOlderThreshold = 1 << 25;
// How much more than asked for the heap grows by: address space, which costs memory only where it is written to.
constexpr int kTopPad = 1 << 28;

// What glibc's allocator has given away, in bytes. Its arenas only: a library that was preloaded has others.
size_t given_away() {
#if __GLIBC_PREREQ(2, 33)
  const struct mallinfo2 info = mallinfo2();
#else
  const struct mallinfo info = mallinfo();
#endif
  return static_cast<size_t>(info.uordblks) + static_cast<size_t>(info.hblkhd);
}

// Whether malloc is glibc's own, rather than one that was preloaded: told by what it does. Addresses do not tell, as a
// program that is not position independent (Debian's Python) has an entry point of its own for malloc.
bool is_malloc_of_glibc() {
  constexpr size_t kBlock = size_t{1} << 24;
  const size_t before = given_away();
  void* const block = std::malloc(kBlock);
  if (block == nullptr) return false;
  *static_cast<volatile char*>(block) = 0;  // or a compiler might leave both calls out
  const size_t after = given_away();
  std::free(block);
  return after >= before + kBlock / 2;  // other threads may free what they have
}

}  // namespace

AllocatorTuning tune_allocator() {
  if (!is_malloc_of_glibc()) return {false, "malloc is not glibc's but another library's, which keeps its settings"};
  for (const char* name : {"MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES"}) {
    if (std::getenv(name) != nullptr) return {false, std::string("the environment variable ") + name + " has set it"};
  }
  int threshold = kThreshold;
  if (mallopt(M_MMAP_THRESHOLD, threshold) == 0) {
    threshold = kOlderThreshold;
    if (mallopt(M_MMAP_THRESHOLD, threshold) == 0) return {false, "glibc refused the threshold of mmap"};
  }
  if (mallopt(M_TRIM_THRESHOLD, kThreshold) == 0 || mallopt(M_TOP_PAD, kTopPad) == 0) {
    return {false, "glibc refused the threshold of trimming"};
  }
  return {true, "glibc keeps blocks of up to " + std::to_string(threshold >> 20) + " MiB for the process"};
}

#else

AllocatorTuning tune_allocator() { return {false, "only glibc's malloc has settings"}; }

#endif

}  // namespace adair
