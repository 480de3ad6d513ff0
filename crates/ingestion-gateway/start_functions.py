"""Writes the names of the functions that a start of the gateway runs to start-functions.txt.

    cargo build --release --package ingestion-gateway
    python3 crates/ingestion-gateway/start_functions.py target/release/ingestion-gateway

It starts the program in a new directory with a breakpoint at every function, and removes each one
when it is reached. Only for Linux on x86-64.
"""

import ctypes
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

SECONDS = 6
LISTENERS = [
    "receivers.otlp.protocols.grpc",
    "receivers.otlp.protocols.http",
    "receivers.agent",
    "management",
    "authorize",
    "telemetry",
]
# What differs between two builds: the suffixes of LLVM and GCC, and the hashes of Rust.
HASHES = [
    (r"\.(llvm|constprop|part|isra|cold)\..*", "*"),
    (r"17h[0-9a-f]{16}E", "17h*E"),
    (r"Cs[0-9A-Za-z]{8,13}_", "Cs*_"),
]
TRACEME, CONT, GETREGS, SETREGS, SETOPTIONS = 0, 7, 12, 13, 0x4200
EXITKILL_AND_TRACECLONE = 0x100008
RIP = 16  # The index of the register in `user_regs_struct`, which has 27 of them.
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


def ptrace(request, process, data=0):
    data = ctypes.cast(data, ctypes.c_void_p)
    libc.ptrace(ctypes.c_long(request), process, ctypes.c_void_p(0), data)


def functions(program):
    """Returns the names of the functions of a program by their addresses."""
    names = {}
    for line in subprocess.check_output(["nm", program], text=True).splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in "tTwW":
            names.setdefault(int(fields[0], 16), []).append(fields[2])
    return names


def called(program, addresses, directory):
    """Returns the addresses of the functions that a start calls."""
    settings = [f"{listener}.endpoint=127.0.0.1:0" for listener in LISTENERS]
    settings.append(f"storage.url=sqlite://{directory}/keys.db")
    settings.append(f"management.admin_token_file={directory}/token")
    arguments = [program, "--ready-file", f"{directory}/ready"]
    for setting in settings:
        arguments += ["--set", setting]
    process = os.fork()
    if process == 0:
        ptrace(TRACEME, 0)
        os.execv(program, arguments)
    os.waitpid(process, 0)
    ptrace(SETOPTIONS, process, EXITKILL_AND_TRACECLONE)
    with open(f"/proc/{process}/maps") as maps:
        base = int(next(line for line in maps if program in line).split("-")[0], 16)
    memory = os.open(f"/proc/{process}/mem", os.O_RDWR)
    original = {}
    for address in addresses:
        original[address] = os.pread(memory, 1, base + address)
        os.pwrite(memory, b"\xcc", base + address)
    ptrace(CONT, process)
    reached, end = set(), time.monotonic() + SECONDS
    registers = (ctypes.c_ulonglong * 27)()
    while time.monotonic() < end:
        thread, status = os.waitpid(-1, WALL | os.WNOHANG)
        if thread == 0:
            time.sleep(0.0001)
            continue
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if thread == process:
                sys.exit("the program has ended")
            continue
        cause = os.WSTOPSIG(status)
        if cause == signal.SIGTRAP and status >> 16 == 0:
            ptrace(GETREGS, thread, registers)
            address = registers[RIP] - 1 - base
            if address in original:
                # Another thread may have reached the same breakpoint before.
                os.pwrite(memory, original[address], base + address)
                reached.add(address)
                registers[RIP] -= 1
                ptrace(SETREGS, thread, registers)
        ptrace(CONT, thread, 0 if cause in (signal.SIGTRAP, signal.SIGSTOP) else cause)
    os.kill(process, signal.SIGKILL)
    assert os.path.exists(f"{directory}/ready"), "the gateway was not ready in time"
    return reached


def main():
    program = os.path.realpath(sys.argv[1])
    names = functions(program)
    with tempfile.TemporaryDirectory() as directory:
        found = [name for address in called(program, names, directory) for name in names[address]]
    for pattern, replacement in HASHES:
        found = {re.sub(pattern, replacement, name) for name in found}
    target = pathlib.Path(__file__).with_name("start-functions.txt")
    target.write_text("".join(f"{name}\n" for name in sorted(found)))
    print(f"{len(found)} functions")


main()
