// Settings of the process's memory allocator.
#pragma once

#include <string>

namespace adair {

// Makes malloc keep large blocks for the process instead of giving each back to the system, which would clear it, page
// by page, when it is asked for again: up to ten times on large tensors. Returns what was done, or why nothing was.
struct AllocatorTuning {
  bool done;
  std::string explanation;
};
AllocatorTuning tune_allocator();

}  // namespace adair
