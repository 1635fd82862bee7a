// What the library of CPU kernels says about itself.

#include <torch/csrc/stable/library.h>

#include <string>

#include "common/capability.h"

namespace adair {
namespace {

// The instruction set that the kernels use. An error if ADAIR_CPU_CAPABILITY names none: asked once, when the library
// has been loaded, so that no kernel meets it among its threads.
std::string capability_name() { return name_of(cpu_capability()); }

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(adair_native, m) { m.def("cpu_capability() -> str"); }

STABLE_TORCH_LIBRARY_IMPL(adair_native, CompositeExplicitAutograd, m) {
  m.impl("cpu_capability", TORCH_BOX(&capability_name));
}

}  // namespace adair
