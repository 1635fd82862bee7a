// A call of an operator from Python: numbers and tensors by name.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "device.h"

namespace emulation {

struct Tensor {
  std::string name;
  uint64_t address;
  size_t element, count;
  bool is_output;
};

class Call {
 public:
  Call(std::map<std::string, double> numbers, const std::vector<Tensor>& tensors, uint64_t seed)
      : device(seed), numbers_(std::move(numbers)) {
    for (const Tensor& tensor : tensors) {
      const Role role = tensor.is_output ? Role::kOutput : Role::kInput;
      const void* from = reinterpret_cast<const void*>(tensor.address);
      tensors_[tensor.name] = add_buffer(tensor.name, role, from, tensor.element * tensor.count);
      elements_[tensor.name] = tensor.element;
    }
  }

  double number(const std::string& name) const {
    const auto found = numbers_.find(name);
    if (found == numbers_.end()) throw Error("the call has no number " + name);
    return found->second;
  }

  // Null where there is none.
  template <class T>
  T* tensor(const std::string& name) const {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return nullptr;
    if (elements_.at(name) != sizeof(T)) throw Error(name + " has another type");
    return static_cast<T*>(found->second);
  }

  Device device;

 private:
  std::map<std::string, double> numbers_;
  std::map<std::string, void*> tensors_;
  std::map<std::string, size_t> elements_;
};

using Entry = void (*)(Call&);

}  // namespace emulation

// Defines the entry of an operator's library: EMULATED(name) { ... call ... }
#define EMULATED(name) extern "C" __attribute__((visibility("default"))) void name(::emulation::Call& call)
