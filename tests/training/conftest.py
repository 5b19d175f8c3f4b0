"""What JAX compiles for one run serves the next: every call of `fit` makes the same program anew."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

SETTINGS = {"jax_persistent_cache_min_compile_time_secs": 0, "jax_persistent_cache_min_entry_size_bytes": 0}


@pytest.fixture(scope="package", autouse=True)
def _programs_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    settings = {"jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")), **SETTINGS}
    before = {name: getattr(jax.config, name) for name in settings}
    for name, value in settings.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
