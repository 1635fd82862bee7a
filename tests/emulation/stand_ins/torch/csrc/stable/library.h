// The table of operators: a launcher is called with the values that Python gives, taken apart by its own parameters.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "threads.h"

namespace emulation {

using Value = std::variant<std::monostate, bool, int64_t, double, std::string, torch::stable::Tensor>;
using Operator = void (*)(const std::vector<Value>&);

// While a library is loaded: what it has.
void add_operator(const std::string& name, Operator call);

template <class T>
struct Unboxed {
  static const T& of(const Value& value, size_t place) {
    const T* found = std::get_if<T>(&value);
    if (found == nullptr) throw Error("argument " + std::to_string(place) + " is not of the launcher's type");
    return *found;
  }
};

template <class T>
struct Unboxed<std::optional<T>> {
  static std::optional<T> of(const Value& value, size_t place) {
    if (std::holds_alternative<std::monostate>(value)) return std::nullopt;
    return Unboxed<T>::of(value, place);
  }
};

template <class... Parameters, size_t... places>
void call_with(void (*launcher)(Parameters...), const std::vector<Value>& values, std::index_sequence<places...>) {
  if (values.size() != sizeof...(Parameters)) {
    throw Error("expected " + std::to_string(sizeof...(Parameters)) + " arguments, got " +
                std::to_string(values.size()));
  }
  launcher(Unboxed<std::remove_cvref_t<Parameters>>::of(values[places], places)...);
}

template <class... Parameters>
std::index_sequence_for<Parameters...> places_of(void (*)(Parameters...)) {
  return {};
}

template <auto launcher>
void boxed(const std::vector<Value>& values) {
  call_with(launcher, values, places_of(launcher));
}

// What a library implements for a kind of devices, which has to be CUDA.
struct Implementations {
  std::string library, devices;

  void impl(const char* name, Operator call) const {
    if (devices == "CUDA") add_operator(library + "::" + name, call);
  }
};

// Schemas are read from the sources, as most are those of the CPU's kernels: emulator.py.
struct Definitions {
  void def(const char*) const {}
};

}  // namespace emulation

#define TORCH_BOX(launcher) (&::emulation::boxed<(launcher)>)

#define STABLE_TORCH_LIBRARY_IMPL(library, devices, m)                                                  \
  static void implement(const ::emulation::Implementations& m);                                         \
  static const bool implemented = (implement(::emulation::Implementations{#library, #devices}), true);  \
  static void implement(const ::emulation::Implementations& m)

#define STABLE_TORCH_LIBRARY_FRAGMENT(library, m) \
  [[maybe_unused]] static void define([[maybe_unused]] const ::emulation::Definitions& m)
