// Instruction sets that the CPU kernels are built for, and which of them this machine runs.
#pragma once

namespace adair {

// Each level includes those before it.
enum class Capability { baseline, avx2, avx512, avx512_bf16, amx_bf16 };

// The highest level that the machine has, capped by the environment variable ADAIR_CPU_CAPABILITY (the name of a
// level), which is read once. An unknown value there throws std::invalid_argument.
Capability cpu_capability();

// Without the cap. Asks the system for the use of the tile registers, where there are any.
Capability highest_capability();

const char* name_of(Capability capability);

}  // namespace adair
