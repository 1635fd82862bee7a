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
  int64_t weights;       // as many as there are sets, or 1, where these differ in nothing but their epilogues

  // What all images share.
  const Arguments& shared() const { return sets[0]; }
  const Arguments& of(int64_t image) const { return sets[index[image]]; }
  // Where, of `weights`, those of an image are.
  int64_t weights_of(int64_t image) const { return weights == 1 ? 0 : index[image]; }
};

}  // namespace adair
