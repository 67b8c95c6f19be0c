/**
 * One node's outbox on its way to the hub, on virtual time: the agent's own session, outbox and feed, the hub's own session and
 * store, over a disk that a power cut takes back to what was synced. Each thing that a disk of either side does is a step, and
 * either side may die at any step.
 */
import { DurableOutbox } from "@blueflame/agent/store/outbox.ts";
import { type Life, waitingLives } from "@blueflame/agent/store/outbox-lives.ts";
import { parseKey } from "@blueflame/agent/store/outbox-rows.ts";
import { writeParts } from "@blueflame/agent/store/rows.ts";
import { Forgetting, readChunk } from "@blueflame/agent/uplink/outbox-feed.driver.ts";
import { defaults, type Policy } from "@blueflame/agent/uplink/policy.ts";
import { start, step } from "@blueflame/agent/uplink/session.ts";
import type { Effect, Event, State as Link } from "@blueflame/agent/uplink/state.ts";
import { greet, type OpenSession, recordsWindow, take } from "@blueflame/hub/ingest/session.ts";
import { type HubStore, openHubStore } from "@blueflame/hub/store/hub-store.ts";
import { AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { Record as LinkRecord } from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import type { Log } from "@blueflame/shared/store/log.ts";
import { memoryLog } from "@blueflame/shared/store/memory/memory-log.ts";
import { memoryState } from "@blueflame/shared/store/memory/memory-state.ts";
import type { State } from "@blueflame/shared/store/state.ts";
import { VirtualClock } from "@blueflame/shared/time/virtual-clock.ts";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { MemoryDatabase, MemoryFile } from "../support/memory-database.ts";

/**
 * Who dies at which step, counted from 1 over both sides. `power`: the machine of the agent, with what was not synced. `restored`: the
 * agent, and its store is then made from the copy that was taken last, as a new life. `copy` is no death.
 */
export type Deaths = ReadonlyMap<number, "process" | "power" | "restored" | "copy">;

const node = "edge-1";
const latencyMs = 5;
const policy: Policy = {
  ...defaults,
  addresses: ["hub:1"],
  incarnation: 1n,
  restarted: false,
  baseMs: 20,
  capMs: 100,
  chunkRecords: 3,
  recordsPerSecond: 10_000,
};
const quiet = { info: () => undefined, warn: () => undefined };

export interface Told {
  /** Audit ids whose write was answered: durable over a power cut. */
  readonly acknowledged: readonly string[];
  /** Ids that the hub has, in the order in which it has them. */
  readonly arrived: readonly string[];
  readonly waiting: number;
  readonly steps: number;
  /** Of `acknowledged`: written after a copy that took the store's place; only the hub may have them. */
  readonly lost: ReadonlySet<string>;
}

/** Lets a node record while it is on the link, and gives both sides time to come back. */
export async function drain(deaths: Deaths, records = 9): Promise<Told> {
  const world = new World(deaths);
  await world.boot();
  for (let n = 0; n < records; n++) {
    // Half of it waits already when the link comes up.
    if (n >= records / 2) await world.pass(10);
    void world.record(`a${n}`);
    if (n % 3 === 2) await world.pass(0);
  }
  await world.pass(20);
  for (let n = 0; n < 400 && !(await world.settled()); n++) await world.pass(20);
  return world.told();
}

/** Which life of the store goes on, and which earlier ones made what waits. */
interface Lived {
  readonly generation: string;
  readonly lives: readonly Life[];
}

/** A copy of what is on the disk, and how many writes had been answered. */
interface Copied {
  readonly rows: ReadonlyMap<string, Uint8Array>;
  readonly life: Lived;
  readonly acknowledged: number;
}

class World {
  readonly clock = new VirtualClock(1000);
  readonly file = new MemoryFile();
  readonly acknowledged: string[] = [];
  life: Lived = { generation: "g1", lives: [] };
  #copy: Copied | undefined;
  #lifes = 1;
  readonly #lost = new Set<string>();
  readonly #deaths: Deaths;
  readonly #disk: { state: State; log: Log } = { state: memoryState(), log: memoryLog() };
  #steps = 0;
  #agent: Agent | undefined;
  hub: Hub | undefined;

  constructor(deaths: Deaths) {
    this.#deaths = deaths;
  }
  async boot(): Promise<void> {
    // Either may die while it starts: nobody waits for it then.
    void this.#startHub();
    void this.#startAgent();
    await this.pass(10);
  }
  async record(id: string): Promise<void> {
    const agent = this.#agent;
    if (!agent) return;
    const { life } = this;
    await agent.record(id);
    this.acknowledged.push(id);
    if (life !== this.life) this.#lost.add(id); // its answer came in the moment in which the copy took its place
  }
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed <= ms; passed += latencyMs) {
      for (let n = 0; n < 4; n++) await new Promise((resolve) => setImmediate(resolve));
      if (passed < ms) this.clock.advance(latencyMs);
    }
  }
  async settled(): Promise<boolean> {
    return this.#agent?.outbox.depth() === 0n && this.acknowledged.length > 0;
  }
  async told(): Promise<Told> {
    const items = await this.#disk.log.range("audit", { limit: 10_000 });
    const arrived = items.toSorted((a, b) => (a.id < b.id ? -1 : 1)).map(({ data }) => idOf(data));
    const waiting = Number(this.#agent?.outbox.depth() ?? -1n);
    return { acknowledged: this.acknowledged, arrived, waiting, steps: this.#steps, lost: this.#lost };
  }

  /** A step of a side; whoever dies at it never comes back from it. */
  step(side: "agent" | "hub", alive: () => boolean): Promise<void> {
    if (!alive()) return forEver();
    const death = this.#deaths.get(++this.#steps);
    if (death === "copy") {
      const { file, life, acknowledged } = this;
      this.#copy = { rows: file.synced(), life, acknowledged: acknowledged.length };
    }
    if (death === undefined || death === "copy") return Promise.resolve();
    if (side === "hub" && death !== "restored") this.#killHub();
    else this.#killAgent(death);
    return side === "hub" && death === "restored" ? Promise.resolve() : forEver();
  }

  #killAgent(death: "process" | "power" | "restored"): void {
    this.#agent?.die();
    this.#agent = undefined;
    this.hub?.lose();
    if (death === "power") this.file.cutPower();
    if (death === "restored" && this.#copy) this.#restore(this.#copy);
    this.clock.wakeAt(this.clock.monotonicMs() + 30, () => void this.#startAgent());
  }
  /** What came after the copy is lost, unless the hub has it: that is what a copy is. */
  #restore({ rows, life, acknowledged }: Copied): void {
    this.file.rows = new Map(rows);
    this.file.sync();
    const [last = 0, acked = 0] = [lastIn(rows), Number(Buffer.from(rows.get("meta/acked") ?? []).toString())];
    const ended = { generation: life.generation, through: Math.max(last, acked) };
    this.life = { generation: `g${++this.#lifes}`, lives: waitingLives([...life.lives, ended], acked) };
    for (const id of this.acknowledged.slice(acknowledged)) this.#lost.add(id);
  }
  #killHub(): void {
    this.hub?.die();
    this.hub = undefined;
    this.#agent?.lost();
    this.clock.wakeAt(this.clock.monotonicMs() + 30, () => void this.#startHub());
  }
  async #startAgent(): Promise<void> {
    const agent = new Agent(this);
    if (await agent.start()) this.#agent = agent;
  }
  async #startHub(): Promise<void> {
    const hub = new Hub(this);
    if (await hub.start(this.#disk)) this.hub = hub;
  }
}

/** One life of the agent: what link.driver.ts does, without a line. */
class Agent {
  readonly outbox: DurableOutbox;
  readonly #world: World;
  readonly #forgetting: Forgetting;
  readonly #database: MemoryDatabase;
  readonly generation: string;
  #link: Link;
  #alive = true;

  constructor(world: World) {
    this.#world = world;
    const { clock, file } = world;
    const onSynced = () => this.outbox.synced();
    this.#database = new MemoryDatabase(file, onSynced, () => world.step("agent", () => this.#alive));
    const { generation, lives } = world.life;
    this.generation = generation;
    this.outbox = new DurableOutbox(this.#database, clock, { records: 1000, bytes: 1e9 }, { lives });
    this.#forgetting = new Forgetting(this.outbox, quiet);
    this.#link = start(policy, 7, 0n, clock.monotonicMs());
  }
  /** False when it died on the way; opening writes a synced batch, as the store's does. */
  async start(): Promise<boolean> {
    await this.#database.sync();
    await this.outbox.load();
    this.outbox.onAppend(() => this.apply({ is: "appended" }));
    this.apply({ is: "wake" });
    return this.#alive;
  }
  record(id: string): Promise<void> {
    const bytes = toBinary(AuditRecordSchema, create(AuditRecordSchema, { id, nodeId: node }));
    return writeParts(this.#database, true, () => [this.outbox.stage({ kind: "a", bytes })]);
  }
  die(): void {
    this.#alive = false;
  }
  lost(): void {
    this.#soon(() => this.apply({ is: "failed", code: "HUB_UNREACHABLE", saw: "the hub died" }));
  }

  apply(event: Event): void {
    if (!this.#alive) return;
    const { state, effects } = step(policy, this.#link, event, this.#world.clock.monotonicMs());
    this.#link = state;
    for (const effect of effects) this.#run(effect);
  }
  #run(effect: Effect): void {
    const { clock } = this.#world;
    if (effect.do === "wakeAt") clock.wakeAt(effect.atMs, () => this.apply({ is: "wake" }));
    if (effect.do === "connect") {
      const event: Event = this.#world.hub ? { is: "opened" } : { is: "failed", code: "HUB_UNREACHABLE", saw: "away" };
      this.#soon(() => this.apply(event));
    }
    if (effect.do === "hello") this.#soon(() => this.#world.hub?.hello(this, this.outbox.lastSeq()));
    if (effect.do === "acknowledge") this.#forgetting.through(effect.through);
    if (effect.do === "records") void this.#send(effect.after, effect.limit, effect.maxBytes);
  }
  async #send(after: bigint, limit: number, maxBytes: number): Promise<void> {
    const hub = this.#world.hub;
    const chunk = await readChunk(this.outbox, quiet, after, limit, maxBytes);
    if (hub === undefined || hub !== this.#world.hub) return this.apply({ is: "unread" });
    this.apply({ is: "sent", through: chunk.through, count: chunk.count });
    if (chunk.count === 0) return;
    this.#soon(() => hub.records(this, chunk.records.records));
    this.#soon(() => this.apply({ is: "written" }));
  }
  #soon(what: () => void): void {
    this.#world.clock.wakeAt(this.#world.clock.monotonicMs() + latencyMs, () => {
      if (this.#alive) what();
    });
  }
}

/** One life of the hub: what stream.driver.ts does, without a line. */
class Hub {
  readonly #world: World;
  #store: HubStore | undefined;
  #session: { open: OpenSession; readonly agent: Agent } | undefined;
  #storing: Promise<void> = Promise.resolve();
  #alive = true;

  constructor(world: World) {
    this.#world = world;
  }
  async start({ state, log }: { state: State; log: Log }): Promise<boolean> {
    const around = async <T>(work: () => Promise<T>): Promise<T> => {
      await this.#step();
      const done = await work();
      await this.#step();
      return done;
    };
    const commit: State["commit"] = (when, then) => around(() => state.commit(when, then));
    const append: Log["append"] = (stream, items) => around(() => log.append(stream, items));
    this.#store = await openHubStore({ ...state, commit }, { ...log, append }, () => this.#world.clock.wallMs());
    return this.#alive;
  }
  die(): void {
    this.#alive = false;
  }
  /** The node's end of the line is gone. */
  lose(): void {
    this.#session = undefined;
  }
  async hello(agent: Agent, lastSeq: bigint): Promise<void> {
    const { generation } = agent;
    const durableThrough = (await this.#store?.durableThrough(node, generation)) ?? 0n;
    const claim = {
      nodeId: node,
      incarnation: 1n,
      session: 1n,
      bootId: "b",
      generation,
      lastSeq,
      storeEpoch: 0n,
    };
    const verdict = greet(node, claim, { incarnation: 1n, durableThrough, storeEpoch: 0n });
    if (verdict.is !== "open" || !this.#alive) return;
    this.#session = { open: verdict.session, agent };
    const welcome = { intervalMs: 1000, epoch: 1n, durable: durableThrough, window: recordsWindow };
    agent.apply({ is: "welcome", welcome: { ...welcome, recordsPerSecond: 0, lastSeq, behind: false } });
  }
  records(agent: Agent, batch: readonly LinkRecord[]): void {
    const session = this.#session;
    if (!session || session.agent !== agent || !this.#alive) return;
    const verdict = take(session.open, batch, 0);
    if (verdict.is === "refused") throw new Error(verdict.saw);
    session.open = verdict.session;
    this.#storing = this.#storing.then(async () => {
      if (verdict.fresh.length > 0) {
        await this.#store?.keep({ nodeId: node, site: "", generation: agent.generation, records: verdict.fresh });
      }
      const through = verdict.session.takenThrough;
      if (this.#alive && this.#session === session)
        agent.apply({ is: "ack", through, lastSeq: agent.outbox.lastSeq() });
    });
  }
  #step(): Promise<void> {
    return this.#world.step("hub", () => this.#alive);
  }
}

function lastIn(rows: ReadonlyMap<string, Uint8Array>): number {
  const keys = [...rows.keys()].filter((key) => key.startsWith("outbox/"));
  return Math.max(0, ...keys.map((key) => parseKey(key).seq));
}
function idOf(data: Uint8Array): string {
  return fromBinary(AuditRecordSchema, data).id;
}
function forEver(): Promise<void> {
  return new Promise(() => undefined);
}
