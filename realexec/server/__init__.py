"""The OpenAI-compatible server, over a real engine or a paced one. Read service.py, routes.py, event_stream.py first.

    socket -> connection.py -> access.py -> routes.py -> understood.py -> service.py -> engine's thread
    socket <- event_stream.py <- answers.py <- service.py <- consumer's thread <- engine.delivered

asked.py says what a request may hold, body.py reads it, limits.py says how much of everything is taken, errors.py
what a refusal looks like. output_text.py makes text of tokens and finds stop strings; metrics.py counts; openapi.py
describes; app.py puts the parts together and run.py serves until a signal.

No torch here: what draws tokens is given to the service from outside.
"""
