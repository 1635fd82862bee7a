// A requirement: if it does not hold, an error of the parts of its message.
#pragma once

#include <concepts>
#include <initializer_list>
#include <string>

namespace emulation {

struct Part {
  Part(const char* text) : text(text) {}
  Part(std::integral auto number) : text(std::to_string(number)) {}

  std::string text;
};

[[noreturn]] void refuse(std::initializer_list<Part> message);

}  // namespace emulation

#define STD_TORCH_CHECK(condition, ...)                    \
  do {                                                     \
    if (!(condition)) ::emulation::refuse({__VA_ARGS__});  \
  } while (false)
