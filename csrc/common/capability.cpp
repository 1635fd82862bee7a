#include "common/capability.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace adair {

namespace {

constexpr Capability kLevels[] = {Capability::baseline, Capability::avx2, Capability::avx512, Capability::avx512_bf16,
                                  Capability::amx_bf16};

Capability read_cap() {
  const char* text = std::getenv("ADAIR_CPU_CAPABILITY");
  if (text == nullptr || *text == '\0') return Capability::amx_bf16;
  std::string known;
  for (Capability level : kLevels) {
    if (std::string(text) == name_of(level)) return level;
    known += std::string(known.empty() ? "" : ", ") + name_of(level);
  }
  throw std::invalid_argument("ADAIR_CPU_CAPABILITY: expected one of " + known + ", got '" + text + "'");
}

#if ADAIR_EMULATE_AMX

bool has_tiles() { return true; }

#elif defined(__x86_64__) && defined(__linux__)

// Whether there are tile registers with bfloat16 products, and the system lets this process use them: their state is
// large, so Linux saves it only for those who ask (Documentation/arch/x86/xstate.rst).
bool has_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

#else

bool has_tiles() { return false; }

#endif

}  // namespace

Capability highest_capability() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Capability::baseline;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (!avx512) return Capability::avx2;
  if (!__builtin_cpu_supports("avx512bf16")) return Capability::avx512;
  return has_tiles() ? Capability::amx_bf16 : Capability::avx512_bf16;
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
    case Capability::amx_bf16:
      return "amx_bf16";
    default:
      return "baseline";
  }
}

}  // namespace adair
