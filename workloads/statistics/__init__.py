"""What describes a workload: lengths, arrivals, shared prefixes, turns. A file a question; describe.py asks all."""
