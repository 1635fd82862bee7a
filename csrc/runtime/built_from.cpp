#include "runtime/built_from.h"

// Written by setup.py. In a file of its own, so that nothing else is compiled anew when a digest changes.
#include "built_from_digests.h"

namespace adair {

const char* digest_of_kernels() { return ADAIR_DIGEST_OF_KERNELS; }
const char* digest_of_callers() { return ADAIR_DIGEST_OF_CALLERS; }

}  // namespace adair
