#!/usr/bin/env python3
"""What the gateway costs: the docker CLI through it against the engine itself, bulk through exec, idle streams.

Usage, as root, with the release binary, docker.io and a static busybox:
    benches/gateway.py --docker unix:/var/run/docker.sock --image busybox [--streams 10000]
The image must be on the engine already. Everything is measured in turn, direct and through; medians are shown.
"""
import argparse, os, resource, signal, socket, statistics, subprocess, sys, tempfile, time

p = argparse.ArgumentParser()
p.add_argument("--docker", default="unix:/var/run/docker.sock")
p.add_argument("--image", default="busybox")
p.add_argument("--chitin", default="target/x86_64-unknown-linux-gnu/release/chitin")
p.add_argument("--streams", type=int, default=10000)
p.add_argument("--rounds", type=int, default=60)
a = p.parse_args()

direct = a.docker.replace("unix:", "unix://") if "://" not in a.docker else a.docker
tmp = tempfile.mkdtemp(prefix="chitin-gateway-bench-")
sock = f"{tmp}/bench.sock"
gate = subprocess.Popen([a.chitin, "gateway", "--listen", f"unix:{sock}", "--docker", a.docker, "--local-image", "*",
                         "--state", tmp, "--audit", f"{tmp}/audit", "--max-connections", str(a.streams + 1000)],
                        stderr=open(f"{tmp}/log", "w"))
while not os.path.exists(sock):
    if gate.poll() is not None:
        sys.exit(open(f"{tmp}/log").read())
    time.sleep(0.01)
through = f"unix://{sock}"


def docker(host, *args, **more):
    env = dict(os.environ, DOCKER_HOST=host, DOCKER_CONFIG=tmp)
    return subprocess.run(["docker", *args], env=env, check=True, stdout=more.get("out", subprocess.DEVNULL))


def timed(host, *args):
    start = time.perf_counter()
    docker(host, *args)
    return time.perf_counter() - start


def rss():
    with open(f"/proc/{gate.pid}/status") as f:
        return next(int(l.split()[1]) for l in f if l.startswith("VmRSS")) / 1024


try:
    names = {direct: f"bench-{os.getpid()}", through: "bench"}
    for host, name in names.items():
        docker(host, "run", "-d", "--name", name, a.image, "sleep", "100000")
    for command in (["version"], ["ps"]):
        took = {direct: [], through: []}
        for _ in range(a.rounds):
            for host in took:
                took[host].append(timed(host, *command))
        d, t = (statistics.median(took[h]) * 1000 for h in (direct, through))
        print(f"docker {command[0]}: direct {d:.1f} ms, through {t:.1f} ms, {t / d:.2f}x")
    rate = {direct: [], through: []}
    size = 400 << 20
    for _ in range(5):
        for host in rate:
            took = timed(host, "exec", names[host], "sh", "-c", f"head -c {size} /dev/zero")
            rate[host].append(size / took / (1 << 20))
    d, t = (statistics.median(rate[h]) for h in (direct, through))
    print(f"bulk through exec: direct {d:.0f} MiB/s, through {t:.0f} MiB/s, {t / d:.2f}x")
    resource.setrlimit(resource.RLIMIT_NOFILE, (a.streams + 100, max(a.streams + 100, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    before, held = rss(), []
    for n in range(a.streams):
        s = socket.socket(socket.AF_UNIX)
        s.connect(sock)
        s.sendall(b"POST /containers/bench/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
                  b"Content-Length: 0\r\n\r\n")
        head = s.recv(4096)
        if b" 101 " not in head:
            sys.exit(f"stream {n}: {head!r}")
        held.append(s)
    print(f"{len(held)} idle attached streams: {rss():.0f} MiB resident in the gateway ({before:.0f} before)")
    for s in held:
        s.close()
finally:
    gate.send_signal(signal.SIGTERM)
    gate.wait()
    docker(direct, "rm", "-f", f"bench-{os.getpid()}")
