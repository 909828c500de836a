"""The researcher's bench: the command line and what it ties together.

Read cli.py for the verbs, runs.py for how a run becomes a record, demo.py for the whole loop.
"""
