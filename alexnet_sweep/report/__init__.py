"""Findings → files a person reads. Reads the plan and the run folders and nothing else; imports no torch."""
