"""The course: chapters as a pipeline, their figures and widgets, the report, the installation.

Begin with ``chain``. Nothing but the command line imports this wing.
"""
