// A CUDA grid on one CPU thread: the threads of a block are fibers, blocks run one after the other, both in an order
// drawn from a seed. What CUDA leaves undefined is an error here: a barrier that not all threads of a block reach, an
// exchange between lanes that not all lanes of its mask reach, and (memory.h) accesses that nothing orders.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace emulation {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;

  Dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  int64_t count() const { return int64_t(x) * y * z; }
};

// The number of a block in one dimension. Its product with a number of 32 bits would have 32 bits, too few for the
// blocks of a large image: kernels have to widen it first, and do not compile otherwise.
struct BlockNumber {
  unsigned number = 0;

  operator unsigned() const { return number; }
};

template <class Number>
  requires(sizeof(Number) <= sizeof(unsigned))
void operator*(BlockNumber, Number) = delete;
template <class Number>
  requires(sizeof(Number) <= sizeof(unsigned))
void operator*(Number, BlockNumber) = delete;

struct BlockIndex {
  BlockNumber x, y, z;
};

// Where in the source a thread waits.
struct Site {
  const char* what;
  const char* file;
  int line;

  bool operator==(const Site& other) const { return line == other.line && std::string(file) == other.file; }
  std::string text() const { return std::string(what) + " (" + file + ":" + std::to_string(line) + ")"; }
};

constexpr int kWarp = 32;

// When a thread did something: what orders it against others are the barriers that it had passed.
struct Moment {
  int64_t block = -1;
  int thread = -1;
  uint32_t barriers = 0, warp_barriers = 0;
};

// Whether one of two accesses in a launch happens before the other, whatever the order of threads.
inline bool ordered(const Moment& a, const Moment& b) {
  if (a.block != b.block) return false;
  if (a.thread == b.thread || a.barriers != b.barriers) return true;
  return a.thread / kWarp == b.thread / kWarp && a.warp_barriers != b.warp_barriers;
}

class Fiber;

struct Thread {
  enum State { kRunnable, kAtBarrier, kInWarp, kDone };

  Dim3 index;
  Moment now;
  State state;
  Site site;
  void* exchanged;  // what the lane gives to an exchange and gets from it
  std::unique_ptr<Fiber> fiber;

  int lane() const { return now.thread % kWarp; }
};

// What lanes wait for together.
struct Exchange {
  uint32_t mask = 0, arrived = 0;
};

// The result of an exchange for all lanes, computed when the last has arrived. `lanes[i]` is null where lane i takes no
// part.
using Combine = void (*)(void* const lanes[kWarp]);

class Grid {
 public:
  explicit Grid(uint64_t seed);
  ~Grid();

  // Runs body() once for each thread.
  void run(const std::string& kernel, Dim3 blocks, Dim3 threads, const std::function<void()>& body);

  Thread& thread() { return *current_; }
  BlockIndex block_index;
  Dim3 block_dim, grid_dim;

  // The shared memory of the running block, the same for all its threads: poisoned when the block begins.
  void* shared(size_t bytes, const char* type);
  const char* shared_begin() const { return static_cast<const char*>(shared_memory_.get()); }

  void sync_threads(Site site);
  void exchange(uint32_t mask, Site site, void* lane, Combine combine, bool is_barrier);
  std::string where() const;

 private:
  friend class Fiber;
  void run_block();
  void release_barrier();
  [[noreturn]] void report_stuck() const;
  void wait(Thread::State state, Site site);

  struct Random;
  std::unique_ptr<Random> random_;
  std::string kernel_, failure_;
  const std::function<void()>* body_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<Thread*> runnable_;
  std::vector<Exchange> exchanges_;
  Thread* current_ = nullptr;
  std::unique_ptr<void, void (*)(void*)> shared_memory_;
  size_t shared_bytes_ = 0;
  const char* shared_type_ = nullptr;
};

// The grid that is running.
Grid& grid();
bool is_running();

}  // namespace emulation
