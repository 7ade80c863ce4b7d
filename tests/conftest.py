import os
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch: as clippan_lite sets it, see there

import pytest
import torch

torch.set_num_threads(min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real image pairs, see README; tests that need it are skipped out loud without it."""
    folder = os.environ.get("CLIPPAN_TEST_DATA")
    if not folder:
        pytest.skip("real image pairs not found: set CLIPPAN_TEST_DATA to their folder")
    assert Path(folder).is_dir(), f"CLIPPAN_TEST_DATA names {folder}, which does not exist"
    return Path(folder)


@pytest.fixture(scope="session")
def random_clip():
    """The bundled architecture with random weights: gradients and shapes do not depend on training."""
    from clippan_lite.clip import load_clip

    torch.manual_seed(0)
    return load_clip("bundled", random_weights=True)


@pytest.fixture(scope="session")
def small_pair():
    """A synthetic WorldView-2 pair, 256 PAN pixels."""
    from clippan_lite.data.synthetic import make_scene

    return make_scene(seed=3, size=256, sensor="WV2")
