// Matrix instructions of AMX-BF16, behind names of our own, so that the same arithmetic can be run on a machine without
// them (ADAIR_EMULATE_AMX, for tests). Included by the level of instruction set that has them.
//
// There are eight tile registers of up to 16 rows of 64 bytes.

// What ldtilecfg reads: Intel 64 and IA-32 manual, volume 1, section 18.
struct alignas(64) TileShapes {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

#if ADAIR_EMULATE_AMX

struct EmulatedTiles {
  TileShapes shapes;
  alignas(64) uint8_t data[8][16][64];
};

inline EmulatedTiles& emulated_tiles() {
  thread_local EmulatedTiles tiles;
  return tiles;
}

inline void configure_tiles(const TileShapes& shapes) {
  emulated_tiles().shapes = shapes;
  std::memset(emulated_tiles().data, 0, sizeof(emulated_tiles().data));
}

inline void release_tiles() { emulated_tiles() = EmulatedTiles(); }

template <int Tile>
inline void clear_tile() {
  std::memset(emulated_tiles().data[Tile], 0, sizeof(emulated_tiles().data[Tile]));
}

// Rows are `stride` bytes apart; as in the instruction, what is beyond a tile's shape becomes zero.
template <int Tile>
inline void load_tile(const void* from, int64_t stride) {
  EmulatedTiles& tiles = emulated_tiles();
  clear_tile<Tile>();
  for (int row = 0; row < tiles.shapes.rows[Tile]; ++row) {
    std::memcpy(tiles.data[Tile][row], static_cast<const char*>(from) + row * stride, tiles.shapes.row_bytes[Tile]);
  }
}

template <int Tile>
inline void store_tile(void* to, int64_t stride) {
  EmulatedTiles& tiles = emulated_tiles();
  for (int row = 0; row < tiles.shapes.rows[Tile]; ++row) {
    std::memcpy(static_cast<char*>(to) + row * stride, tiles.data[Tile][row], tiles.shapes.row_bytes[Tile]);
  }
}

// c (rows x columns of floats) += a (rows x pairs) b (pairs x columns).
template <int C, int A, int B>
inline void multiply_tiles() {
  EmulatedTiles& tiles = emulated_tiles();
  for (int row = 0; row < tiles.shapes.rows[C]; ++row) {
    for (int pair = 0; pair < tiles.shapes.row_bytes[A] / 4; ++pair) {
      for (int column = 0; column < tiles.shapes.row_bytes[C] / 4; ++column) {
        float sum;
        bfloat16 a[2], b[2];
        std::memcpy(&sum, tiles.data[C][row] + 4 * column, 4);
        std::memcpy(a, tiles.data[A][row] + 4 * pair, 4);
        std::memcpy(b, tiles.data[B][pair] + 4 * column, 4);
        sum += to_float(a[0]) * to_float(b[0]) + to_float(a[1]) * to_float(b[1]);
        std::memcpy(tiles.data[C][row] + 4 * column, &sum, 4);
      }
    }
  }
}

#else

inline void configure_tiles(const TileShapes& shapes) { _tile_loadconfig(&shapes); }
inline void release_tiles() { _tile_release(); }

// The compilers' functions take the numbers of registers as they are written, not as constants.
template <int Tile>
void clear_tile();
template <int Tile>
void load_tile(const void* from, int64_t stride);
template <int Tile>
void store_tile(void* to, int64_t stride);
template <int C, int A, int B>
void multiply_tiles();

#define ADAIR_TILE(number)                                    \
  template <>                                                 \
  inline void clear_tile<number>() {                          \
    _tile_zero(number);                                       \
  }                                                           \
  template <>                                                 \
  inline void load_tile<number>(const void* from, int64_t stride) { \
    _tile_loadd(number, from, stride);                        \
  }                                                           \
  template <>                                                 \
  inline void store_tile<number>(void* to, int64_t stride) {  \
    _tile_stored(number, to, stride);                         \
  }
ADAIR_TILE(0)
ADAIR_TILE(1)
ADAIR_TILE(2)
ADAIR_TILE(3)
ADAIR_TILE(4)
ADAIR_TILE(5)
ADAIR_TILE(6)
ADAIR_TILE(7)
#undef ADAIR_TILE

#define ADAIR_TILE_PRODUCT(c, a, b)       \
  template <>                             \
  inline void multiply_tiles<c, a, b>() { \
    _tile_dpbf16ps(c, a, b);              \
  }
ADAIR_TILE_PRODUCT(0, 4, 6)
ADAIR_TILE_PRODUCT(1, 4, 7)
ADAIR_TILE_PRODUCT(2, 5, 6)
ADAIR_TILE_PRODUCT(3, 5, 7)
#undef ADAIR_TILE_PRODUCT

#endif

// Registers 0 to 3 hold sums (`rows` x 16), 4 and 5 activations (`rows` x 2 `pairs`), 6 and 7 weights (`pairs` x 16
// columns).
inline TileShapes tile_shapes(int rows, int pairs) {
  TileShapes shapes;
  for (int tile = 0; tile < 8; ++tile) {
    shapes.rows[tile] = static_cast<uint8_t>(tile < 6 ? rows : pairs);
    shapes.row_bytes[tile] = static_cast<uint16_t>(tile == 4 || tile == 5 ? 4 * pairs : 64);
  }
  return shapes;
}

// One block of sums: one or two tiles of rows (RowTiles, 16 rows apart), 16 or 32 columns (ColumnTiles), `depth` a
// multiple of 2 `pairs`.
//
// `start` as in `multiply`: a row (stride 0) or rows to begin with, or null. `columns` are those of the whole panel.
template <int RowTiles, int ColumnTiles>
inline void multiply_block(const bfloat16* a, int64_t a_stride, const bfloat16* panel, int64_t columns, int64_t depth,
                           int pairs, const float* start, int64_t start_stride, float* c, int64_t c_stride) {
  const int64_t a_bytes = a_stride * 2, b_bytes = columns * 4, c_bytes = c_stride * 4, start_bytes = start_stride * 4;
  if (start == nullptr) {
    clear_tile<0>();
    if constexpr (ColumnTiles > 1) clear_tile<1>();
    if constexpr (RowTiles > 1) clear_tile<2>();
    if constexpr (RowTiles > 1 && ColumnTiles > 1) clear_tile<3>();
  } else {
    load_tile<0>(start, start_bytes);
    if constexpr (ColumnTiles > 1) load_tile<1>(start + 16, start_bytes);
    if constexpr (RowTiles > 1) load_tile<2>(start + 16 * start_stride, start_bytes);
    if constexpr (RowTiles > 1 && ColumnTiles > 1) load_tile<3>(start + 16 * start_stride + 16, start_bytes);
  }
  for (int64_t k = 0; k < depth; k += 2 * pairs) {
    load_tile<4>(a + k, a_bytes);
    load_tile<6>(panel + k * columns, b_bytes);
    multiply_tiles<0, 4, 6>();
    if constexpr (ColumnTiles > 1) {
      load_tile<7>(panel + k * columns + 32, b_bytes);
      multiply_tiles<1, 4, 7>();
    }
    if constexpr (RowTiles > 1) {
      load_tile<5>(a + 16 * a_stride + k, a_bytes);
      multiply_tiles<2, 5, 6>();
    }
    if constexpr (RowTiles > 1 && ColumnTiles > 1) multiply_tiles<3, 5, 7>();
  }
  store_tile<0>(c, c_bytes);
  if constexpr (ColumnTiles > 1) store_tile<1>(c + 16, c_bytes);
  if constexpr (RowTiles > 1) store_tile<2>(c + 16 * c_stride, c_bytes);
  if constexpr (RowTiles > 1 && ColumnTiles > 1) store_tile<3>(c + 16 * c_stride + 16, c_bytes);
}

// Calls work(k0, deep, pairs) for all of `depth` that is a multiple of 32, then the rest, whose tiles are less deep.
template <class Work>
inline void in_tile_depths(int64_t depth, const Work& work) {
  const int64_t whole = depth / 32 * 32;
  // The compilers' functions do not say that they read memory: what was written must be there now.
  asm volatile("" ::: "memory");
  if (whole > 0) work(0, whole, 16);
  if (whole < depth) work(whole, depth - whole, static_cast<int>((depth - whole) / 2));
  asm volatile("" ::: "memory");
  release_tiles();
}

// Calls block(row tiles, column tiles) with what is there: `tall` for more than one tile of rows, `broad` of columns.
template <class Block>
inline void of_tiles(bool tall, bool broad, const Block& block) {
  if (tall) {
    broad ? block(Constant<2>(), Constant<2>()) : block(Constant<2>(), Constant<1>());
  } else {
    broad ? block(Constant<1>(), Constant<2>()) : block(Constant<1>(), Constant<1>());
  }
}

// Activations, packed weights and sums of a product, as `multiply` takes them.
struct TileProduct {
  const bfloat16* a;
  int64_t a_stride;
  const bfloat16* packed;
  int64_t vectors, depth;
  const float* start;
  float* c;
  int64_t c_stride;
};

// Depths [k0, k0 + deep) of rows [first, end): a whole number of tiles of `tall` rows, each 16 after the other.
inline void multiply_tiled_rows(const TileProduct& p, int64_t first, int64_t end, int tall, int64_t k0, int64_t deep,
                                int pairs) {
  configure_tiles(tile_shapes(tall, pairs));
  for (int64_t vector = 0; vector < p.vectors; vector += kPanel<bfloat16>) {
    const int64_t wide = std::min<int64_t>(kPanel<bfloat16>, p.vectors - vector), columns = wide * kWidth;
    const bfloat16* panel = p.packed + vector * kWidth * p.depth + k0 * columns;
    for (int64_t row = first; row < end; row += 32) {
      float* to = p.c + row * p.c_stride + vector * kWidth;
      const float* begin = k0 > 0 ? to : p.start == nullptr ? nullptr : p.start + vector * kWidth;
      const int64_t begin_stride = k0 > 0 ? p.c_stride : 0;
      of_tiles(end - row > 16, wide == 2, [&](auto row_tiles, auto column_tiles) {
        multiply_block<decltype(row_tiles)::value, decltype(column_tiles)::value>(
            p.a + row * p.a_stride + k0, p.a_stride, panel, columns, deep, pairs, begin, begin_stride, to, p.c_stride);
      });
    }
  }
}

// c = a w^T + start; arguments as for `multiply`, whose packed weights it takes.
inline void multiply_with_tiles(const bfloat16* a, int64_t a_stride, int64_t rows, const bfloat16* packed,
                                int64_t vectors, int64_t depth, const float* start, float* c, int64_t c_stride) {
  const TileProduct product{a, a_stride, packed, vectors, depth, start, c, c_stride};
  // All rows in whole tiles, then the rest in lower ones.
  const int64_t whole = rows / 16 * 16;
  in_tile_depths(depth, [&](int64_t k0, int64_t deep, int pairs) {
    if (whole > 0) multiply_tiled_rows(product, 0, whole, 16, k0, deep, pairs);
    if (whole < rows) multiply_tiled_rows(product, whole, rows, static_cast<int>(rows - whole), k0, deep, pairs);
  });
}
