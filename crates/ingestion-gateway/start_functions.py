"""Writes the names of the functions that a start of the gateway and the first requests run to
start-functions.txt.

    cargo build --release --package ingestion-gateway
    python3 crates/ingestion-gateway/start_functions.py target/release/ingestion-gateway

It starts the program in a new directory with a breakpoint at every function, and removes each one
when it is reached. The program forwards requests over both transports to another one, which refuses
them. Only for Linux on x86-64.
"""

import ctypes
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SECONDS = 8
REQUESTS = 8
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


def arguments(program, directory, settings):
    """Returns the command that starts the program with its files in a directory."""
    os.mkdir(directory)
    settings = [f"{listener}.endpoint=127.0.0.1:0" for listener in LISTENERS] + settings
    settings.append(f"storage.url=sqlite://{directory}/keys.db")
    settings.append(f"management.admin_token_file={directory}/token")
    command = [program, "--ready-file", f"{directory}/ready"]
    for setting in settings:
        command += ["--set", setting]
    return command


def listeners(directory):
    """Waits until the program is ready. Returns the addresses of its listeners."""
    ready = pathlib.Path(directory, "ready")
    while not ready.exists():
        time.sleep(0.01)
    return json.loads(ready.read_text())


def exchange(address, parts):
    """Writes each part, and reads an answer after it. Returns the last one."""
    host, port = address.split(":")
    with socket.create_connection((host, int(port)), 60) as connection:
        for part in parts:
            connection.sendall(part)
            answer = connection.recv(1 << 16)
    return answer


def http(path, header, body):
    head = f"POST {path} HTTP/1.1\r\nhost: g\r\n{header}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def frame(kind, flags, stream, payload):
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


def send(directory):
    """Sends requests to the program that is watched."""
    addresses = listeners(directory)
    token = pathlib.Path(directory, "token").read_text().strip()
    header = f"x-api-token: {token}\r\ncontent-type: application/json"
    create = http("/api/security/ingestion/api_keys", header, b'{"name":"start"}')
    created = exchange(addresses["management"], [create]).split(b"\r\n\r\n")[1]
    key = "StackState " + json.loads(created)["apiKey"]
    body = bytes(40000)
    header = f"authorization: {key}\r\ncontent-type: application/x-protobuf"
    exchange(addresses["otlp_http"], [http("/v1/traces", header, body)] * REQUESTS)
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":authority": "g",
        ":path": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "content-type": "application/grpc",
        "te": "trailers",
        "authorization": key,
    }
    # A literal field without indexing. All lengths are less than 127.
    text = lambda value: bytes([len(value)]) + value.encode()
    block = b"".join(b"\0" + text(name) + text(value) for name, value in fields.items())
    message = b"\0" + len(body).to_bytes(4, "big") + body
    calls = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"")]
    for stream in range(1, 2 * REQUESTS, 2):
        data = [message[at : at + 16384] for at in range(0, len(message), 16384)]
        flags = [0] * (len(data) - 1) + [1]
        parts = [frame(0, flag, stream, part) for flag, part in zip(flags, data)]
        calls.append(frame(1, 4, stream, block) + b"".join(parts))
    exchange(addresses["otlp_grpc"], calls)


def called(program, addresses, directory):
    """Returns the addresses of the functions that a start and the first requests call."""
    sink = subprocess.Popen(arguments(program, f"{directory}/sink", []))
    ready = listeners(f"{directory}/sink")
    settings = [
        f"upstream.{name}.endpoint=http://{ready[name]}" for name in ["otlp_grpc", "otlp_http"]
    ]
    directory = f"{directory}/watched"
    command = arguments(program, directory, settings + ["upstream.agent=debug"])
    process = os.fork()
    if process == 0:
        ptrace(TRACEME, 0)
        os.execv(program, command)
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
    sender = threading.Thread(target=send, args=[directory])
    sender.start()
    reached, end = set(), time.monotonic() + SECONDS
    registers = (ctypes.c_ulonglong * 27)()
    while time.monotonic() < end:
        thread, status = os.waitpid(-1, WALL | os.WNOHANG)
        if thread in (0, sink.pid):
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
    assert not sender.is_alive(), "the requests were not answered in time"
    os.kill(process, signal.SIGKILL)
    sink.terminate()
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
