// All kernels of the attention branch. Included once for each instruction set.

#include "common/vector.h"
#include "common/rows.h"
#include "common/parts.h"
#include "common/gelu.h"
#include "common/gemm.h"
#include "common/depthwise.h"
#include "common/products.h"
#include "common/expand.h"
#include "common/expand_backward.h"
#include "attention_branch/matrices.h"
#include "attention_branch/cpu_kernel.h"
#include "attention_branch/cpu_backward_kernel.h"
