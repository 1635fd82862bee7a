// Sharing work out among threads.
#pragma once

#include <cstdint>
#include <exception>

namespace adair {

// How a kernel runs its independent parts. Kernels know of threads only through this.
struct Parallel {
  int64_t threads;
  // Calls work(context, index) for every index below `count`, on all threads.
  void (*for_each)(int64_t count, void (*work)(void* context, int64_t index), void* context);

  template <class Work>
  void run(int64_t count, const Work& work) const {
    for_each(
        count, [](void* context, int64_t index) { (*static_cast<const Work*>(context))(index); },
        const_cast<void*>(static_cast<const void*>(&work)));
  }
};

// On the calling thread: inside of a part, and for what is too little to share.
inline constexpr Parallel kSerial{1, [](int64_t count, void (*work)(void*, int64_t), void* context) {
                                    for (int64_t index = 0; index < count; ++index) work(context, index);
                                  }};

// Calls work(index, parallel) for every index below `count`: several are shared out among the threads, which a single
// one has to itself.
template <class Work>
inline void run_each(int64_t count, const Parallel& parallel, const Work& work) {
  if (count == 1) return work(0, parallel);
  parallel.run(count, [&](int64_t index) { work(index, kSerial); });
}

}  // namespace adair
