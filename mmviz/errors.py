"""What can go wrong, by whose fault.

A refusal of the kernel is no error: it is a return value and an event. A caller's slip is a ValueError or a TypeError.
What remains stands here. Every text says what, the value got, the value allowed, and where to look.
"""
from __future__ import annotations


class MmvizError(Exception):
    """The root of what mmviz raises by itself."""


class KernelBug(MmvizError):
    """The kernel would BUG() here, report a bad page, or go on with broken lists and say so later or never."""


class ReplayError(MmvizError):
    """A recorded change does not fit the state that it is applied to."""


class CaptureError(MmvizError):
    """A captured file is not what it should be; the text begins with file and line."""
