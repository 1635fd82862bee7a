// The layer norm of images on a GPU; equations in adair_core/ops/layer_norm2d/reference.py.
//
// Channels last, some lanes of a warp share a pixel; channels first, eight warps share 32 vectors of pixels. A pixel is
// read once from memory and again from the cache: for the mean, for the variance about it, and for the result.
#pragma once

#include "cuda/sums.cuh"
#include "layer_norm2d/arguments.h"
#include "layer_norm2d/parameter_gradients.cuh"

namespace adair {

// ---- channels last. N is the number of values in an access.

template <class T, int N>
__global__ void __launch_bounds__(kNormThreads) layer_norm2d_last(LayerNorm2d<T> f, int lanes) {
  const int lane = threadIdx.x % lanes;
  const int64_t pixel = int64_t(blockIdx.x) * (kNormThreads / lanes) + threadIdx.x / lanes;
  // Lanes without a pixel take part in the sums of their warp.
  const int64_t channels = pixel < f.images * f.pixels ? f.channels : 0;
  const T* x = f.x + pixel * f.channels;
  float sum = 0.0f;
  for (int64_t c = lane * N; c < channels; c += lanes * N) {
    const Vector<T, N> values = load_vector<N>(x + c);
    for (int i = 0; i < N; ++i) sum += values[i];
  }
  const float mean = sum_of_lanes(sum, lanes) / float(f.channels);
  float squares = 0.0f;
  for (int64_t c = lane * N; c < channels; c += lanes * N) {
    const Vector<T, N> values = load_vector<N>(x + c);
    for (int i = 0; i < N; ++i) squares += (values[i] - mean) * (values[i] - mean);
  }
  const float rstd = rsqrtf(sum_of_lanes(squares, lanes) / float(f.channels) + f.eps);
  for (int64_t c = lane * N; c < channels; c += lanes * N) {
    const Vector<T, N> values = load_vector<N>(x + c);
    Vector<T, N> result;
    for (int i = 0; i < N; ++i) {
      const float scale = rstd * load(f.weight + c + i);
      result.set(i, f.bias == nullptr ? values[i] * scale : (values[i] - mean) * scale + load(f.bias + c + i));
    }
    store_vector(f.y + pixel * f.channels + c, result);
  }
  if (channels > 0 && lane == 0) {
    store(f.mean + pixel, mean);
    store(f.rstd + pixel, rstd);
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kNormThreads) layer_norm2d_backward_last(LayerNorm2dBackward<T> f, int lanes) {
  const int lane = threadIdx.x % lanes;
  const int64_t pixel = int64_t(blockIdx.x) * (kNormThreads / lanes) + threadIdx.x / lanes;
  const int64_t channels = pixel < f.images * f.pixels ? f.channels : 0;
  const T* x = f.x + pixel * f.channels;
  const T* gradient = f.gradient + pixel * f.channels;
  const float mean = channels > 0 ? load(f.mean + pixel) : 0.0f, rstd = channels > 0 ? load(f.rstd + pixel) : 0.0f;
  const float shift = f.bias_free ? 0.0f : mean;
  float sum = 0.0f, along = 0.0f;
  for (int64_t c = lane * N; c < channels; c += lanes * N) {
    const Vector<T, N> values = load_vector<N>(x + c), outer = load_vector<N>(gradient + c);
    for (int i = 0; i < N; ++i) {
      const float inner = outer[i] * load(f.weight + c + i);
      sum += inner;
      along += inner * (values[i] - shift);
    }
  }
  sum = f.bias_free ? 0.0f : sum_of_lanes(sum, lanes) / float(f.channels);
  along = sum_of_lanes(along, lanes) / float(f.channels) * rstd * rstd;
  for (int64_t c = lane * N; c < channels; c += lanes * N) {
    const Vector<T, N> values = load_vector<N>(x + c), outer = load_vector<N>(gradient + c);
    Vector<T, N> result;
    for (int i = 0; i < N; ++i) {
      result.set(i, rstd * (outer[i] * load(f.weight + c + i) - sum - (values[i] - mean) * along));
    }
    store_vector(f.to_x + pixel * f.channels + c, result);
  }
}

// ---- channels first: N neighbouring pixels a thread, the channels of a pixel shared by eight warps.

constexpr int kNormWarps = kNormThreads / kWarpSize;

template <int N>
struct NormSums {
  SharedArray<float, kNormThreads * N> values;
};

// The sums over warps, in their order, of each lane's N values; for all threads.
template <int N>
ADAIR_DEVICE void sum_of_warps(NormSums<N>& shared, float (&values)[N]) {
  const int lane = threadIdx.x % kWarpSize, warp = threadIdx.x / kWarpSize;
  __syncthreads();
  for (int i = 0; i < N; ++i) shared.values.set((i * kNormWarps + warp) * kWarpSize + lane, values[i]);
  __syncthreads();
  for (int i = 0; i < N; ++i) {
    values[i] = 0.0f;
    for (int w = 0; w < kNormWarps; ++w) values[i] += shared.values.get((i * kNormWarps + w) * kWarpSize + lane);
  }
}

// Where the first pixel of a thread is; `inside` tells whether there is one.
struct NormPlace {
  int64_t image, pixel, start;  // `start` of the pixel's first channel in the images
  bool inside;
};

template <int N>
ADAIR_DEVICE NormPlace norm_place(int64_t pixels, int64_t channels) {
  const int64_t across = (pixels + kWarpSize * N - 1) / (kWarpSize * N);
  NormPlace place;
  place.image = blockIdx.x / across;
  place.pixel = (blockIdx.x % across * kWarpSize + threadIdx.x % kWarpSize) * N;
  place.start = place.image * channels * pixels + place.pixel;
  place.inside = place.pixel < pixels;
  return place;
}

template <class T, int N>
__global__ void __launch_bounds__(kNormThreads) layer_norm2d_first(LayerNorm2d<T> f) {
  NormSums<N>& shared = block_shared<NormSums<N>>();
  const NormPlace place = norm_place<N>(f.pixels, f.channels);
  const int64_t first = threadIdx.x / kWarpSize, channels = place.inside ? f.channels : 0;
  float mean[N] = {}, rstd[N] = {};
  for (int64_t c = first; c < channels; c += kNormWarps) {
    const Vector<T, N> values = load_vector<N>(f.x + place.start + c * f.pixels);
    for (int i = 0; i < N; ++i) mean[i] += values[i];
  }
  sum_of_warps<N>(shared, mean);
  for (int i = 0; i < N; ++i) mean[i] /= float(f.channels);
  for (int64_t c = first; c < channels; c += kNormWarps) {
    const Vector<T, N> values = load_vector<N>(f.x + place.start + c * f.pixels);
    for (int i = 0; i < N; ++i) rstd[i] += (values[i] - mean[i]) * (values[i] - mean[i]);
  }
  sum_of_warps<N>(shared, rstd);
  for (int i = 0; i < N; ++i) rstd[i] = rsqrtf(rstd[i] / float(f.channels) + f.eps);
  for (int64_t c = first; c < channels; c += kNormWarps) {
    const Vector<T, N> values = load_vector<N>(f.x + place.start + c * f.pixels);
    const float weight = load(f.weight + c), bias = f.bias == nullptr ? 0.0f : load(f.bias + c);
    Vector<T, N> result;
    for (int i = 0; i < N; ++i) {
      result.set(i, (f.bias == nullptr ? values[i] : values[i] - mean[i]) * rstd[i] * weight + bias);
    }
    store_vector(f.y + place.start + c * f.pixels, result);
  }
  if (!place.inside || first != 0) return;
  for (int i = 0; i < N; ++i) {
    store(f.mean + place.image * f.pixels + place.pixel + i, mean[i]);
    store(f.rstd + place.image * f.pixels + place.pixel + i, rstd[i]);
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kNormThreads) layer_norm2d_backward_first(LayerNorm2dBackward<T> f) {
  NormSums<N>& shared = block_shared<NormSums<N>>();
  const NormPlace place = norm_place<N>(f.pixels, f.channels);
  const int64_t first = threadIdx.x / kWarpSize, channels = place.inside ? f.channels : 0;
  float mean[N] = {}, rstd[N] = {}, sum[N] = {}, along[N] = {};
  for (int i = 0; i < N && place.inside; ++i) {
    mean[i] = load(f.mean + place.image * f.pixels + place.pixel + i);
    rstd[i] = load(f.rstd + place.image * f.pixels + place.pixel + i);
  }
  for (int64_t c = first; c < channels; c += kNormWarps) {
    const int64_t at = place.start + c * f.pixels;
    const Vector<T, N> values = load_vector<N>(f.x + at), outer = load_vector<N>(f.gradient + at);
    const float weight = load(f.weight + c);
    for (int i = 0; i < N; ++i) {
      sum[i] += outer[i] * weight;
      along[i] += outer[i] * weight * (f.bias_free ? values[i] : values[i] - mean[i]);
    }
  }
  sum_of_warps<N>(shared, sum);
  sum_of_warps<N>(shared, along);
  for (int64_t c = first; c < channels; c += kNormWarps) {
    const int64_t at = place.start + c * f.pixels;
    const Vector<T, N> values = load_vector<N>(f.x + at), outer = load_vector<N>(f.gradient + at);
    const float weight = load(f.weight + c);
    Vector<T, N> result;
    for (int i = 0; i < N; ++i) {
      const float centre = f.bias_free ? 0.0f : sum[i] / float(f.channels);
      const float slope = along[i] / float(f.channels) * rstd[i] * rstd[i];
      result.set(i, rstd[i] * (outer[i] * weight - centre - (values[i] - mean[i]) * slope));
    }
    store_vector(f.to_x + at, result);
  }
}

// ---- launches

// Calls work(Constant<N>()) with the widest access that fits.
template <class T, class Work>
inline void with_norm_vectors(bool fits, const Work& work) {
  fits ? work(Constant<kWidest<T>>()) : work(Constant<1>());
}

template <class T, class Device>
void launch_layer_norm2d(Device& device, const LayerNorm2d<T>& f) {
  with_norm_vectors<T>(fits_widest<T>(f.channels_last ? f.channels : f.pixels, {f.x, f.y}), [&](auto constant) {
    constexpr int N = decltype(constant)::value;
    if (f.channels_last) {
      const int lanes = norm_lanes(f.channels, N);
      const Blocks blocks{divided_up(f.images * f.pixels, kNormThreads / lanes)};
      device.launch("layer_norm2d_last", layer_norm2d_last<T, N>, blocks, kNormThreads, f, lanes);
    } else {
      const Blocks blocks{f.images * divided_up(f.pixels, kWarpSize * N)};
      device.launch("layer_norm2d_first", layer_norm2d_first<T, N>, blocks, kNormThreads, f);
    }
  });
}

template <class T, class Device>
void launch_layer_norm2d_backward(Device& device, const LayerNorm2dBackward<T>& f) {
  const bool fits = fits_widest<T>(f.channels_last ? f.channels : f.pixels, {f.x, f.gradient, f.to_x});
  with_norm_vectors<T>(fits, [&](auto constant) {
    constexpr int N = decltype(constant)::value;
    if (f.channels_last) {
      const int lanes = norm_lanes(f.channels, N);
      const Blocks blocks{divided_up(f.images * f.pixels, kNormThreads / lanes)};
      device.launch("layer_norm2d_backward_last", layer_norm2d_backward_last<T, N>, blocks, kNormThreads, f,
                    lanes);
    } else {
      const Blocks blocks{f.images * divided_up(f.pixels, kWarpSize * N)};
      device.launch("layer_norm2d_backward_first", layer_norm2d_backward_first<T, N>, blocks, kNormThreads, f);
    }
    launch_norm_parameter_gradients<N>(device, f);
  });
}

}  // namespace adair
