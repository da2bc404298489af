"""`async def` works as well: one action, many things at once inside of it."""

import asyncio

from reconciler import TaskEnvironment

env = TaskEnvironment("probes")


async def open_port(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), timeout=2)
    except OSError:  # a timeout is one, too
        return False
    writer.close()
    return True


@env.task(retries=2)
async def open_ports(host: str, ports: list[int]) -> dict[str, bool]:
    """Look at all ports at the same time."""
    found = await asyncio.gather(*(open_port(host, port) for port in ports))
    return {str(port): is_open for port, is_open in zip(ports, found, strict=True)}


if __name__ == "__main__":
    run = open_ports.delay("127.0.0.1", [22, 80, 443, 6379, 8333])
    for port, is_open in run.result(timeout=60).items():
        print(port, "open" if is_open else "closed")
