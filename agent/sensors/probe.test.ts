import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { addHealth } from "@blueflame/shared/rpc/health.ts";
import * as grpc from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ProbeSpec } from "../supervise/spec.ts";
import { ask, runProbe } from "./probe.driver.ts";

let folder: string;
const ends: (() => unknown)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "probe-"));
});
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  rmSync(folder, { recursive: true, force: true });
});

const never = new AbortController().signal;
const spec = (asked: ProbeSpec["ask"], timeoutMs = 2000): ProbeSpec => ({
  name: "p",
  use: "liveness",
  everyMs: timeoutMs,
  timeoutMs,
  failures: 1,
  ask: asked,
});
const exec = (script: string, timeoutMs?: number) =>
  spec({ by: "exec", command: ["/bin/sh", "-c", script], cwd: folder }, timeoutMs);

async function listening(server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  ends.push(() => server.close());
  const address = server.address();
  return typeof address === "object" && address ? address.port : 0;
}

/** True while the process is there and no zombie. */
function lives(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 10));
}

test("what a command printed stood in records, alerts and at the hub: it passes with exit code 0, and fails with the known words of its last line", async () => {
  await expect(runProbe(exec("echo all well, the lease is hunter2secret"), never)).resolves.toMatchObject({
    ok: true,
    because: "exit code 0",
  });
  await expect(runProbe(exec("echo hello; echo no disk for hunter2secret >&2; exit 3"), never)).resolves.toMatchObject({
    ok: false,
    because: "exit code 3: no disk for …",
  });
  await expect(runProbe(exec("kill -9 $$"), never)).resolves.toMatchObject({ ok: false, because: "ended by SIGKILL" });
});

test("a command that is not there fails and does not throw; its words are not repeated", async () => {
  const asked = spec({ by: "exec", command: ["/nonexistent/probe -a canary"], cwd: folder });
  const { ok, because } = await runProbe(asked, never);
  expect([ok, because]).toEqual([false, "cannot be started: ENOENT"]);
});

test("a command that hangs is killed at the deadline with its whole group, children too", async () => {
  const pids = join(folder, "pids");
  const { verdict, gone } = ask(exec(`trap '' TERM; sleep 61 & echo $$ $! > ${pids}; wait`, 300), never);
  await expect(verdict).resolves.toMatchObject({ ok: false, because: "no answer within 300ms" });
  await gone;
  const [shell = 0, child = 0] = readFileSync(pids, "utf8").trim().split(" ").map(Number);
  await until(() => !lives(shell) && !lives(child));
});

test("what a command left behind is killed when it ends, and does not delay the answer", async () => {
  const pidFile = join(folder, "pid");
  const { ok } = await runProbe(exec(`sleep 62 & echo $! > ${pidFile}`, 20_000), never);
  expect(ok).toBe(true);
  const pid = Number(readFileSync(pidFile, "utf8"));
  await until(() => !lives(pid));
});

test("of a command that prints without end the last part only is looked at", async () => {
  const { because } = await runProbe(
    exec("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo disk full; exit 3", 10_000),
    never,
  );
  expect(because).toBe("exit code 3: disk full");
  // Where a line is cut, nobody knows what stood before.
  const cut = await runProbe(exec("head -c 2000 /dev/zero | tr '\\0' ' '; echo disk full; exit 3"), never);
  expect(cut.because).toBe("exit code 3");
});

test("an agent that was away itself does not take an answer that lies there for a missing one", async () => {
  const asked = runProbe(exec("exit 0", 150), never);
  const until = performance.now() + 600;
  while (performance.now() < until); // Away: nothing of the agent runs.
  await expect(asked).resolves.toMatchObject({ ok: true });
  const silent = runProbe(exec("sleep 64", 150), never);
  const again = performance.now() + 600;
  while (performance.now() < again);
  await expect(silent).resolves.toMatchObject({ ok: false, because: "no answer within 150ms" });
});

test("an aborted question is settled at once and leaves nothing running", async () => {
  const abort = new AbortController();
  const started = join(folder, "started");
  const { verdict, gone } = ask(exec(`echo $$ > ${started}; exec sleep 63`, 60_000), abort.signal);
  await until(() => existsSync(started) && readFileSync(started, "utf8").endsWith("\n"));
  abort.abort();
  await expect(verdict).resolves.toMatchObject({ ok: false, because: "cancelled" });
  await gone;
  expect(lives(Number(readFileSync(started, "utf8")))).toBe(false);
  await expect(runProbe(exec("exit 0"), abort.signal)).resolves.toMatchObject({ ok: false, because: "cancelled" });
});

test("a TCP probe sends, and passes when the answer has come, also in pieces", async () => {
  const port = await listening(
    createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes) => {
        if (bytes.toString() === "PING\r\n") {
          socket.write("+PO");
          setTimeout(() => socket.write("NG\r\n"), 20);
        } else socket.end("-ERR secret\r\n");
      });
    }),
  );
  const tcp = { by: "tcp" as const, host: "127.0.0.1", port };
  const passes = (more: object) => runProbe(spec({ ...tcp, ...more }), never);
  await expect(passes({})).resolves.toMatchObject({ ok: true, because: "connected" });
  await expect(passes({ send: "PING\r\n", expect: "+PONG" })).resolves.toMatchObject({ ok: true });
  await expect(passes({ send: "x", expect: "+PONG" })).resolves.toMatchObject({
    ok: false,
    because: 'closed after 13 bytes, without "+PONG"',
  });
});

test("a TCP probe of a port where nobody listens fails at once", async () => {
  const server = createServer();
  const port = await listening(server);
  server.close();
  const { ok, because } = await runProbe(spec({ by: "tcp", host: "127.0.0.1", port }), never);
  expect([ok, because]).toEqual([false, expect.stringContaining("ECONNREFUSED")]);
});

test("PHX-2 a stopped server still accepts connections, and a TCP probe that expects an answer finds it frozen", async () => {
  const child: ChildProcess = spawn(process.execPath, [
    "-e",
    `const s = require("node:net").createServer((c) => c.on("data", () => c.write("+PONG\\r\\n")));
     s.listen(0, "127.0.0.1", () => console.log(s.address().port));`,
  ]);
  ends.push(() => child.kill("SIGKILL"));
  const [line] = child.stdout ? await once(child.stdout, "data") : [];
  const tcp = { by: "tcp" as const, host: "127.0.0.1", port: Number(String(line)) };
  const asks = spec({ ...tcp, send: "PING\r\n", expect: "+PONG" }, 1000);
  await expect(runProbe(asks, never)).resolves.toMatchObject({ ok: true });
  child.kill("SIGSTOP");
  await until(() => /\) T/.test(readFileSync(`/proc/${child.pid}/stat`, "latin1")));
  await expect(runProbe(spec(tcp, 300), never)).resolves.toMatchObject({ ok: true });
  await expect(runProbe({ ...asks, timeoutMs: 300 }, never)).resolves.toMatchObject({
    ok: false,
    because: "no answer within 300ms",
  });
  child.kill("SIGCONT");
  await expect(runProbe(asks, never)).resolves.toMatchObject({ ok: true });
});

test("an HTTP probe passes from 200 to 399, and fails otherwise, at silence and at nonsense", async () => {
  const port = await listening(
    createHttp((request, response) => {
      const status = Number(request.url?.slice(1));
      if (status) response.writeHead(status, status === 301 ? { location: "/500" } : {}).end("x".repeat(100_000));
    }),
  );
  const probe = (path: string, timeoutMs = 2000) =>
    runProbe(spec({ by: "http", url: `http://127.0.0.1:${port}/${path}` }, timeoutMs), never);
  expect(await probe("200")).toMatchObject({ ok: true, because: "HTTP 200" });
  expect(await probe("301")).toMatchObject({ ok: true, because: "HTTP 301" });
  expect(await probe("404")).toMatchObject({ ok: false, because: "HTTP 404" });
  expect(await probe("503")).toMatchObject({ ok: false, because: "HTTP 503" });
  expect(await probe("silent", 100)).toMatchObject({ ok: false, because: "no answer within 100ms" });
  const nonsense = await listening(createServer((socket) => socket.on("error", () => {}).end("who is there?\r\n\r\n")));
  expect(await runProbe(spec({ by: "http", url: `http://127.0.0.1:${nonsense}/` }), never)).toMatchObject({
    ok: false,
  });
  expect(await runProbe(spec({ by: "http", url: "http://[/" }), never)).toMatchObject({ ok: false });
});

test("a gRPC probe passes while the service is SERVING, over TCP and over a unix socket", async () => {
  const server = new grpc.Server();
  ends.push(() => server.forceShutdown());
  const board = addHealth(server);
  const bind = (address: string) =>
    new Promise<number>((resolve, reject) =>
      server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      ),
    );
  const addresses = [`unix:${join(folder, "s.sock")}`, `127.0.0.1:${await bind("127.0.0.1:0")}`];
  await bind(addresses[0] ?? "");
  board.setServing("feed", false);
  for (const address of addresses) {
    const probe = (service: string) => runProbe(spec({ by: "grpc", address, service }), never);
    expect(await probe("")).toMatchObject({ ok: true, because: "SERVING" });
    expect(await probe("feed")).toMatchObject({ ok: false, because: "NOT_SERVING" });
    expect(await probe("none")).toMatchObject({ ok: false, because: "NOT_FOUND" });
  }
  server.forceShutdown();
  const gone = spec({ by: "grpc", address: addresses[1] ?? "", service: "" });
  expect(await runProbe(gone, never)).toMatchObject({ ok: false });
});

test("what a gRPC peer says beside its status stood in records, alerts and at the hub: its code is told", async () => {
  const server = new grpc.Server();
  ends.push(() => server.forceShutdown());
  const asIs = (bytes: Buffer) => bytes;
  const check = {
    ...{ path: "/grpc.health.v1.Health/Check", requestStream: false, responseStream: false },
    ...{ requestSerialize: asIs, requestDeserialize: asIs, responseSerialize: asIs, responseDeserialize: asIs },
  };
  const answer = (_call: unknown, say: grpc.sendUnaryData<Buffer>) =>
    say({ code: grpc.status.INTERNAL, details: "hunter2secret" });
  server.addService({ check }, { check: answer });
  const address = `unix:${join(folder, "s.sock")}`;
  await new Promise((resolve) => server.bindAsync(address, grpc.ServerCredentials.createInsecure(), resolve));
  const asked = spec({ by: "grpc", address, service: "" });
  expect(await runProbe(asked, never)).toMatchObject({ ok: false, because: "INTERNAL" });
});

test("two hundred commands in a row leave no zombie and no open file", async () => {
  const open = () =>
    execFileSync("ls", [`/proc/${process.pid}/fd`])
      .toString()
      .split("\n").length;
  await runProbe(exec("exit 0"), never);
  const before = open();
  for (let n = 0; n < 200; n++) await runProbe(exec("exit 0"), never);
  // Pipes of the last ones close a moment after their answer; two hundred leaked ones would never.
  await expect.poll(open, { timeout: 10_000 }).toBeLessThanOrEqual(before + 2);
});

test("an agent without a free descriptor says that the command cannot be started, and lives on", () => {
  const program = `
    const { runCommand } = await import(process.argv[1]);
    const { openSync } = await import("node:fs");
    try { for (;;) openSync("/dev/null"); } catch {}
    const stop = new AbortController();
    runCommand(["/bin/true"], "/", stop.signal, ({ because }) => { process.exitCode = because.includes("EMFILE") ? 42 : 1; stop.abort(); }, () => {});
  `;
  const file = join(import.meta.dirname, "exec.driver.ts");
  const limited = `ulimit -n 64; exec "$0" --input-type=module -e "$1" "$2"`;
  const { status, stderr } = spawnSync("/bin/sh", ["-c", limited, process.execPath, program, file], {
    encoding: "utf8",
  });
  expect(status, stderr).toBe(42);
});
