"""What the sensor does: its bands and MTF, blur, decimation and interpolation in two conventions.

Begin with ``sensors``. This wing stands on the ground: it imports nothing of the other wings.
"""
