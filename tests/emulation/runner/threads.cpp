#include "threads.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "fiber.h"
#include "memory.h"

namespace emulation {
namespace {

constexpr size_t kSharedLimit = 48 * 1024;  // static shared memory of every architecture
Grid* running = nullptr;

std::string text(const Dim3& place) {
  return "(" + std::to_string(place.x) + ", " + std::to_string(place.y) + ", " + std::to_string(place.z) + ")";
}

}  // namespace

Grid& grid() { return *running; }
bool is_running() { return running != nullptr; }

struct Grid::Random : std::mt19937_64 {
  using std::mt19937_64::mt19937_64;
};

Grid::Grid(uint64_t seed) : random_(std::make_unique<Random>(seed)), shared_memory_(nullptr, &std::free) {}
Grid::~Grid() = default;

std::string Grid::where() const {
  const Dim3 block(block_index.x, block_index.y, block_index.z);
  return kernel_ + ", block " + text(block) + ", thread " + (current_ ? text(current_->index) : "none");
}

void Grid::run(const std::string& kernel, Dim3 blocks, Dim3 threads, const std::function<void()>& body) {
  kernel_ = kernel;
  const int64_t count = threads.count();
  if (count < 1 || count > 1024) throw Error(kernel + ": a block of " + std::to_string(count) + " threads");
  if (count % kWarp != 0) {
    throw Error(kernel + ": a block of " + std::to_string(count) + " threads is no number of warps");
  }
  if (blocks.count() < 1 || blocks.x > 0x7fffffffu || blocks.y > 65535 || blocks.z > 65535) {
    throw Error(kernel + ": a grid of " + text(blocks) + " blocks");
  }
  grid_dim = blocks;
  block_dim = threads;
  body_ = &body;
  threads_.resize(std::max<size_t>(threads_.size(), count));
  std::vector<int64_t> order(blocks.count());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), *random_);
  running = this;
  begin_launch();
  try {
    for (int64_t block : order) {
      const Dim3 place(block % blocks.x, block / blocks.x % blocks.y, block / blocks.x / blocks.y);
      block_index = BlockIndex{{place.x}, {place.y}, {place.z}};
      for (int64_t i = 0; i < count; ++i) {
        Thread& thread = threads_[i];
        thread.index = Dim3(i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y);
        thread.now = Moment{block, static_cast<int>(i), 0, 0};
      }
      run_block();
    }
  } catch (...) {
    running = nullptr;
    throw;
  }
  running = nullptr;
}

void Grid::run_block() {
  const int64_t count = block_dim.count();
  shared_memory_.reset();
  shared_bytes_ = 0;
  exchanges_.assign(count / kWarp, Exchange());
  runnable_.clear();
  for (int64_t i = 0; i < count; ++i) {
    Thread& thread = threads_[i];
    thread.state = Thread::kRunnable;
    if (!thread.fiber) thread.fiber = std::make_unique<Fiber>();
    thread.fiber->begin([] {
      Grid& self = *running;
      try {
        (*self.body_)();
      } catch (const std::exception& error) {
        self.failure_ = error.what();
      }
      self.current_->state = Thread::kDone;
      self.current_->fiber->leave(true);
    });
    runnable_.push_back(&thread);
  }
  while (!runnable_.empty()) {
    const size_t pick = (*random_)() % runnable_.size();
    current_ = runnable_[pick];
    runnable_[pick] = runnable_.back();
    runnable_.pop_back();
    current_->fiber->resume();
    current_ = nullptr;
    if (!failure_.empty()) throw Error(failure_);
    if (runnable_.empty()) release_barrier();
  }
}

void Grid::release_barrier() {
  const int64_t count = block_dim.count();
  const auto all = [&](Thread::State state) {
    return std::all_of(threads_.begin(), threads_.begin() + count, [&](const Thread& t) { return t.state == state; });
  };
  if (all(Thread::kDone)) return;
  if (!all(Thread::kAtBarrier)) report_stuck();
  for (int64_t i = 0; i < count; ++i) {
    Thread& thread = threads_[i];
    if (!(thread.site == threads_[0].site)) report_stuck();
    thread.state = Thread::kRunnable;
    ++thread.now.barriers;
    runnable_.push_back(&thread);
  }
}

void Grid::report_stuck() const {
  std::map<std::string, int64_t> waiting;
  for (int64_t i = 0; i < block_dim.count(); ++i) {
    const Thread& thread = threads_[i];
    ++waiting[thread.state == Thread::kDone ? "have ended" : "wait at " + thread.site.text()];
  }
  std::string message = where() + ": a barrier that not all threads reach:";
  for (const auto& [what, number] : waiting) message += " " + std::to_string(number) + " " + what + ";";
  throw Error(message);
}

void Grid::wait(Thread::State state, Site site) {
  current_->state = state;
  current_->site = site;
  current_->fiber->leave(false);
}

void Grid::sync_threads(Site site) { wait(Thread::kAtBarrier, site); }

void Grid::exchange(uint32_t mask, Site site, void* lane, Combine combine, bool is_barrier) {
  Thread& me = *current_;
  Exchange& exchange = exchanges_[me.now.thread / kWarp];
  Thread* warp = &threads_[me.now.thread / kWarp * kWarp];
  if ((mask >> me.lane() & 1) == 0) throw Error(where() + ": " + site.text() + ": the lane is not in its own mask");
  for (int i = 0; i < kWarp; ++i) {
    if ((exchange.arrived >> i & 1) != 0 && (exchange.mask != mask || !(warp[i].site == site))) {
      throw Error(where() + ": lanes of a warp meet at " + site.text() + " and at " + warp[i].site.text() +
                  ", or with different masks");
    }
  }
  exchange.mask = mask;
  exchange.arrived |= 1u << me.lane();
  me.exchanged = lane;
  if (exchange.arrived != mask) return wait(Thread::kInWarp, site);
  void* lanes[kWarp];
  for (int i = 0; i < kWarp; ++i) lanes[i] = (mask >> i & 1) != 0 ? warp[i].exchanged : nullptr;
  if (combine != nullptr) combine(lanes);
  exchange = Exchange();
  for (int i = 0; i < kWarp; ++i) {
    if (lanes[i] == nullptr) continue;
    if (is_barrier) ++warp[i].now.warp_barriers;
    warp[i].state = Thread::kRunnable;
    if (&warp[i] != &me) runnable_.push_back(&warp[i]);
  }
  // Not always the last to arrive is the first to go on.
  runnable_.push_back(&me);
  wait(Thread::kRunnable, site);
}

void* Grid::shared(size_t bytes, const char* type) {
  if (shared_bytes_ == 0) {
    if (bytes > kSharedLimit) {
      throw Error(where() + ": " + std::to_string(bytes) + " bytes of shared memory, of " +
                  std::to_string(kSharedLimit));
    }
    shared_bytes_ = bytes;
    shared_type_ = type;
    shared_memory_.reset(std::aligned_alloc(16, (bytes + 15) / 16 * 16));
    std::memset(shared_memory_.get(), 0xff, bytes);
    begin_shared(shared_memory_.get(), bytes);
  }
  if (shared_bytes_ != bytes || std::strcmp(shared_type_, type) != 0) {
    throw Error(where() + ": two kinds of shared memory in one kernel");
  }
  return shared_memory_.get();
}

}  // namespace emulation
