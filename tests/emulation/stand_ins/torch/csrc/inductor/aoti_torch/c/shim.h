// The current stream of a device.
#pragma once

#include <cstdint>

int aoti_torch_get_current_cuda_stream(int32_t device, void** stream);

// What fails here throws by itself.
#define TORCH_ERROR_CODE_CHECK(call) call
