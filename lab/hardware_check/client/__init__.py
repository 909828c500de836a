"""A client of a server that is already running and speaks the OpenAI API (vLLM, SGLang, servetwin serve).

prompts.py    what is sent, and why no two runs send the same tokens
stream.py     the events of one answer, each with its instant
server.py     whether a server does what a run needs, before it is asked for more
sending.py    a workload, each request when it is due
record.py     the folder of such a run
"""
