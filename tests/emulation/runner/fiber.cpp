#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <stdexcept>

namespace emulation {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStack = 512 * 1024;
#else
constexpr size_t kStack = 128 * 1024;
#endif

}  // namespace

Fiber::Fiber() {
  stack_ = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack_ == MAP_FAILED) throw std::runtime_error("no memory for the stacks of threads");
}

Fiber::~Fiber() { munmap(stack_, kStack); }

void Fiber::begin(void (*entry)()) {
  entry_ = entry;
  started_ = false;
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = kStack;
  context_.uc_link = nullptr;
#if defined(__SANITIZE_ADDRESS__)
  // What an earlier use left, whose frames were never unwound.
  __asan_unpoison_memory_region(stack_, kStack);
  fake_stack_ = nullptr;
  const uint64_t self = reinterpret_cast<uint64_t>(this);
  makecontext(&context_, reinterpret_cast<void (*)()>(&trampoline), 2, unsigned(self), unsigned(self >> 32));
#else
  makecontext(&context_, entry, 0);
#endif
}

#if defined(__SANITIZE_ADDRESS__)

void Fiber::trampoline(unsigned low, unsigned high) {
  Fiber* self = reinterpret_cast<Fiber*>(uint64_t(low) | uint64_t(high) << 32);
  __sanitizer_finish_switch_fiber(nullptr, &self->outside_stack_, &self->outside_size_);
  self->entry_();
}

void Fiber::resume() {
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(&fake, stack_, kStack);
  swapcontext(&outside_, &context_);
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
}

void Fiber::leave(bool for_good) {
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, outside_stack_, outside_size_);
  swapcontext(&context_, &outside_);
  __sanitizer_finish_switch_fiber(fake_stack_, &outside_stack_, &outside_size_);
}

#else

void Fiber::resume() {
  if (_setjmp(outside_) != 0) return;
  if (started_) _longjmp(inside_, 1);
  started_ = true;
  swapcontext(&unused_, &context_);
}

void Fiber::leave(bool) {
  if (_setjmp(inside_) == 0) _longjmp(outside_, 1);
}

#endif

}  // namespace emulation
