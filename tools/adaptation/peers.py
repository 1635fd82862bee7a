"""What others have published for the tasks that are studied here, and how far it compares; none of it measured here."""

from __future__ import annotations

from collections.abc import Mapping

PUBLISHED: Mapping[str, Mapping[str, Mapping[str, tuple[float, ...]]]] = {
    "denoise": {
        "CBSD68": {
            "CBM3D": (33.52, 30.71, 27.38),
            "DnCNN (0.67 M, one model a sigma)": (33.90, 31.24, 27.95),
            "FFDNet (0.85 M, told the sigma)": (33.87, 31.21, 27.96),
            "DRUNet (32 M, told the sigma)": (34.30, 31.69, 28.51),
            "Restormer (26 M, one model a sigma)": (34.35, 31.75, 28.56),
        },
        "Kodak24": {
            "CBM3D": (34.28, 31.68, 28.46),
            "DnCNN (0.67 M, one model a sigma)": (34.60, 32.14, 28.95),
            "FFDNet (0.85 M, told the sigma)": (34.63, 32.13, 28.98),
            "DRUNet (32 M, told the sigma)": (35.31, 32.89, 29.86),
            "Restormer (26 M, one model a sigma)": (35.49, 33.05, 30.01),
        },
    },
    **{
        f"super-resolve-x{scale}": {
            "Set5": {"SRCNN (57 K)": (small,), "VDSR (0.67 M)": (deep,), "EDSR (43 M)": (large,)},
        }
        for scale, small, deep, large in ((2, 36.66, 37.53, 38.11), (3, 32.75, 33.66, 34.65), (4, 30.48, 31.35, 32.46))
    },
    "dejpeg": {
        "classic5": {
            "AR-CNN (0.11 M, one model a quality)": (29.03, 31.15, 32.51, 33.32),
            "DnCNN-3 (0.67 M)": (29.40, 31.63, 32.91, 33.77),
            "SwinIR (11.5 M, one model a quality)": (30.27, 32.52, 33.73, 34.52),
        },
    },
}
"""Task -> set -> method -> PSNR in dB under each condition of the task's protocol."""

_ENLARGED = (
    "In luma, without a border of as many pixels as the scale; the input is the bicubic enlargement. SRCNN (Dong et "
    "al., 2014) and VDSR are as in Kim, Lee, Lee, *Accurate Image Super-Resolution Using Very Deep Convolutional "
    "Networks*, 2016; EDSR as in Lim et al., 2017, which learned from 800 photos of 2K, ours from 590 small ones."
)
NOTES = {
    "denoise": (
        "Published figures are for the same pictures and kind of noise, but other draws of it, and those networks "
        "learned for days on GPUs. CBM3D, DnCNN and FFDNet are as in Zhang, Zuo, Zhang, *FFDNet*, 2018; DRUNet as in "
        "Zhang et al., *Plug-and-Play Image Restoration with Deep Denoiser Prior*, 2021; Restormer as MMagic measured "
        "it."
    ),
    "derain": (
        "In luma. What is published for Rain100L (Restormer trained on it, in RGB: 36.74) is not comparable: those "
        "networks learn from 200 other pairs and are tested on all 100 pictures, of which ours learn from 35 and are "
        "tested on the other 65. What compares in kind is the gap: where IPT (119 M) is tuned for Rain100L, Guo et "
        "al., *AdaptIR*, 2024, have 42.14 dB for full fine-tuning, 41.93 for LoRA and 41.95 for bottleneck adapters."
    ),
    "low-light": (
        "What is published for LOL eval15 is for the same 15 pictures, but for networks that learned from all 485 "
        "pairs; ours learn from 60."
    ),
    "hybrid": (
        "The conditions are our own. What compares in kind is the gap where two faults meet: for enlargement x4 with "
        "noise of sigma 30 on Set5, *AdaptIR* has 27.24 dB for full fine-tuning of IPT, 25.19 for LoRA and 25.60 for "
        "bottleneck adapters."
    ),
    "real-denoise": (
        "What is published for CC15 is for the same crops, but for networks that learned from real noise; ours learn "
        "from synthetic noise."
    ),
    "dehaze": (
        "The split is our own: 20 pictures of SOTS indoor, learned from 42 of other rooms. What is published learns "
        "from 13,990 pictures of ITS and is tested on all 500."
    ),
    "super-resolve-x2": _ENLARGED,
    "super-resolve-x3": _ENLARGED,
    "super-resolve-x4": _ENLARGED,
    "dejpeg": (
        "classic5 is gray, so PSNR over RGB is that of its luma. Published figures are as in Liang et al., *SwinIR*, "
        "2021."
    ),
}
"""Task -> what a reader must know before comparing."""
