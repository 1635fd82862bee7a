// The dtypes of an emulated call. EMULATED_FLOAT_ONLY makes mutants compile in a third of the time.
#pragma once

#include "call.h"
#include "cuda_emulation.h"

namespace emulation {

// Calls work(T()) with the T of the call.
template <class Work>
void with_type(const Call& call, const Work& work) {
  const int type = static_cast<int>(call.number("dtype"));
  if (type == 0) return work(float());
#ifndef EMULATED_FLOAT_ONLY
  if (type == 1) return work(__nv_bfloat16());
  if (type == 2) return work(__half());
#endif
  throw Error("no such dtype");
}

}  // namespace emulation
