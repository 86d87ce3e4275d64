"""WaveSpeed as Darkroom sees it: the calls, what every answer means, and the check of its callbacks.

What an answer means for a job is decided in one place, `mapping.py`; the rest carries bytes there.
"""
