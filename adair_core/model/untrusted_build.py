"""Building modules from options that come from a file."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from adair_core.errors import UsageError, WeightsError


@contextmanager
def building_for(tensors: Mapping[str, Tensor], *, where: str) -> Iterator[None]:
    """Guard the building of modules that will take the weights of a file.

    Inside, torch's global generator may be used; its state is put back. A module larger than the weights is refused
    before its memory is touched: a file of a few bytes may ask for a network of any size.

    Args:
        tensors: the file's weights.
        where: the file, for messages.

    Raises:
        WeightsError: whatever was raised inside, because options that cannot be built do not belong to the weights.
    """
    # A parameter may be registered twice, and small modules may have some that are no weights.
    numbers = 2 * sum(tensor.numel() for tensor in tensors.values()) + 2**20
    count = 2 * len(tensors) + 2**10
    thread = threading.get_ident()

    def watch(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal numbers, count
        if parameter is None or threading.get_ident() != thread:
            return
        numbers -= parameter.numel()
        count -= 1
        if min(numbers, count) < 0:
            raise WeightsError(f"{where}: its options ask for more weights than it holds")

    handle = register_module_parameter_registration_hook(watch)
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    except WeightsError:
        raise
    except UsageError as error:
        raise WeightsError(f"{where}: {error}") from error
    # Building is a plugin's code: any exception may come out of it.
    except Exception as error:
        raise WeightsError(f"{where}: its options cannot be built: {type(error).__name__}: {error}") from error
    finally:
        handle.remove()
