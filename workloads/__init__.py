"""Requests: drawn from published marginals, or read from traces, and the truth about their outputs.

Read workload.py first (what a request is here), then truth.py (who knows how long an output is) and
synthesize.py (how a workload is drawn).
"""
