"""The chapters as a pipeline, their pictures and widgets, the report page, and the check of an installation.

Begin with ``chain``. Nothing but the command line imports this wing.
"""
