"""What takes more than one trace: which to take, and in what order."""

from .blocking import BlockMeasurement, Measure, block_requests, measure_block, measure_here

__all__ = ("BlockMeasurement", "Measure", "block_requests", "measure_block", "measure_here")
