// Everything of the bottleneck adapter that is compiled once for each instruction set.

#include "common/vector.h"
#include "common/rows.h"
#include "common/parts.h"
#include "common/gelu.h"
#include "common/gemm.h"
#include "common/pack.h"
#include "common/products.h"
#include "common/depthwise.h"
#include "bottleneck/weights.h"
#include "bottleneck/cpu_kernel.h"
#include "bottleneck/cpu_backward_kernel.h"
