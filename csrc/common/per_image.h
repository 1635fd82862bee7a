// Batches in which images differ in their parameters.
#pragma once

#include <cstdint>

namespace adair {

// The arguments of a kernel, once for each set of parameters; in all else they are the same.
template <class Arguments>
struct PerImage {
  const Arguments* sets;
  int64_t count;
  const int64_t* index;  // of each image's set

  // What all images share.
  const Arguments& shared() const { return sets[0]; }
  const Arguments& of(int64_t image) const { return sets[index[image]]; }
};

}  // namespace adair
