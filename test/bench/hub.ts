import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type Authority, openAuthority } from "@blueflame/hub/trust/authority.driver.ts";
import { LinkRequestSchema, NodeHealth } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { hubAt } from "../../deploy/fleet.ts";
import { freePort } from "../../deploy/ports.ts";
import { inRoot } from "../../deploy/root.ts";
import { memoryOf } from "./footprint.ts";
import { type Capacity, capacity, closeLines, openLine, openLines, type Pems } from "./load.ts";
import { keep, round, table } from "./measure.ts";

const agents = 1_000;

interface Figures extends Capacity {
  readonly server: string;
  readonly kbPerAgent: number;
}

/** A server under test that runs in a process of its own. */
interface Server {
  readonly name: string;
  readonly address: string;
  readonly pid: number;
  readonly pems?: (index: number) => Promise<Pems>;
  stop(): Promise<void>;
}

/** What one hub process bears, beside a bare grpc-js echo that decodes nothing and keeps nothing. */
export async function hub(): Promise<void> {
  const program = inRoot("dist", "blueflame-hub.mjs");
  const dir = mkdtempSync(join(tmpdir(), "blueflame-bench-"));
  const figures: Figures[] = [];
  try {
    const authority = await openAuthority(join(dir, "hub", "trust"), () => Date.now());
    const starts: (() => Promise<Server>)[] = [
      () => echo("grpc-js echo, plain", dir, undefined),
      () => echo("grpc-js echo, mutual TLS", dir, authority),
    ];
    if (existsSync(program)) starts.push(() => ourHub(program, dir, authority));
    else console.log(`hub: skipped, ${program} is not built; the floors alone`);
    for (const start of starts) {
      const server = await start();
      console.log(`hub: ${server.name} …`);
      try {
        figures.push(await measure(server));
      } finally {
        await server.stop();
      }
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
  const floor = figures[1];
  table(
    `${agents} agents with one connection each; one server process`,
    ["", "beats/s at p99 < 100 ms", "× mTLS echo", "p99 ms", "KB per agent", "× mTLS echo"],
    figures.map((one) => [
      one.server,
      one.beatsPerSecond,
      round(one.beatsPerSecond / (floor?.beatsPerSecond ?? 1)),
      one.p99Ms,
      one.kbPerAgent,
      round(one.kbPerAgent / (floor?.kbPerAgent ?? 1)),
    ]),
  );
  console.log(keep("hub", { agents, figures }));
}

async function measure(server: Server): Promise<Figures> {
  const pems = server.pems;
  const issued = pems ? await Promise.all(Array.from({ length: agents + 1 }, (_, i) => pems(i))) : [];
  // One goes first: what the server needs once is nobody's share.
  const first = await openLine(server.address, issued[agents], hello(agents));
  await pause(1_000);
  const before = memoryOf(server.pid).dirtyMb;
  const lines = await openLines(agents, (i) => openLine(server.address, issued[i], hello(i)));
  try {
    await pause(3_000);
    const kbPerAgent = round(((memoryOf(server.pid).dirtyMb - before) * 1024) / agents);
    return { server: server.name, kbPerAgent, ...(await capacity(lines, heartbeat())) };
  } finally {
    closeLines([first, ...lines]);
  }
}

async function echo(name: string, dir: string, authority: Authority | undefined): Promise<Server> {
  const args = ["echo-server"];
  if (authority) {
    const { ca, cert, key } = await authority.serverCertificate(["127.0.0.1"]);
    for (const [file, text] of Object.entries({ ca, cert, key })) {
      writeFileSync(join(dir, `${file}.pem`), text, { mode: 0o600 });
      args.push(join(dir, `${file}.pem`));
    }
  }
  const child = spawn(process.execPath, [import.meta.filename, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const port = await new Promise<string>((resolve, reject) => {
    child.stdout.once("data", (chunk) => resolve(String(chunk).trim()));
    child.once("exit", (code) => reject(new Error(`the echo server ended with ${code}`)));
  });
  return { name, address: `127.0.0.1:${port}`, pid: child.pid ?? 0, ...client(authority), stop: () => end(child) };
}

async function ourHub(program: string, dir: string, authority: Authority): Promise<Server> {
  const grpc = `127.0.0.1:${await freePort(27443, new Set())}`;
  const http = `127.0.0.1:${await freePort(27480, new Set())}`;
  const args = ["serve", "--data-dir", join(dir, "hub"), "--grpc", grpc, "--http", http];
  const child = spawn(process.execPath, [program, ...args], { stdio: "ignore" });
  for (
    let i = 0;
    (await hubAt(http)
      .nodes()
      .catch(() => undefined)) === undefined;
    i += 1
  ) {
    if (i > 100 || child.exitCode !== null) throw new Error("the hub did not come up");
    await pause(100);
  }
  return {
    name: "Blue Flame hub, mutual TLS",
    address: grpc,
    pid: child.pid ?? 0,
    ...client(authority),
    stop: () => end(child),
  };
}

const client = (authority: Authority | undefined) =>
  authority ? { pems: (i: number) => authority.issue({ role: "node", name: nodeName(i) }) } : {};

const nodeName = (index: number) => `bench-${index}`;

const encode = (message: MessageInitShape<typeof LinkRequestSchema>) =>
  toBinary(LinkRequestSchema, create(LinkRequestSchema, message));

const hello = (index: number) =>
  encode({
    message: {
      case: "hello",
      value: {
        nodeId: nodeName(index),
        incarnation: 1n,
        session: 1n,
        bootId: "bench",
        storeGeneration: "bench",
        site: "bench",
      },
    },
  });

/** As an agent sends it: its health, and the latest of each sensor. */
const heartbeat = () =>
  encode({
    message: {
      case: "heartbeat",
      value: {
        count: 1n,
        health: NodeHealth.HEALTHY,
        monotonicMs: 123_456_789n,
        worstLagMs: 2,
        readings: ["cpu_busy_ratio", "memory_used_bytes", "disk_free_bytes", "load_1m"].map((sensor) => ({
          sensor,
          value: 0.5,
        })),
      },
    },
  });

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGTERM");
  await Promise.race([gone, pause(5_000)]);
  child.kill("SIGKILL");
}
