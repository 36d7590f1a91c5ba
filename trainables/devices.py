"""What accelerators can do at best: peak arithmetic and rated power, from their makers' data sheets. Pure data.

Peaks are dense (no sparsity) in TFLOP/s. Sources: NVIDIA's data sheets and architecture whitepapers (Pascal to
Blackwell; GeForce: 16-bit tensor throughput with 32-bit accumulation, which is what training uses), AMD's Instinct data
sheets, Apple's announcements (M1 and M2; Apple gives no figure for later ones). A device that is not here has no
known peak, and so no model FLOPs utilisation.
"""

import re
from dataclasses import dataclass
from typing import Literal

Precision = Literal["bf16", "fp16", "tf32", "fp32"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataSheet:
    """One kind of accelerator."""

    tflops: dict[Precision, float]
    """Dense peak by precision of the factors."""
    watts: float
    """Rated board power."""


def _sheet(watts: float, half: float, tf32: float | None, fp32: float, *, has_bf16: bool = True) -> DataSheet:
    tflops: dict[Precision, float] = {"fp16": half, "fp32": fp32}
    if has_bf16:
        tflops["bf16"] = half
    if tf32 is not None:
        tflops["tf32"] = tf32
    return DataSheet(tflops=tflops, watts=watts)


# Searched in order: what is more specific stands first.
_SHEETS: tuple[tuple[str, DataSheet], ...] = (
    # NVIDIA, data centre
    (r"GB200", _sheet(1200, 2500, 1250, 80)),
    (r"B200", _sheet(1000, 2250, 1125, 75)),
    (r"B100", _sheet(700, 1750, 875, 60)),
    (r"H200 NVL", _sheet(600, 835.5, 417.5, 60)),
    (r"(H100|H800) PCIe", _sheet(350, 756, 378, 51)),
    (r"H100 NVL", _sheet(400, 835, 417.5, 60)),
    (r"GH200", _sheet(1000, 989.4, 494.7, 66.9)),
    (r"H(100|200|800)\b", _sheet(700, 989.4, 494.7, 66.9)),
    (r"H20\b", _sheet(400, 148, 74, 44)),
    (r"A[18]00.*PCIE?.*40GB", _sheet(250, 312, 156, 19.5)),
    (r"A[18]00.*PCIE?", _sheet(300, 312, 156, 19.5)),
    (r"A[18]00\b", _sheet(400, 312, 156, 19.5)),
    (r"A40\b", _sheet(300, 149.7, 74.8, 37.4)),
    (r"A30\b", _sheet(165, 165, 82, 10.3)),
    (r"A10G\b", _sheet(300, 70, 35, 31.5)),
    (r"A10\b", _sheet(150, 125, 62.5, 31.2)),
    (r"L40S\b", _sheet(350, 362.05, 183, 91.6)),
    (r"L40\b", _sheet(300, 181.05, 90.5, 90.5)),
    (r"L4\b", _sheet(72, 121, 60, 30.3)),
    (r"V100.*PCIE", _sheet(250, 112, None, 14, has_bf16=False)),
    (r"V100\b", _sheet(300, 125, None, 15.7, has_bf16=False)),
    (r"\bT4\b", _sheet(70, 65, None, 8.1, has_bf16=False)),
    (r"P100.*PCIE", _sheet(250, 18.7, None, 9.3, has_bf16=False)),
    (r"P100\b", _sheet(300, 21.2, None, 10.6, has_bf16=False)),
    # NVIDIA, workstation
    (r"RTX 6000 Ada", _sheet(300, 364.25, 182.1, 91.1)),
    (r"RTX A6000", _sheet(300, 154.8, 77.4, 38.7)),
    (r"RTX 5090\b(?! Laptop| D)", _sheet(575, 209.5, 104.8, 104.8)),
    (r"RTX 4090\b(?! Laptop| D)", _sheet(450, 165.2, 82.6, 82.6)),
    (r"RTX 4080\b(?! Laptop| SUPER)", _sheet(320, 97.5, 48.7, 48.7)),
    (r"RTX 3090 Ti", _sheet(450, 80, 40, 40)),
    (r"RTX 3090\b", _sheet(350, 71, 35.6, 35.6)),
    (r"RTX 2080 Ti", _sheet(250, 53.8, None, 13.4, has_bf16=False)),
    # AMD; an MI250 shows as two devices, each half a board
    (r"MI355X", _sheet(1400, 2516.6, None, 157.3)),
    (r"MI350X", _sheet(1000, 2306.9, None, 144.2)),
    (r"MI325X", _sheet(1000, 1307.4, 653.7, 163.4)),
    (r"MI300X", _sheet(750, 1307.4, 653.7, 163.4)),
    (r"MI250X", _sheet(280, 191.5, None, 23.95)),
    (r"MI250\b", _sheet(280, 181.05, None, 22.65)),
    (r"MI210\b", _sheet(300, 181, None, 22.6)),
    # Apple: 16 and 32 bits are equally fast
    (r"Apple M1 Ultra", _sheet(120, 21, None, 21)),
    (r"Apple M1 Max", _sheet(60, 10.4, None, 10.4)),
    (r"Apple M1 Pro", _sheet(30, 5.2, None, 5.2)),
    (r"Apple M1$", _sheet(15, 2.6, None, 2.6)),
    (r"Apple M2 Ultra", _sheet(120, 27.2, None, 27.2)),
    (r"Apple M2 Max", _sheet(60, 13.6, None, 13.6)),
    (r"Apple M2 Pro", _sheet(30, 6.8, None, 6.8)),
    (r"Apple M2$", _sheet(15, 3.6, None, 3.6)),
)


def data_sheet(device: str) -> DataSheet | None:
    """The sheet of a device by the name that its driver gives. None for an unknown one, and for a slice of one."""
    if re.search(r"\bMIG\b", device):
        return None
    return next((sheet for pattern, sheet in _SHEETS if re.search(pattern, device, re.IGNORECASE)), None)


def peak_flops(device: str, precision: Precision) -> float | None:
    """Floating-point operations a second that `device` can do at best, where it is known."""
    sheet = data_sheet(device)
    teraflops = sheet.tflops.get(precision) if sheet else None
    return None if teraflops is None else teraflops * 1e12
