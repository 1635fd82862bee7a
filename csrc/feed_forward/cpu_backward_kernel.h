// The backward pass of the feed-forward branch. Included once for each instruction set.
//
// With dY the gradient of the branch's output and g = GELU(a) b:
//   dg = W_out^T dY,  da = dg b GELU'(a),  db = dg GELU(a),  dW_out = dY g^T

// [da, db], and sums for the gradients of the projection, for expansion_backward.
template <class T>
struct GatedSource {
  typedef typename OperandOf<T>::type E;
  const FeedForwardBackward<T>& b;
  const E* projection;  // W_out^T, packed

  int64_t channels() const { return round_up(b.forward.expansion.channels, kWidth); }
  int64_t hidden() const { return round_up(b.forward.hidden(), kWidth); }
  static int64_t pixels(const Block& block) { return rows_together(block) * (block.right - block.left + 2); }

  size_t bytes(const Block& block) const {
    return Scratch::bytes<E>(pixels(block) * channels()) + Scratch::bytes<float>(pixels(block) * channels()) +
           Scratch::bytes<float>(pixels(block) * hidden()) * 2 +
           (b.to_out_weight == nullptr ? 0 : WaitingProducts<E>::bytes(channels(), hidden(), block.right - block.left));
  }

  // dW_out, padded, then the sum of dY.
  int64_t sums() const {
    return (b.to_out_weight == nullptr ? 0 : channels() * hidden()) + (b.to_out_bias == nullptr ? 0 : channels());
  }

  void write(const float* sums) const {
    const int64_t size = b.forward.expansion.channels;
    if (b.to_out_weight != nullptr) {
      for (int64_t n = 0; n < size; ++n) {
        std::memcpy(b.to_out_weight + n * b.forward.hidden(), sums + n * hidden(), b.forward.hidden() * sizeof(float));
      }
      sums += channels() * hidden();
    }
    if (b.to_out_bias != nullptr) std::memcpy(b.to_out_bias, sums, size * sizeof(float));
  }

  class Rows {
   public:
    Rows(const GatedSource& source, const Block& block, Scratch& scratch, float* sums)
        : source_(source), b_(source.b), block_(block), channels_(source.channels()), hidden_(source.hidden()),
          operand_(scratch.take<E>(pixels(block) * channels_)),
          gradient_(scratch.take<float>(pixels(block) * channels_)),
          to_gated_(scratch.take<float>(pixels(block) * hidden_)),
          gated_(scratch.take<float>(pixels(block) * hidden_)),
          to_bias_(b_.to_out_bias == nullptr     ? nullptr
                   : b_.to_out_weight == nullptr ? sums
                                                 : sums + channels_ * hidden_),
          products_(channels_, hidden_, block.right - block.left, b_.to_out_weight == nullptr ? nullptr : sums,
                    scratch) {}

    void operator()(const Ring& ring, int64_t y, int64_t end) const {
      const Expansion<T>& e = b_.forward.expansion;
      const int64_t count = ring.to - ring.from, hidden = b_.forward.hidden();
      for (int64_t row = y; row < end; ++row) {
        const T* from = b_.gradient + e.pixel(block_.image, row, ring.from) * e.channels;
        for (int64_t i = 0; i < count; ++i) {
          const int64_t place = ((row - y) * count + i) * channels_;
          read_pixel(from + i * e.channels, e.channels, operand_ + place, channels_);
        }
      }
      multiply(operand_, channels_, (end - y) * count, source_.projection, hidden_, channels_, nullptr, to_gated_,
               hidden_);
      for (int64_t row = y; row < end; ++row) {
        const int64_t place = (row - y) * count;
        gate_gradient_row(b_.forward.convolved + e.pixel(block_.image, row, ring.from) * 2 * hidden, hidden, hidden_,
                          to_gated_ + place * hidden_, count, ring.inside(row), products_.wanted() ? gated_ : nullptr);
        if (row >= block_.top && row < block_.bottom) add_to_sums(row, block_.left - ring.from);
      }
    }

   private:
    // From a row whose gate is in gated_, without the `skip` pixels before the block.
    void add_to_sums(int64_t row, int64_t skip) const {
      if (!products_.wanted() && to_bias_ == nullptr) return;
      const Expansion<T>& e = b_.forward.expansion;
      const int64_t columns = block_.right - block_.left;
      const T* from = b_.gradient + e.pixel(block_.image, row, block_.left) * e.channels;
      float* gradient = products_.wanted() ? products_.next_a() : gradient_;
      for (int64_t i = 0; i < columns; ++i) {
        read_pixel(from + i * e.channels, e.channels, gradient + i * channels_, channels_);
      }
      if (to_bias_ != nullptr) add_rows(gradient, channels_, channels_, columns, to_bias_);
      if (!products_.wanted()) return;
      std::memcpy(products_.next_b(), gated_ + skip * hidden_, columns * hidden_ * sizeof(float));
      products_.add(columns);
    }

    const GatedSource& source_;
    const FeedForwardBackward<T>& b_;
    const Block block_;
    int64_t channels_, hidden_;
    E* operand_;
    float *gradient_, *to_gated_, *gated_, *to_bias_;
    mutable WaitingProducts<E> products_;
  };

  Rows fill(const Block& block, Scratch& scratch, float* sums) const { return Rows(*this, block, scratch, sums); }
};

template <class T>
void feed_forward_backward_kernel(const FeedForwardBackward<T>& b, const Parallel& parallel) {
  typedef typename OperandOf<T>::type E;
  const Matrix transposed = projection_matrix(b.forward).transposed();
  Scratch scratch(Scratch::bytes<E>(transposed.packed<E>()));
  E* projection = scratch.take<E>(transposed.packed<E>());
  pack<T>(transposed, projection, parallel);
  expansion_backward(b.forward.expansion, b.to, b.forward.residual ? b.gradient : nullptr, parallel,
                     GatedSource<T>{b, projection});
}
