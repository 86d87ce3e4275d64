"""Ports of the embedded servers: remembered, so that presigned URLs and tools still find them after a restart."""

import json
from pathlib import Path

from deploy.embedded.processes import free_port, port_is_free


def remembered_ports(data_dir: Path, names: tuple[str, ...]) -> dict[str, int]:
    """Return a port for each name: the one of last time while it is free, else a new one; and remember them."""
    path = data_dir / "ports.json"
    before = _read(path)
    ports: dict[str, int] = {}
    for name in names:
        port = before.get(name)
        while port is None or port in ports.values() or not port_is_free(port):
            port = free_port()
        ports[name] = port
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps({**before, **ports}, indent=1) + "\n")
    draft.replace(path)
    return ports


def _read(path: Path) -> dict[str, int]:
    """Return what is remembered; a file that makes no sense is as good as none."""
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {name: port for name, port in content.items() if type(port) is int and 0 < port < 65_536}
