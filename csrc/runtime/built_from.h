// The sources that the native modules were built from.
#pragma once

namespace adair {

// Digests, as adair_core/ops/built_from.py computes them: of csrc/, and of the Python code that calls the kernels.
const char* digest_of_kernels();
const char* digest_of_callers();

}  // namespace adair
