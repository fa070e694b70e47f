"""Aggregated tables → files a person reads. Reads the plan and the run folders and nothing else."""

from alexnet_sweep.report.markdown import Report, write_report

__all__ = ["Report", "write_report"]
