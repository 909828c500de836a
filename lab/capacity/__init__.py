"""The highest rate at which a service level holds: per policy and per hardware, with confidence."""
