"""Every error a user can meet, in one tree; the command line maps each to an exit code.

    ServetwinError                 exit 2 unless it says otherwise
    ├── ConfigError                an option, preset or policy that cannot be used as given
    ├── WorkloadError              a workload or trace file, with the line
    ├── ProfileError               a profile that cannot be read, or is of another model
    ├── RecordError                a run record that is missing, incomplete or of another version
    ├── PolicyError                a policy raised, or answered nonsense: names policy, step and request
    ├── RequestError               one request the engine can never serve; the others go on
    ├── MeasurementError           the machine did not allow a sound measurement
    ├── BlockedError     (exit 3)  needs hardware or an extra that is absent here
    └── InvariantError   (exit 1)  servetwin is wrong: please report it

Messages say what, where and what to do, in one line.
"""


class ServetwinError(Exception):
    exit_code = 2


class ConfigError(ServetwinError):
    pass


class WorkloadError(ServetwinError):
    pass


class ProfileError(ServetwinError):
    pass


class RecordError(ServetwinError):
    pass


class PolicyError(ServetwinError):
    pass


class RequestError(ServetwinError):
    """request_id: whose, where the message alone does not have to say it to a program."""

    def __init__(self, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.request_id = request_id


class MeasurementError(ServetwinError):
    pass


class BlockedError(ServetwinError):
    exit_code = 3


class InvariantError(ServetwinError):
    exit_code = 1
