#include "call.h"

#include <memory>

#include "memory.h"

namespace emulation {
namespace {

constexpr int kDevices = 2;
char streams[kDevices];
std::unique_ptr<Call> current;

}  // namespace

Call& call() { return *current; }
void begin_call(uint64_t seed) { current = std::make_unique<Call>(seed); }

void end_call() {
  current.reset();
  forget_buffers();
}

void* stream_of(int device) {
  if (device < 0 || device >= kDevices) throw Error("there is no CUDA device " + std::to_string(device));
  return streams + device;
}

void* workspace(size_t bytes) {
  return add_buffer("workspace " + std::to_string(++call().workspaces), Role::kWorkspace, nullptr, bytes);
}

void launch(const std::string& name, Dim3 blocks, int threads, const void* stream, const std::function<void()>& body) {
  if (stream != stream_of(call().current_device)) throw Error(name + ": launched on a stream of another device");
  call().grid.run(name, blocks, Dim3(threads), body);
}

}  // namespace emulation
