"""What tools/nvcc_check.py reads from the compiler, on text of which the counts are known."""

from __future__ import annotations

import pytest
from nvcc_check import ARCHITECTURES, Instructions, Resources, accesses, entries, parse

PTX = """
.version 9.0
.visible .entry _Z5firstPf(
\t.param .u64 .ptr .align 1 _Z5firstPf_param_0
)
.maxntid 128
{
\tld.param.b64 \t%rd1, [_Z5firstPf_param_0];
\tld.global.nc.v4.b32 \t{%r1, %r2, %r3, %r4}, [%rd1];
\t@%p1 ld.global.v2.b64 \t{%rd2, %rd3}, [%rd1+16];
\tld.global.v2.b32 \t{%r5, %r6}, [%rd1+32];
\tld.global.b16 \t%rs1, [%rd1+40];
\tld.shared.v4.b32 \t{%r1, %r2, %r3, %r4}, [%r7];
\tmma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1}, {%r1}, {%r2}, {%f1};
\tst.global.v4.b32 \t[%rd1], {%r1, %r2, %r3, %r4};
\t@!%p2 st.global.b32 \t[%rd1+16], %r1;
}
\t// .globl _Z6secondPf
.entry _Z6secondPf(
\t.param .u64 _Z6secondPf_param_0
)
.maxntid 64, 1, 1
{
\tst.global.b32 \t[%rd1], %r1;
}
"""
LOG = """
ptxas info    : Compiling entry function '_Z5firstPf' for 'sm_90'
ptxas info    : Function properties for _Z5firstPf
    8 bytes stack frame, 12 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 2048 bytes smem
ptxas info    : Compiling entry function '_Z6secondPf' for 'sm_90'
ptxas info    : Used 24 registers
"""


def test_instructions_of_each_kernel() -> None:
    code_of = entries(PTX)
    assert list(code_of) == ["_Z5firstPf", "_Z6secondPf"]
    assert Instructions.of(code_of["_Z5firstPf"]) == Instructions(mma=1, reads=4, wide_reads=2, writes=2, wide_writes=1)
    assert Instructions.of(code_of["_Z6secondPf"]) == Instructions(
        mma=0, reads=0, wide_reads=0, writes=1, wide_writes=0
    )


def test_resources_of_each_kernel() -> None:
    found = dict(parse(LOG, entries(PTX)))
    first, second = found["_Z5firstPf"], found["_Z6secondPf"]
    assert (first.threads, first.registers, first.shared, first.stack, first.spills) == (128, 40, 2048, 8, 16)
    assert (second.threads, second.registers, second.shared, second.stack, second.spills) == (64, 24, 0, 0, 0)


def test_a_kernel_without_the_size_of_its_block_is_refused() -> None:
    with pytest.raises(SystemExit, match=r"first.* has no __launch_bounds__"):
        list(parse(LOG, entries(PTX.replace(".maxntid 128", ""))))


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "percent"),
    [
        (256, 32, 0, 100),
        (256, 128, 0, 25),  # 128 x 256 registers: two blocks of 8 warps of 64
        (256, 40, 0, 75),  # 40 x 32 is five units of 256: six blocks
        (64, 16, 40 * 1024, 15),  # 228 KiB hold five blocks of 41 KiB, of 2 warps
        (32, 16, 0, 50),  # no more than 32 blocks
    ],
)
def test_occupancy(threads: int, registers: int, shared: int, percent: int) -> None:
    none = Instructions(0, 0, 0, 0, 0)
    hopper = ARCHITECTURES[1]
    assert Resources(threads, registers, shared, 0, 0, none).occupancy(hopper) == percent


def test_widths_of_accesses_in_machine_code() -> None:
    code = """
        /*0240*/                   LDG.E.128 R4, desc[UR4][R2.64] ;
        /*0250*/              @!P0 LDG.E.128.CONSTANT R8, desc[UR4][R2.64+0x10] ;
        /*0260*/                   LDG.E R4, desc[UR4][R2.64] ;
        /*0270*/                   LDG.E.U16 R4, desc[UR4][R2.64] ;
        /*0280*/                   LDG.E.U16.CONSTANT R4, desc[UR4][R2.64] ;
        /*0290*/                   HMMA.16816.F32.BF16 R4, R8, R12, R4 ;
        /*02a0*/                   STS.128 [R2], R4 ;
        /*02b0*/                   STG.E.64 desc[UR4][R2.64], R4 ;
        /*02c0*/                   STG.E desc[UR4][R2.64], R4 ;
    """
    assert accesses({"first<float>": code}).splitlines()[2:] == [
        "| `first<float>` | 2 x 128, 1 x 32, 2 x 16 | 1 x 64, 1 x 32 | HMMA.16816.F32.BF16 |"
    ]
