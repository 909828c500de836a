"""Several replicas behind a router. Read plan.py (what happens around the engines), then fleet.py (where each request
is) and replicas.py (which replicas run).
"""
