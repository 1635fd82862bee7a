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
  bool is_output, is_shifted;  // by an element: no vector of it is aligned
};

class Call {
 public:
  Call(std::map<std::string, double> numbers, const std::vector<Tensor>& tensors, uint64_t seed)
      : device(seed), numbers_(std::move(numbers)) {
    for (const Tensor& tensor : tensors) {
      const Role role = tensor.is_output ? Role::kOutput : Role::kInput;
      const void* from = reinterpret_cast<const void*>(tensor.address);
      tensors_[tensor.name] = add_buffer(tensor.name, role, from, tensor.element * tensor.count,
                                         tensor.is_shifted ? tensor.element : 0);
      elements_[tensor.name] = tensor.element;
      counts_[tensor.name] = tensor.count;
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

  // Of a parameter of `size` values that each image may have one of, the distance from an image's to the next image's;
  // 0 if all have the same. As `each` in csrc/cuda/device.h.
  int64_t step(const std::string& name, int64_t size) const {
    const auto found = counts_.find(name);
    if (found == counts_.end() || int64_t(found->second) == size) return 0;
    if (int64_t(found->second) != size * int64_t(number("images"))) throw Error(name + " has another size");
    return size;
  }

  Device device;

 private:
  std::map<std::string, double> numbers_;
  std::map<std::string, void*> tensors_;
  std::map<std::string, size_t> elements_, counts_;
};

using Entry = void (*)(Call&);

}  // namespace emulation

// Defines the entry of an operator's library: EMULATED(name) { ... call ... }
#define EMULATED(name) extern "C" __attribute__((visibility("default"))) void name(::emulation::Call& call)
