// What every library of kernels includes in any case, compiled once for all of them: emulator.py.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/util/Exception.h>

#include "cuda_emulation.h"
#include "mma_emulation.h"
