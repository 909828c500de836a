"""A researcher's own part, loaded from a file: `my_policy.py:MyPolicy`. It runs local code, by design."""

import sys
from hashlib import sha256
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from serving.errors import ConfigError


def load_class(name: str) -> type | None:
    """None for a name that is no FILE.py:CLASS. Errors: ConfigError naming file, class, and what went wrong."""
    place, colon, class_name = name.rpartition(":")
    if not colon or not place.endswith(".py"):
        return None
    path = Path(place)
    try:
        code = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{place}: cannot be read: {error.strerror or error}") from error
    module_name = f"servetwin_loaded_{sha256(code).hexdigest()[:16]}"
    module = sys.modules.get(module_name)
    if module is None:
        spec = spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise ConfigError(f"{place}: not a Python file")
        module = module_from_spec(spec)
        sys.modules[module_name] = module  # dataclasses look their module up
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise ConfigError(f"{place}: raised {type(error).__name__} when it was loaded: {error}") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        classes = [n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module_name]
        raise ConfigError(f"{place} has no class {class_name}; it has: {', '.join(classes) or 'none'}")
    return found


def sha256_of_files(*specs: str) -> dict[str, str]:
    """Of each FILE.py that one of these names: what a later replay needs unchanged."""
    files = [spec.partition("(")[0].rpartition(":")[0] for spec in specs]
    return {file: sha256(Path(file).read_bytes()).hexdigest() for file in files if file.endswith(".py")}
