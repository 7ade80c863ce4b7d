import os
from pathlib import Path

# Before torch: as clippan_lite sets it, see there. Tests run in several processes (pytest-xdist),
# which share the cores with what they start.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ["OMP_NUM_THREADS"] = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"

import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


LONGEST = {"test_notebooks_run.py": -3, "test_notebooks_nbval.py": -2, "test_browser.py": -1}


def pytest_collection_modifyitems(items):
    """A file stays in one process, so the longest begin first."""
    items.sort(key=lambda item: LONGEST.get(item.path.name, 0))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real image pairs, see README; without it, tests that need it are skipped aloud."""
    folder = os.environ.get("CLIPPAN_TEST_DATA")
    if not folder:
        pytest.skip("real image pairs not found: set CLIPPAN_TEST_DATA to their folder")
    assert Path(folder).is_dir(), f"CLIPPAN_TEST_DATA names {folder}, which does not exist"
    return Path(folder)


@pytest.fixture(scope="session")
def random_clip():
    """The bundled architecture with random weights: gradients and shapes need no training."""
    from clippan_lite.clip import load_clip

    torch.manual_seed(0)
    return load_clip("bundled", random_weights=True)


@pytest.fixture(scope="session")
def small_pair():
    """A synthetic WorldView-2 pair, 256 PAN pixels."""
    from clippan_lite.data.synthetic import make_scene

    return make_scene(seed=3, size=256, sensor="WV2")


@pytest.fixture
def supervisor(random_clip, small_pair):
    """A fresh, trainable supervisor around the random CLIP."""
    from clippan_lite import prompts
    from clippan_lite.adapter import Supervisor

    torch.manual_seed(1)
    rgb = small_pair.sensor.rgb
    supervisor = Supervisor(random_clip, prompts.get("wald"), small_pair.bands, rgb)
    supervisor.calibrate(small_pair)
    return supervisor


@pytest.fixture(scope="session")
def adapted(random_clip, small_pair):
    """What two steps of Stage I make of the random CLIP, frozen as for Stage II."""
    from clippan_lite import adaptation, prompts
    from clippan_lite.config import AdaptConfig

    config = AdaptConfig(steps=2, batch=2)
    wald = prompts.get("wald")
    return adaptation.adapt(small_pair, random_clip, wald, config, progress=False)[0]


@pytest.fixture(scope="session")
def batch_of():
    """Makes a batch of Stage II: random crops of a pair."""
    from clippan_lite import losses
    from clippan_lite.data import Patches

    def cut(pair, size=64, count=2, seed=0, extra=None, **more):
        patches = Patches(pair, size, extra=extra)
        crops = patches.sample(count, torch.Generator().manual_seed(seed))
        images = {name: crops[name] for name in ("ms", "pan", "exp", *(extra or {}))}
        kind = {"sensor": pair.sensor, "convention": pair.convention}
        return losses.Batch(**images, **kind, places=crops["place"], **more)

    return cut


@pytest.fixture
def registry():
    """The terms of Stage II; those that a test adds or replaces are put back."""
    from clippan_lite import losses

    before = dict(losses.TERMS)
    yield losses.TERMS
    losses.TERMS.clear()
    losses.TERMS.update(before)
