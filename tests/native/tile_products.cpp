// The matrix product of the AMX level, with the tile instructions emulated, as a plain C function.
#define ADAIR_EMULATE_AMX 1

#include "common/parallel.h"
#include "common/scratch.h"

#define ADAIR_KERNELS "tile_products_kernel.h"
#include "common/for_each_capability.h"

// c (rows x round_up(n, 16)) = a (rows x k) w (n x k)^T + start; start is null or n values.
extern "C" void product(const float* a, const float* w, const float* start, int64_t rows, int64_t n, int64_t k,
                        float* c) {
  adair::amx_bf16::product(a, w, start, rows, n, k, c);
}
