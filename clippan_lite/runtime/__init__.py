"""Files, devices, processes, settings and notebook sources: what any program needs.

This wing stands on the ground: it imports nothing of the other wings.
"""
