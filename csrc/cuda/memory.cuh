// All that kernels read and write goes through these functions: under nvcc they are plain accesses, in the emulation
// each is checked (bounds, alignment, races, values that nobody has written).
#pragma once

#include "cuda/numbers.cuh"

namespace adair {

#ifdef __CUDACC__
ADAIR_DEVICE void note_global_read(const void*, int) {}
ADAIR_DEVICE void note_global_write(const void*, int) {}
ADAIR_DEVICE void note_shared_read(const void*, int, const void*, int) {}
ADAIR_DEVICE void note_shared_write(const void*, int, const void*, int) {}
#else
inline void note_global_read(const void* at, int bytes) { emulation::reads_global(at, bytes); }
inline void note_global_write(const void* at, int bytes) { emulation::writes_global(at, bytes); }
inline void note_shared_read(const void* array, int size, const void* at, int bytes) {
  emulation::reads_shared(array, size, at, bytes);
}
inline void note_shared_write(const void* array, int size, const void* at, int bytes) {
  emulation::writes_shared(array, size, at, bytes);
}
#endif

template <class T>
ADAIR_DEVICE T load(const T* from) {
  note_global_read(from, sizeof(T));
  return *from;
}

template <class T>
ADAIR_DEVICE void store(T* to, T value) {
  note_global_write(to, sizeof(T));
  *to = value;
}

// `from` and `to` are aligned to the whole vector.
template <int N, class T>
ADAIR_DEVICE Vector<T, N> load_vector(const T* from) {
  note_global_read(from, sizeof(Vector<T, N>));
  return *reinterpret_cast<const Vector<T, N>*>(from);
}

template <int N, class T>
ADAIR_DEVICE void store_vector(T* to, const Vector<T, N>& values) {
  note_global_write(to, sizeof(Vector<T, N>));
  *reinterpret_cast<Vector<T, N>*>(to) = values;
}

// An array in shared memory.
template <class T, int kSize>
struct alignas(16) SharedArray {
  T values[kSize];

  ADAIR_DEVICE T get(int i) const {
    note_shared_read(values, sizeof(values), values + i, sizeof(T));
    return values[i];
  }
  ADAIR_DEVICE void set(int i, T value) {
    note_shared_write(values, sizeof(values), values + i, sizeof(T));
    values[i] = value;
  }
  template <int N>
  ADAIR_DEVICE Vector<T, N> get_vector(int i) const {
    note_shared_read(values, sizeof(values), values + i, sizeof(Vector<T, N>));
    return *reinterpret_cast<const Vector<T, N>*>(values + i);
  }
  template <int N>
  ADAIR_DEVICE void set_vector(int i, const Vector<T, N>& value) {
    note_shared_write(values, sizeof(values), values + i, sizeof(Vector<T, N>));
    *reinterpret_cast<Vector<T, N>*>(values + i) = value;
  }
};

// The shared memory of a block, a struct of SharedArrays; it holds nothing at first.
template <class Storage>
ADAIR_DEVICE Storage& block_shared() {
#ifdef __CUDACC__
  __shared__ alignas(16) unsigned char memory[sizeof(Storage)];
  return *reinterpret_cast<Storage*>(memory);
#else
  return *static_cast<Storage*>(emulation::grid().shared(sizeof(Storage), __PRETTY_FUNCTION__));
#endif
}

}  // namespace adair
