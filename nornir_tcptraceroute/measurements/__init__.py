"""What takes more than one trace: which to take, and in what order. How they are taken is the caller's business."""

from .blocking import BlockMeasurement, Measure, block_requests, measure_block

__all__ = ("BlockMeasurement", "Measure", "block_requests", "measure_block")
