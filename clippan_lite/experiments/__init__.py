"""One experiment and many: grids of experiments, their tables, and the paper's claims.

Begin with :class:`Experiment`: a scene, both stages' settings, and how the result is judged.
:class:`Run` keeps its products, :func:`begin` is the set-up of a chapter, and `measurement.measure`
gives its figures.

This wing may import every other one but ``course`` and ``pretraining``.
"""

from clippan_lite.experiments.experiment import Experiment
from clippan_lite.experiments.run import Run, begin

__all__ = ["Experiment", "Run", "begin"]
