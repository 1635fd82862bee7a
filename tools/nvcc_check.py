"""Compile the CUDA kernels for every architecture and compare what they take with csrc/resources.tsv.

    python tools/nvcc_check.py             # warnings, spills and differences from the table are errors
    python tools/nvcc_check.py --update    # writes the table
    python tools/nvcc_check.py --accesses 90   # how wide the accesses in the machine code for sm_90 are, as Markdown

Needs nvcc and an installed PyTorch (its headers), and no GPU. About two minutes on two idle cores. The table pins
registers, shared memory, stack and spills of each kernel, so that a change that costs occupancy is seen when it is
made, and how many places in its code multiply matrices and read and write global memory, all and 16 bytes at a time, so
that one that narrows them is. It holds for one version of nvcc, which its first line names.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from torch.utils import cpp_extension

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"
TABLE = CSRC / "resources.tsv"
TORCH_FLOOR = "0x020b000000000000"
FLAGS = [
    *("-std=c++20", "-O3", f"-DTORCH_TARGET_VERSION={TORCH_FLOOR}", "-DUSE_CUDA", f"-I{CSRC}"),
    *("-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra", "-Xptxas", "-v"),
]


@dataclass(frozen=True)
class Architecture:
    """A streaming multiprocessor: CUDA programming guide, "Technical specifications per compute capability"."""

    name: str
    shared_memory: int
    registers: int = 65536
    warps: int = 64
    blocks: int = 32


ARCHITECTURES = [
    Architecture("80", 164 * 1024),
    Architecture("90", 228 * 1024),
    Architecture("100", 228 * 1024),
]


@dataclass(frozen=True)
class Resources:
    """What a kernel takes on an architecture; bytes, and threads in a block."""

    threads: int
    registers: int
    shared: int
    stack: int
    spills: int
    instructions: Instructions

    def occupancy(self, on: Architecture) -> int:
        """The share of a multiprocessor's warps that can be there at a time, in percent."""
        warps = -(-self.threads // 32)
        # Registers are given to warps in units of 256; each block takes 1 KiB of shared memory beside its own.
        of_registers = on.registers // (-(-self.registers * 32 // 256) * 256 * warps)
        of_shared = on.shared_memory // (self.shared + 1024)
        return 100 * min(of_registers, of_shared, on.warps // warps, on.blocks) * warps // on.warps


@dataclass(frozen=True)
class Instructions:
    """How often a kernel's PTX has an instruction; loops that nvcc unrolled count each time.

    Source: PTX ISA 9.0, "Data Movement and Conversion Instructions" and "Warp Level Matrix Multiply-Accumulate".
    """

    mma: int
    reads: int
    wide_reads: int
    writes: int
    wide_writes: int

    @classmethod
    def of(cls, ptx: str) -> Instructions:
        """Count those of one kernel."""

        def count(operation: str, widths: str = "") -> int:
            return len(re.findall(rf"^\s*(?:@!?%\w+\s+)?{operation}\b[\w.:]*{widths}", ptx, re.MULTILINE))

        wide = r"\.(?:v4\.\w32|v2\.\w64)\b"
        return cls(
            mma=count(r"mma\.sync"),
            reads=count(r"ld\.global"),
            wide_reads=count(r"ld\.global", wide),
            writes=count(r"st\.global"),
            wide_writes=count(r"st\.global", wide),
        )


Kernels = dict[str, dict[str, Resources]]  # by kernel and architecture


def main() -> None:
    """Compile, compare or write; exit with 1 if something does not hold."""
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--update", action="store_true", help="write csrc/resources.tsv")
    arguments.add_argument(
        "--accesses",
        choices=[architecture.name for architecture in ARCHITECTURES],
        help="only print how wide the accesses to global memory are in the machine code for this architecture",
    )
    parsed = arguments.parse_args()
    update = parsed.update
    sources = sorted(CSRC.glob("*/cuda.cu"))
    architectures = [each for each in ARCHITECTURES if parsed.accesses in (None, each.name)]
    jobs = [(source, architecture) for source in sources for architecture in architectures]
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        done = list(pool.map(lambda job: compile_one(*job, disassembled=bool(parsed.accesses)), jobs))
    kernels: Kernels = {}
    for (_, architecture), (found, _) in zip(jobs, done, strict=True):
        for name, resources in found.items():
            kernels.setdefault(name, {})[architecture.name] = resources
    if parsed.accesses:
        print(accesses({name: code for _, codes in done for name, code in codes.items()}))
        return
    spilling = [
        f"{name} on sm_{architecture}"
        for name, row in kernels.items()
        for architecture, each in row.items()
        if each.spills or each.stack
    ]
    if spilling:
        sys.exit("nvcc_check: registers do not suffice, or an array is not in them: " + ", ".join(spilling))
    text = table(kernels)
    if update:
        TABLE.write_text(text)
    elif not TABLE.exists() or TABLE.read_text() != text:
        committed = TABLE.read_text().splitlines() if TABLE.exists() else []
        difference = [f"- {line}" for line in committed if line not in text.splitlines()]
        difference += [f"+ {line}" for line in text.splitlines() if line not in committed]
        print("\n".join(difference), file=sys.stderr)
        sys.exit(
            "nvcc_check: csrc/resources.tsv is not what the kernels take (above: - the table, + the kernels); if the "
            "change is meant, 'python tools/nvcc_check.py --update' writes it"
        )
    print(f"nvcc_check: {len(kernels)} kernels for {len(ARCHITECTURES)} architectures, no spills")


def compile_one(
    source: Path, architecture: Architecture, *, disassembled: bool = False
) -> tuple[dict[str, Resources], dict[str, str]]:
    """Compile a file for an architecture; what its kernels take, by name, and their machine code if it is wanted."""
    name = architecture.name
    headers = [part for path in cpp_extension.include_paths() for part in ("-isystem", path)]
    with tempfile.TemporaryDirectory() as folder:
        code = f"arch=compute_{name},code=sm_{name}"
        kept = ["--keep", "--keep-dir", folder, "-o", f"{folder}/result.o"]
        command = ["nvcc", *FLAGS, *headers, "-gencode", code, *kept, "-c", str(source)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            sys.exit("nvcc_check: nvcc is not on PATH; install the CUDA toolkit")
        if done.returncode != 0:
            sys.exit(f"nvcc_check: {source.relative_to(ROOT)} for sm_{name}:\n{done.stdout}{done.stderr}")
        (ptx,) = Path(folder).glob("*.ptx")
        code_of = entries(ptx.read_text())
        machine_code = {}
        if disassembled:
            (cubin,) = Path(folder).glob("*.cubin")
            said = subprocess.run([cuobjdump(), "-sass", str(cubin)], capture_output=True, text=True, check=True).stdout
            parts = [part.partition("\n") for part in said.split("Function : ")[1:]]
            machine_code = {readable(symbol.strip()): code for symbol, _, code in parts}
    return {readable(symbol): resources for symbol, resources in parse(done.stderr, code_of)}, machine_code


def cuobjdump() -> str:
    """The disassembler: from the CUDA toolkit, or from Triton, which comes with PyTorch."""
    triton = importlib.util.find_spec("triton")
    beside = [str(Path(triton.origin).parent / "backends/nvidia/bin")] if triton and triton.origin else []
    found = shutil.which("cuobjdump", path=os.pathsep.join([os.environ.get("PATH", ""), *beside]))
    if found is None:
        sys.exit("nvcc_check: neither the CUDA toolkit nor Triton has cuobjdump; pip install triton")
    return found


def accesses(code_of: dict[str, str]) -> str:
    """A table of how many places read and write global memory by how many bits, widest first, and of products.

    Source: CUDA binary utilities, "Instruction Set Reference"; without a size, LDG and STG are of 32 bits.
    """
    lines = ["| kernel | reads | writes | matrix instructions |", "|---|---|---|---|"]
    for kernel, code in sorted(code_of.items()):
        cells = []
        for operation in ("LDG", "STG"):
            variants = re.findall(rf"\b{operation}((?:\.\w+)*)", code)
            sizes = (re.search(r"\.[US]?(8|16|64|128|256)(?=\.|$)", variant) for variant in variants)
            widths = collections.Counter(int(size[1]) if size else 32 for size in sizes)
            cells.append(", ".join(f"{count} x {width}" for width, count in sorted(widths.items(), reverse=True)))
        products = sorted(set(re.findall(r"\b(?:HMMA|HGMMA|UTCHMMA)[\w.]*", code)))
        lines.append(f"| `{kernel}` | {cells[0]} | {cells[1]} | {', '.join(products)} |")
    return "\n".join(lines)


def entries(ptx: str) -> dict[str, str]:
    """The text of each kernel in PTX, by its symbol."""
    return {
        part.partition("(")[0].strip(): part for part in re.split(r"^(?:\.\w+ )*\.entry ", ptx, flags=re.MULTILINE)[1:]
    }


def parse(log: str, code_of: dict[str, str]) -> Iterator[tuple[str, Resources]]:
    """The kernels in what ptxas says, with what it compiled."""
    for part in log.split("Compiling entry function '")[1:]:
        symbol = part.partition("'")[0]

        def number(pattern: str, part: str = part) -> int:
            found = re.search(pattern, part)
            return int(found[1]) if found else 0

        threads = re.search(r"\.maxntid (\d+)", code_of.get(symbol, ""))
        if threads is None:
            sys.exit(f"nvcc_check: {readable(symbol)} has no __launch_bounds__, from which its block's size is known")
        yield (
            symbol,
            Resources(
                threads=int(threads[1]),
                registers=number(r"Used (\d+) registers"),
                shared=number(r"(\d+) bytes smem"),
                stack=number(r"(\d+) bytes stack frame"),
                spills=number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads"),
                instructions=Instructions.of(code_of[symbol]),
            ),
        )


def readable(symbol: str) -> str:
    """A kernel's name with its template arguments, without namespace and parameters."""
    whole = subprocess.run(["c++filt", symbol], capture_output=True, text=True, check=True).stdout.strip()
    return re.sub(r"^void |adair::|\(.*\)$", "", whole)


def table(kernels: Kernels) -> str:
    """The table's text: a line for each kernel, registers and occupancy (in percent) for each architecture.

    Instructions are those for the last one: they differ where a kernel has another way for an architecture.
    """
    names = [architecture.name for architecture in ARCHITECTURES]
    head = ["kernel", "threads", "shared", "stack", "spills"]
    head += [f"{what}_{name}" for name in names for what in ("registers", "occupancy")]
    counted = [field.name for field in fields(Instructions)]
    head += counted
    said = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    (version,) = re.findall(r"V([\d.]+)", said)
    lines = [f"# nvcc {version}", "\t".join(head)]
    for kernel, row in sorted(kernels.items()):
        each = [row[name] for name in names]
        cells = [each[0].threads, *(max(getattr(one, what) for one in each) for what in ("shared", "stack", "spills"))]
        for one, architecture in zip(each, ARCHITECTURES, strict=True):
            cells += [one.registers, one.occupancy(architecture)]
        cells += [getattr(each[-1].instructions, what) for what in counted]
        lines.append("\t".join([kernel, *map(str, cells)]))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
