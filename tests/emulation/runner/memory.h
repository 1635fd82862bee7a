// Global and shared memory with a shadow: for every two bytes, who has written and read them last, and when.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace emulation {

enum class Role { kInput, kOutput, kWorkspace };

// Memory for a tensor: exactly `bytes` of it are usable, between guards. They begin `shift` bytes after where PyTorch's
// allocator would begin, as those of a part of a tensor may. Inputs have what `from` holds, everything else is poisoned
// (NaN in every floating-point type).
void* add_buffer(const std::string& name, Role role, const void* from, size_t bytes, size_t shift = 0);
// Copies the contents of an output, and requires that every element was written and that the guards are intact.
void finish_buffer(const std::string& name, void* to, size_t element);
// What PyTorch's allocator would give to the next who asks: any access from now on is an error.
void free_buffer(void* begin);
void forget_buffers();

void begin_launch();
void begin_shared(const void* begin, size_t bytes);

void reads_global(const void* address, size_t bytes);
void writes_global(const void* address, size_t bytes);
// `array` is the array that the access must stay within.
void reads_shared(const void* array, size_t array_bytes, const void* address, size_t bytes);
void writes_shared(const void* array, size_t array_bytes, const void* address, size_t bytes);

}  // namespace emulation
