import { spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { connect } from "@blueflame/agent/client/client.driver.ts";
import { environOf } from "@blueflame/agent/supervise/proc.driver.ts";
import * as grpc from "@grpc/grpc-js";
import { inRoot } from "../../deploy/root.ts";
import { AgentRig } from "../prove/rig.ts";
import { keep, round, type Spread, spread, table } from "./measure.ts";

const echoPath = "/bench.Echo/Echo";
const asIs = (bytes: Buffer) => bytes;
const echo = {
  path: echoPath,
  requestStream: false,
  responseStream: false,
  requestSerialize: asIs,
  requestDeserialize: asIs,
  responseSerialize: asIs,
  responseDeserialize: asIs,
} as const;

const warmUp = 100;
const writers = 32;
/** One after the other in turns of this size, so that what others do on the machine meets all alike. */
const turn = 50;

/** The floor of the state API's figures: a bare grpc-js server on a unix socket that answers each message with itself. */
export async function serveUnixEcho([socket = ""]: readonly string[]): Promise<void> {
  const server = new grpc.Server({ "grpc.enable_channelz": 0 });
  server.addService(
    { echo },
    {
      echo: (call: grpc.ServerUnaryCall<Buffer, Buffer>, answer: grpc.sendUnaryData<Buffer>) =>
        answer(null, call.request),
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, grpc.ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
  });
}

const floorName = "bare echo, 100 bytes";

/** The tables of `npm run bench -- state`. ROUNDS shortens it. */
export async function state(): Promise<void> {
  const rounds = Number(process.env.ROUNDS ?? 2000);
  const { alone = {}, together = {} } = await roundTrips(rounds);
  show("one at a time", alone);
  show(`${writers} at a time`, together);
  console.log(keep("state", { rounds, writers, alone, together }));
}

/**
 * Round trips of the state API over the agent's socket in ms, beside an echo of the same run: one at a time, and 32. Of more than a
 * hundred trips the first ones are not counted: V8 has yet to compile what they need.
 */
export async function roundTrips(rounds: number, ways = ["alone", "together"]): Promise<Record<string, Figures>> {
  const rig = new AgentRig({
    workloads: [{ name: "engine", command: ["/bin/sh", "-c", "while :; do sleep 9; done"] }],
  });
  const socket = join(rig.dir, "echo.sock");
  const floor = spawn(process.execPath, [inRoot("dist", "bench.mjs"), "unix-echo", socket], { stdio: "inherit" });
  const bare = new grpc.Client(`unix:${socket}`, grpc.credentials.createInsecure());
  try {
    await rig.start();
    await rig.until("the echo listens", async () => existsSync(socket));
    const pid = rig.leads()[0]?.pid ?? 0;
    // The kernel shows it a moment after the spawn.
    await rig.until("its environment is there", async () => environOf(pid, "BLUEFLAME_TOKEN") !== undefined);
    const agent = connect({
      socket: environOf(pid, "BLUEFLAME_SOCKET") ?? "",
      token: environOf(pid, "BLUEFLAME_TOKEN") ?? "",
    });
    const value = Buffer.alloc(100, 1);
    const calls: Readonly<Record<string, () => Promise<unknown>>> = {
      [floorName]: () => ask(bare, value),
      "risk state": () => agent.risk(),
      "get, 100 bytes": () => agent.get("k"),
      "put, 100 bytes, synced": () => agent.put("k", value),
      "append, 100 bytes, synced": () => agent.append("l", value),
      "record trade, synced": () => agent.recordTrade({ profit: 1 }),
    };
    // No log with many at a time: it would reach its bound, since nobody trims it.
    const { "append, 100 bytes, synced": _, ...others } = calls;
    const figures: Record<string, Figures> = {};
    if (ways.includes("alone")) figures.alone = await measure(calls, rounds, 1);
    if (ways.includes("together")) figures.together = await measure(others, rounds, writers);
    agent.close();
    return figures;
  } finally {
    bare.close();
    floor.kill("SIGKILL");
    await rig.close();
    rmSync(socket, { force: true });
  }
}

function ask(bare: grpc.Client, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    bare.makeUnaryRequest(echoPath, asIs, asIs, bytes, (error, answer) =>
      error || !answer ? reject(error ?? new Error("no answer")) : resolve(answer),
    );
  });
}

/** By what was asked for. */
export type Figures = Readonly<Record<string, Spread & { readonly perSecond: number }>>;

async function measure(
  calls: Readonly<Record<string, () => Promise<unknown>>>,
  rounds: number,
  atOnce: number,
): Promise<Figures> {
  const took = new Map(Object.keys(calls).map((name) => [name, { ms: [] as number[], wallMs: 0 }]));
  for (const call of Object.values(calls)) for (let n = 0; n < Math.min(warmUp, rounds / 5); n++) await call();
  for (let done = 0; done < rounds; done += turn * atOnce) {
    for (const [name, call] of Object.entries(calls)) {
      const mine = took.get(name);
      const beganMs = performance.now();
      const lane = async () => {
        for (let n = 0; n < Math.min(turn, rounds); n++) {
          const startedMs = performance.now();
          await call();
          mine?.ms.push(performance.now() - startedMs);
        }
      };
      await Promise.all(Array.from({ length: atOnce }, lane));
      if (mine) mine.wallMs += performance.now() - beganMs;
    }
    await pause(1);
  }
  return Object.fromEntries(
    [...took].map(([name, { ms, wallMs }]) => [name, { ...spread(ms), perSecond: round((ms.length * 1000) / wallMs) }]),
  );
}

/** How often the floor's time p50 and p99 of a call are. */
export function overFloor(figures: Figures, name: string): { readonly p50: number; readonly p99: number } {
  const [one, floor] = [figures[name], figures[floorName]];
  const times = (which: "median" | "p99") => round((one?.[which] ?? Number.NaN) / (floor?.[which] ?? Number.NaN));
  return { p50: times("median"), p99: times("p99") };
}

function show(title: string, figures: Figures): void {
  table(
    `state API over the unix socket, ${title}; ms`,
    ["", "n", "p50", "p99", "× echo p50", "× echo p99", "a second"],
    Object.entries(figures).map(([name, one]) => {
      const { p50, p99 } = overFloor(figures, name);
      return [name, one.n, one.median, one.p99, p50, p99, one.perSecond];
    }),
  );
}
