"""What a run leaves behind: run record, profile and replay log, as files every later tool reads.

Read schema.py for the columns, run.py for the folder, profile.py for the calibrated cost model.
"""
