"""Benchmark tasks: from a potential and frames to measurements, results and reports."""
