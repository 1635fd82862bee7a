#include "common/capability.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace adair {

namespace {

constexpr Capability kLevels[] = {
    Capability::baseline, Capability::avx2, Capability::avx512, Capability::avx512_bf16};

Capability read_cap() {
  const char* text = std::getenv("ADAIR_CPU_CAPABILITY");
  if (text == nullptr || *text == '\0') return Capability::avx512_bf16;
  for (Capability level : kLevels) {
    if (std::string(text) == name_of(level)) return level;
  }
  throw std::invalid_argument(
      std::string("ADAIR_CPU_CAPABILITY: expected baseline, avx2, avx512 or avx512_bf16, got '") + text + "'");
}

}  // namespace

Capability highest_capability() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Capability::baseline;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (!avx512) return Capability::avx2;
  return __builtin_cpu_supports("avx512bf16") ? Capability::avx512_bf16 : Capability::avx512;
#else
  return Capability::baseline;
#endif
}

Capability cpu_capability() {
  static const Capability cap = read_cap();
  static const Capability highest = highest_capability();
  return cap < highest ? cap : highest;
}

const char* name_of(Capability capability) {
  switch (capability) {
    case Capability::avx2:
      return "avx2";
    case Capability::avx512:
      return "avx512";
    case Capability::avx512_bf16:
      return "avx512_bf16";
    default:
      return "baseline";
  }
}

}  // namespace adair
