"""What errors are told by."""

from __future__ import annotations

import pytest

from zifbench import errors
from zifbench.errors import lacks_memory

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (MemoryError(), True),
        (errors.OutOfMemoryError("m.pth needs more"), True),
        (torch.OutOfMemoryError("no words that tell it"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to …"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"), False),
        (OSError(28, "No space left on device"), False),
        (errors.ModelError("the device is gone"), False),
    ],
)
def test_lack_of_memory_is_told_from_other_failures(error, memory):
    assert lacks_memory(error) is memory
