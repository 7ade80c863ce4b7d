"""One experiment and many: a scene, both stages' settings and what is judged; grids of them, tables and claims.

Begin with ``study``. This wing may import everything but ``course``.
"""
