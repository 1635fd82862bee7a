#include "runtime/allocator.h"

#include <cstdlib>

#if defined(__GLIBC__)
#include <dlfcn.h>
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

// Whether malloc is glibc's own, rather than one that was preloaded.
bool is_malloc_of_glibc() {
  // Not the address of malloc in this file: a program may have an entry point of its own for that.
  void* const malloc_in_use = dlsym(RTLD_DEFAULT, "malloc");
  void* const glibc = dlsym(RTLD_DEFAULT, "gnu_get_libc_version");
  Dl_info of_malloc, of_glibc;
  return malloc_in_use != nullptr && glibc != nullptr && dladdr(malloc_in_use, &of_malloc) != 0 &&
         dladdr(glibc, &of_glibc) != 0 && of_malloc.dli_fbase == of_glibc.dli_fbase;
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
