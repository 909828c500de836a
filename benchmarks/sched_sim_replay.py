"""One simulation by sched-sim, timed in this process; called by simulators.py with sched-sim's own Python."""

import json
import sys
from time import perf_counter, process_time

from sched_sim.core.event_engine import Simulator
from sched_sim.hardware.presets import get_hardware_profile
from sched_sim.schedulers.factory import create_scheduler
from sched_sim.workloads.trace_loader import load_trace_file

hardware = get_hardware_profile("a100")
simulator = Simulator(hardware, create_scheduler("chunked", hardware, token_budget=int(sys.argv[2])))
simulator.submit_workload(load_trace_file(sys.argv[1]))
start_up, begin = process_time(), perf_counter()
simulator.run()
seconds = perf_counter() - begin
print(json.dumps({"start_up_s": start_up, "seconds": seconds, "simulated_s": simulator.current_time}))
