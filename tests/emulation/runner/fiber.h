// A stack that can be left and entered again.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emulation {

// ucontext makes the stack; then setjmp and longjmp switch, which, unlike swapcontext, make no system call.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;

  // From now on the fiber begins with entry() on its first resume().
  void begin(void (*entry)());
  // From outside: runs the fiber until it calls leave().
  void resume();
  // From inside.
  void leave(bool for_good);

 private:
  void switch_in();

  ucontext_t context_;
  void* stack_;
  void (*entry_)() = nullptr;
  bool started_ = false;
#if defined(__SANITIZE_ADDRESS__)
  static void trampoline(unsigned low, unsigned high);
  ucontext_t outside_;
  const void* outside_stack_ = nullptr;
  size_t outside_size_ = 0;
  void* fake_stack_ = nullptr;
#else
  ucontext_t unused_;
  jmp_buf inside_, outside_;
#endif
};

}  // namespace emulation
