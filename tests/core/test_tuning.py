"""Tuning the process: what it does, what it says, and that an import does nothing of it."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys

import pytest
import torch

import adair_core as adair
from adair_core import tuning
from adair_core.errors import UsageError
from adair_core.threads import Cores


@pytest.fixture(autouse=True)
def threads_as_they_were():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_threads_are_a_positive_number(threads):
    with pytest.raises(UsageError, match="threads: expected a positive number, got"):
        adair.tune_process(allocator=False, threads=threads)


def test_threads_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = adair.tune_process(allocator=False, threads=2)
    assert (done.threads, torch.get_num_threads()) == (2, 2)
    assert (done.allocator, done.allocator_tuned) == ("left as it was", False)


def test_idle_cores(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(tuning, "cores", lambda: Cores(physical=4, busy=1))
    done = adair.tune_process(allocator=False)
    assert (done.threads, torch.get_num_threads()) == (3, 3)
    assert done.threads_reason == "4 cores, 1 of them busy"


def test_omp_num_threads_is_obeyed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    monkeypatch.setattr(tuning, "cores", lambda: Cores(physical=4))
    done = adair.tune_process(allocator=False)
    assert (done.threads, done.threads_reason) == (2, "as OMP_NUM_THREADS says")


def test_without_the_native_module(monkeypatch):
    monkeypatch.setitem(sys.modules, "adair_core._runtime", None)
    done = adair.tune_process(threads=1)
    assert (done.allocator, done.allocator_tuned) == ("left as it was: the native module is not built", False)


MEASURE = """
import json, resource, sys, torch
import adair_core as adair

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

threads = torch.get_num_threads()
done = adair.tune_process(threads=1) if sys.argv[1] == "tuned" else None
before = resident()
x = torch.ones(100 * 2**18)
del x
kept = resident() - before
print(json.dumps([done.allocator_tuned if done else False, done.allocator if done else "", kept, threads]))
"""


def measure(which: str, **environment: str) -> tuple[bool, str, float, int]:
    """Whether it was tuned, the explanation, and how many MiB of a freed array of 100 MiB the process keeps."""
    command = [sys.executable, "-c", MEASURE, which]
    environment = {"PATH": "", "OMP_NUM_THREADS": "1", **environment}
    return json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or tuning.runtime() is None, reason="glibc, and the native module"
)


@needs_glibc
def test_a_tuned_allocator_keeps_memory_and_an_import_does_not_tune():
    tuned, explanation, kept, _ = measure("tuned")
    assert tuned
    assert "glibc keeps blocks" in explanation
    assert kept > 90
    _, _, kept, threads = measure("imported")
    assert kept < 10
    assert threads == 1


@needs_glibc
def test_settings_of_the_environment_stay():
    tuned, explanation, _, _ = measure("tuned", MALLOC_TOP_PAD_="65536")
    assert not tuned
    assert explanation == "left as it was: the environment variable MALLOC_TOP_PAD_ has set it"


ANOTHER_MALLOC = """
#define _GNU_SOURCE
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
/* Blocks one after the other, never used again; the size of each lies before it. */
static char* place;
static size_t used;
static void* give(size_t align, size_t size) {
  if (place == NULL) {
    place = mmap(NULL, 1ul << 36, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  }
  if (align < 64) align = 64;
  size_t step = (size + 2 * align - 1) / align * align, end = __atomic_add_fetch(&used, step + align, __ATOMIC_SEQ_CST);
  char* block = (char*)(((size_t)place + end - step) / align * align);
  ((size_t*)block)[-1] = size;
  return block;
}
void* malloc(size_t size) { return give(64, size); }
void* calloc(size_t count, size_t size) { return give(64, count * size); }
void free(void* block) { (void)block; }
void* memalign(size_t align, size_t size) { return give(align, size); }
void* aligned_alloc(size_t align, size_t size) { return give(align, size); }
int posix_memalign(void** block, size_t align, size_t size) { *block = give(align, size); return 0; }
size_t malloc_usable_size(void* block) { return ((size_t*)block)[-1]; }
void* realloc(void* block, size_t size) {
  void* other = give(64, size);
  if (block != NULL) memcpy(other, block, size < ((size_t*)block)[-1] ? size : ((size_t*)block)[-1]);
  return other;
}
"""


@needs_glibc
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_another_malloc_keeps_its_settings(tmp_path):
    source, library = tmp_path / "another.c", tmp_path / "another.so"
    source.write_text(ANOTHER_MALLOC)
    subprocess.run(["cc", "-O1", "-fno-builtin", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    tuned, explanation, _, _ = measure("tuned", LD_PRELOAD=str(library))
    assert not tuned
    assert explanation == "left as it was: malloc is not glibc's but another library's, which keeps its settings"


@needs_glibc
def test_the_build_is_described():
    info = tuning.runtime().build_info()
    assert info["torch_floor"] == "2.11"
    assert info["python"] == platform.python_version()
    assert info["kind"] in ("cpu", "cuda")
    assert "-O3" in info["flags"]
