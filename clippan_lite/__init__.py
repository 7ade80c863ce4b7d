"""clippan-lite: unsupervised pansharpening supervised by CLIP and a sentence.

``import clippan_lite as cl`` gives the whole method::

    pair = cl.example()  # or cl.read_pair("pan.tif", "ms.tif", "WV2")
    supervisor, _ = cl.adapt(pair)  # Stage I
    network, history = cl.train(pair, cl.recipe("quick"), supervisor)  # Stage II
    fused = cl.fuse(pair, network)
    print(cl.evaluate(fused, pair))

Names load when they are used, so this import takes no time. The root of the package is the method;
the README lists its wings.
"""

import os
from typing import TYPE_CHECKING

from clippan_lite.runtime import lazy, package

__version__ = package.VERSION

# Threads that wait should soon sleep instead of spinning. With two programs on two cores, spinning
# made training eleven times slower; with this limit it is less than three times slower, and 2 %
# slower alone (notebooks/LOG.md). GNU OpenMP reads the variable when torch loads, so it works for
# the command line and the kernels it starts. A value that is set already is left alone.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from clippan_lite.adaptation import adapt as adapt
    from clippan_lite.checkpoints import load_network as load_network
    from clippan_lite.checkpoints import save_network as save_network
    from clippan_lite.clip import load_clip as load_clip
    from clippan_lite.config import AdaptConfig as AdaptConfig
    from clippan_lite.config import TrainConfig as TrainConfig
    from clippan_lite.config import adapt_recipe as adapt_recipe
    from clippan_lite.config import recipe as recipe
    from clippan_lite.data import Pair as Pair
    from clippan_lite.data.example import example as example
    from clippan_lite.data.geotiff import read_pair as read_pair
    from clippan_lite.data.geotiff import read_scene as read_scene
    from clippan_lite.data.geotiff import write_fused as write_fused
    from clippan_lite.data.synthetic import make_scene as make_scene
    from clippan_lite.fusion import fuse as fuse
    from clippan_lite.large_scenes.fusing import fuse_scene as fuse_scene
    from clippan_lite.metrics.evaluation import evaluate as evaluate
    from clippan_lite.physics.back_projection import back_project as back_project
    from clippan_lite.training import train as train

#: Public name -> module that defines it.
_HOMES = {
    "AdaptConfig": "config",
    "Pair": "data",
    "TrainConfig": "config",
    "adapt": "adaptation",
    "adapt_recipe": "config",
    "back_project": "physics.back_projection",
    "evaluate": "metrics.evaluation",
    "example": "data.example",
    "fuse": "fusion",
    "fuse_scene": "large_scenes.fusing",
    "load_clip": "clip",
    "load_network": "checkpoints",
    "make_scene": "data.synthetic",
    "read_pair": "data.geotiff",
    "read_scene": "data.geotiff",
    "recipe": "config",
    "save_network": "checkpoints",
    "train": "training",
    "write_fused": "data.geotiff",
}

__getattr__, __dir__ = lazy.attach(
    __name__, {name: f"clippan_lite.{module}" for name, module in _HOMES.items()}
)
