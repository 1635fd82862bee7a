// The Python module adair_core._runtime: what concerns the process and the build rather than tensors.
//
// pybind11 is what limits a wheel to one version of Python; the operators are in a library of their own.

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/capability.h"
#include "runtime/allocator.h"
#include "runtime/built_from.h"

namespace py = pybind11;

PYBIND11_MODULE(_runtime, module) {
  module.doc() = "Build information, the CPU's instruction sets and the allocator.";

  module.def(
      "build_info",
      [] {
        py::dict info;
        info["kind"] = ADAIR_KIND;
        info["cuda_architectures"] = ADAIR_CUDA_ARCHITECTURES;
        info["compiler"] = ADAIR_COMPILER;
        info["flags"] = ADAIR_FLAGS;
        info["torch"] = ADAIR_TORCH;
        constexpr auto floor = static_cast<unsigned long long>(ADAIR_TORCH_FLOOR);
        info["torch_floor"] = std::to_string(floor >> 56) + "." + std::to_string(floor >> 48 & 0xff);
        info["python"] = PY_VERSION;
        info["kernels"] = adair::digest_of_kernels();
        info["callers"] = adair::digest_of_callers();
        return info;
      },
      "What the native modules were built with; the same for the same sources, compiler and versions.");

  module.def(
      "cpu_capability", [] { return adair::name_of(adair::cpu_capability()); },
      "The instruction set that kernels use; ValueError if ADAIR_CPU_CAPABILITY names none.");
  module.def(
      "highest_capability", [] { return adair::name_of(adair::highest_capability()); },
      "The highest instruction set of this machine that there are kernels for.");

  module.def(
      "tune_allocator",
      [] {
        const adair::AllocatorTuning tuning = adair::tune_allocator();
        return py::make_tuple(tuning.done, tuning.explanation);
      },
      "Make malloc keep large blocks for the process; returns whether it was done, and an explanation.");
}
