// The Python module of the runner: loads the library of an operator's emulated kernels and calls its entries.

#include <dlfcn.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "call.h"

namespace py = pybind11;

namespace {

using emulation::Error;
using emulation::Tensor;

emulation::Entry find(const std::string& library, const std::string& entry) {
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw Error(dlerror());
  void* found = dlsym(handle, entry.c_str());
  if (found == nullptr) throw Error(library + " has no " + entry);
  return reinterpret_cast<emulation::Entry>(found);
}

// Addresses and sizes are those of CPU tensors, which Python keeps alive during the call.
void run(const std::string& library, const std::string& entry, std::map<std::string, double> numbers,
         const std::vector<std::tuple<std::string, uint64_t, size_t, size_t, bool, bool>>& described, uint64_t seed) {
  std::vector<Tensor> tensors;
  for (const auto& [name, address, element, count, is_output, is_shifted] : described) {
    tensors.push_back(Tensor{name, address, element, count, is_output, is_shifted});
  }
  struct Forget {
    ~Forget() { emulation::forget_buffers(); }
  } forget;
  emulation::Call call(std::move(numbers), tensors, seed);
  find(library, entry)(call);
  for (const Tensor& tensor : tensors) {
    if (!tensor.is_output) continue;
    emulation::finish_buffer(tensor.name, reinterpret_cast<void*>(tensor.address), tensor.element);
  }
}

}  // namespace

PYBIND11_MODULE(emulation_runner, m) {
  py::register_exception<Error>(m, "EmulationError", PyExc_RuntimeError);
  m.def("run", &run, py::arg("library"), py::arg("entry"), py::arg("numbers"), py::arg("tensors"), py::arg("seed"));
}
