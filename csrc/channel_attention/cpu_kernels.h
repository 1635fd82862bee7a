// All kernels of the attention across channels. Included once for each instruction set.

#include "common/vector.h"
#include "common/rows.h"
#include "common/parts.h"
#include "common/gelu.h"
#include "common/gemm.h"
#include "common/pack.h"
#include "common/products.h"
#include "common/attention.h"
#include "channel_attention/cpu_kernel.h"
#include "channel_attention/cpu_backward_kernel.h"
