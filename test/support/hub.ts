import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openUplink, type UplinkOptions } from "@blueflame/agent/uplink/link.driver.ts";
import type { Self } from "@blueflame/agent/uplink/ports.ts";
import { readHubConfig } from "@blueflame/hub/config.driver.ts";
import type { HubConfig } from "@blueflame/hub/config.ts";
import { type Hub, type HubOptions, startHub } from "@blueflame/hub/hub.driver.ts";
import { type IssuedCertificate, openAuthority } from "@blueflame/hub/trust/authority.driver.ts";
import { LinkService, type Order } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { client } from "@blueflame/shared/rpc/definition.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import * as grpc from "@grpc/grpc-js";
import { memoryNode, memoryOutbox, testSelf } from "./link-node.ts";
import { looks } from "./looks.ts";

const clock = realClock();

/** A data directory that is removed by `clear`, with what was opened on it closed before, in reverse order. */
export function hubFolder() {
  const dir = mkdtempSync(join(tmpdir(), "bf-hub-"));
  const open: (() => unknown)[] = [];
  return {
    dir,
    closeLater: (close: () => unknown) => void open.push(close),
    async clear(): Promise<void> {
      for (const close of open.splice(0).reverse()) await close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
export type HubFolder = ReturnType<typeof hubFolder>;

/** The default config at a pace for tests: a beat every 300 ms, YELLOW after 0.6 s, ORANGE after 1.2 s, RED after 1.8 s. */
export function quickConfig(given: Partial<HubConfig> = {}): HubConfig {
  const config = readHubConfig(undefined, process.env);
  const escalation = { ...config.escalation, heartbeatIntervalMs: 300, late: 1, redSilentMs: 1_800 };
  return { ...config, escalation, ...given };
}

/** Keeps what the hub logs. */
export function hubLog() {
  const lines: { level: string; fields: Record<string, unknown>; message: string }[] = [];
  const line = (level: string) => (fields: object, message: string) => {
    lines.push({ level, fields: { ...fields }, message });
  };
  return { lines, info: line("info"), warn: line("warn"), error: line("error") };
}

/** A real hub in this process on free ports. */
export async function hubIn(
  folder: HubFolder,
  given: Partial<HubOptions> = {},
): Promise<Hub & { end(): Promise<void> }> {
  const hub = await startHub({
    dataDir: join(folder.dir, "hub"),
    config: quickConfig(),
    grpc: { host: "127.0.0.1", port: 0 },
    http: null,
    clock,
    random: Math.random,
    log: hubLog(),
    ...given,
  });
  let ended: Promise<void> | undefined;
  const end = () => {
    ended ??= hub.close(500);
    return ended;
  };
  folder.closeLater(end);
  return { ...hub, end };
}

/** A certificate by the CA of the hub in `folder`. */
export async function certificateOf(
  folder: HubFolder,
  name: string,
  role: "node" | "operator" = "node",
): Promise<IssuedCertificate> {
  const authority = await openAuthority(join(folder.dir, "hub", "trust"), () => Date.now());
  return authority.issue({ role, name });
}

/** A real agent's uplink to the hub, with a node and an outbox in memory. `kill` drops its line without a word. */
export async function agentOf(
  folder: HubFolder,
  hub: { readonly grpcAddress: string },
  self: Partial<Self> & { readonly nodeId: string },
  given: Partial<UplinkOptions> = {},
) {
  const target = { addresses: [hub.grpcAddress], ...(await certificateOf(folder, self.nodeId)) };
  const outbox = given.outbox ?? memoryOutbox();
  const node = memoryNode();
  const log = hubLog();
  const uplink = openUplink({
    target,
    self: testSelf(self),
    node,
    clock,
    random: Math.random,
    log,
    ...given,
    outbox,
    policy: { baseMs: 50, capMs: 200, slowCapMs: 400, ...given.policy },
  });
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= uplink.close("stop", true);
    return closed;
  };
  folder.closeLater(close);
  return { uplink, node, outbox, log, close };
}

/** What a gRPC client shows the hub. */
export const credentialsOf = ({ ca, cert, key }: IssuedCertificate) =>
  grpc.credentials.createSsl(Buffer.from(ca), Buffer.from(key), Buffer.from(cert));

/** A hand-made agent on one stream that says exactly what it is told to, and remembers what it heard. */
export function handMadeAgent(folder: HubFolder, address: string, issued: IssuedCertificate) {
  const made = client(LinkService, address, credentialsOf(issued), undefined, { tolerant: true });
  folder.closeLater(() => made.close());
  const stream = made.link();
  const heard: string[] = [];
  const moves: string[] = [];
  const acks: bigint[] = [];
  const orders: Order[] = [];
  const failed = new Promise<Error>((resolve) => stream.on("error", resolve));
  stream.on("data", (message) => {
    if ("undecodable" in message) return;
    const { case: kind, value } = message.message;
    heard.push(kind ?? "unknown");
    if (kind === "move") moves.push(value.because);
    if (kind === "ack") acks.push(value.throughSeq);
    if (kind === "order") orders.push(value);
  });
  const hello = (nodeId: string, given: object = {}) =>
    stream.write({
      message: {
        case: "hello",
        value: { nodeId, incarnation: 1n, session: 1n, bootId: "b", storeGeneration: "g1", site: "here", ...given },
      },
    });
  const beat = (count = 1n) => stream.write({ message: { case: "heartbeat", value: { count } } });
  /** Beats until the returned function is called; the stream stays open. */
  const beatEvery = (ms: number) => {
    beat();
    const timer = setInterval(() => beat(), ms);
    const stop = () => clearInterval(timer);
    folder.closeLater(stop);
    return stop;
  };
  return { stream, heard, moves, acks, orders, failed, hello, beat, beatEvery };
}

/** What the hub of this folder has told people, each as its file says it. */
export function alertsIn(dir: string): { readonly kind: string; readonly node: string; readonly site: string }[] {
  const folder = join(dir, "hub", "alerts");
  const names = readdirSync(folder).filter((name) => name.endsWith(".json"));
  return names.map((name) => JSON.parse(readFileSync(join(folder, name), "utf8")));
}

/** Waits for real until it holds; the test's own limit is the bound. Levels pass in tenths of seconds here. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for await (const _ of looks(Number.POSITIVE_INFINITY, 100)) if (await holds()) return;
}
export const pass = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
