// The matrix product of the AMX level as a plain C function: with the tile instructions emulated (ADAIR_EMULATE_AMX), or
// those of this machine.
#include "common/parallel.h"
#include "common/scratch.h"

#define ADAIR_KERNELS "tile_products_kernel.h"
#include "common/for_each_capability.h"

// Whether the tile instructions can be used here; it also asks the system for them.
extern "C" int has_tiles() { return adair::highest_capability() == adair::Capability::amx_bf16; }

// c (rows x round_up(n, 16)) = a (rows x k) w (n x k)^T + start; start is null or n values.
extern "C" void product(const float* a, const float* w, const float* start, int64_t rows, int64_t n, int64_t k,
                        float* c) {
  adair::amx_bf16::product(a, w, start, rows, n, k, c);
}
