// The Python module of the runner: loads the library of an operator's emulated kernels and calls its launchers.

#include <dlfcn.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/stable/library.h>

#include <map>
#include <memory>
#include <utility>

#include "call.h"
#include "memory.h"
#include "pytorch.h"

namespace py = pybind11;

namespace emulation {
namespace {

using Operators = std::map<std::string, Operator>;

Operators loading;

const Operators& operators_of(const std::string& library) {
  static std::map<std::string, Operators> libraries;
  const auto found = libraries.find(library);
  if (found != libraries.end()) return found->second;
  loading.clear();
  if (dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL) == nullptr) throw Error(dlerror());
  return libraries[library] = std::move(loading);
}

// A tensor as Python has it: memory on the CPU, which is kept alive during the call.
struct Given {
  std::string name;
  uint64_t address;
  int type;
  std::vector<int64_t> sizes, strides;
  int device;
  bool is_output;
  size_t shift;  // of its beginning, in elements

  void* memory() const { return reinterpret_cast<void*>(address); }
  size_t element() const { return bytes_of(static_cast<ScalarType>(type)); }

  // From its first element to its last.
  size_t bytes() const {
    int64_t last = 0;
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (sizes[i] == 0) return 0;
      last += (sizes[i] - 1) * strides[i];
    }
    return (last + 1) * element();
  }

  torch::stable::Tensor emulated() const {
    void* copy =
        add_buffer(name, is_output ? Role::kOutput : Role::kInput, memory(), bytes(), shift * element());
    std::shared_ptr<void> held(copy, [](void*) {});  // freed when the call ends, not with the tensor
    return torch::stable::Tensor(std::move(held), static_cast<ScalarType>(type), sizes, strides, device);
  }
};

using GivenValue = std::variant<std::monostate, bool, int64_t, double, std::string, Given>;

void run(const std::string& library, const std::string& name, const std::vector<GivenValue>& given, uint64_t seed) {
  const Operators& operators = operators_of(library);
  const auto found = operators.find(name);
  if (found == operators.end()) throw Error(library + " has no " + name);
  struct EndCall {
    ~EndCall() { end_call(); }
  } end;
  begin_call(seed);
  std::vector<Value> values;
  std::vector<const Given*> outputs;
  for (const GivenValue& value : given) {
    std::visit(
        [&](const auto& held) {
          if constexpr (std::is_same_v<decltype(held), const Given&>) {
            values.emplace_back(held.emulated());
            if (held.is_output) outputs.push_back(&held);
          } else {
            values.emplace_back(held);
          }
        },
        value);
  }
  found->second(values);
  for (const Given* output : outputs) finish_buffer(output->name, output->memory(), output->element());
}

}  // namespace

void add_operator(const std::string& name, Operator call) { loading[name] = call; }

}  // namespace emulation

PYBIND11_MODULE(emulation_runner, m) {
  using emulation::Given;
  py::register_exception<emulation::Error>(m, "EmulationError", PyExc_RuntimeError);
  py::class_<Given>(m, "Tensor")
      .def(py::init([](std::string name, uint64_t address, int type, std::vector<int64_t> sizes,
                       std::vector<int64_t> strides, int device, bool is_output, size_t shift) {
             return Given{name, address, type, sizes, strides, device, is_output, shift};
           }),
           py::kw_only(), py::arg("name"), py::arg("address"), py::arg("type"), py::arg("sizes"), py::arg("strides"),
           py::arg("device"), py::arg("is_output"), py::arg("shift"));
  m.def("run", &emulation::run, py::arg("library"), py::arg("operator"), py::arg("values"), py::arg("seed"));
}
