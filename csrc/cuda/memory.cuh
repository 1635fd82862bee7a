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

// A vector at an address that is aligned to the whole of it. nvcc takes structs apart, its own vectors too, and between
// branches it may not find that the members can be written to memory at once: so it is told the instruction.
#ifdef __CUDACC__
template <int kBytes>
struct Words;
template <>
struct Words<16> {
  typedef uint4 Type;
};
template <>
struct Words<8> {
  typedef uint2 Type;
};
template <>
struct Words<4> {
  typedef uint32_t Type;
};
template <>
struct Words<2> {
  typedef uint16_t Type;
};

template <class V>
ADAIR_DEVICE V read_at_once(const void* from) {
  const auto words = *static_cast<const typename Words<sizeof(V)>::Type*>(from);
  V values;
  memcpy(&values, &words, sizeof(V));
  return values;
}

template <class V>
ADAIR_DEVICE void write_at_once(void* to, const V& values) {
  typename Words<sizeof(V)>::Type words;
  memcpy(&words, &values, sizeof(V));
  *static_cast<typename Words<sizeof(V)>::Type*>(to) = words;
}

template <class V>
ADAIR_DEVICE void write_global_at_once(void* to, const V& values) {
  typename Words<sizeof(V)>::Type words;
  memcpy(&words, &values, sizeof(V));
  const size_t address = __cvta_generic_to_global(to);
  if constexpr (sizeof(V) == 16) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(words.x), "r"(words.y), "r"(words.z),
                 "r"(words.w)
                 : "memory");
  } else if constexpr (sizeof(V) == 8) {
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(address), "r"(words.x), "r"(words.y) : "memory");
  } else {
    write_at_once(to, values);
  }
}
#else
template <class V>
inline V read_at_once(const void* from) {
  return *static_cast<const V*>(from);
}

template <class V>
inline void write_at_once(void* to, const V& values) {
  *static_cast<V*>(to) = values;
}

template <class V>
inline void write_global_at_once(void* to, const V& values) {
  write_at_once(to, values);
}
#endif

template <int N, class T>
ADAIR_DEVICE Vector<T, N> load_vector(const T* from) {
  note_global_read(from, sizeof(Vector<T, N>));
  return read_at_once<Vector<T, N>>(from);
}

template <int N, class T>
ADAIR_DEVICE void store_vector(T* to, const Vector<T, N>& values) {
  note_global_write(to, sizeof(Vector<T, N>));
  write_global_at_once(to, values);
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
    return read_at_once<Vector<T, N>>(values + i);
  }
  template <int N>
  ADAIR_DEVICE void set_vector(int i, const Vector<T, N>& value) {
    note_shared_write(values, sizeof(values), values + i, sizeof(Vector<T, N>));
    write_at_once(values + i, value);
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
