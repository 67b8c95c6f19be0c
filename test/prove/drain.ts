/**
 * A long outbox on its way from a real agent to a real hub, of which either is killed with SIGKILL again and again at random points;
 * where the agent dies, the hub often hangs before, stores what is on its way all the same, and its Acks are lost. Once in a round
 * the agent's store loses its CURRENT and is mended as a new life. Each record is at the hub exactly once then; what is missing is
 * named by a drop record.
 */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { openAgentStore } from "@blueflame/agent/store/agent-store.ts";
import {
  AuditRecordSchema,
  DecisionRecordSchema,
  IncidentSchema,
  IncidentState,
} from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  OrderResultSchema,
  ReadingBatchSchema,
  ReadingSchema,
  RecordSchema,
} from "@blueflame/shared/gen/blueflame/link/v1/link_service_pb.ts";
import { type Random, seeded } from "@blueflame/shared/random/random.ts";
import { openLevelEngine } from "@blueflame/shared/store/level/engine.ts";
import type { Log } from "@blueflame/shared/store/log.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create, fromBinary } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { HubRig } from "./hub-rig.ts";
import { AgentRig } from "./rig.ts";
import type { Trial } from "./trial.ts";

const clock = realClock();
/** As rig.ts calls its node. */
const node = "prove";
const action = "prove.record";
/** One round is the short form: each side dies once. */
const kills = { long: 8, short: 2 };
/** A session drains some 500 a second, and lives for this long at most before somebody dies. */
const recordsPerKill = 500;
const killWithinMs = 1000;
/** Both back, connected and done: a minute, and what the pace takes. */
const drainedPromiseMs = 90_000;
/** So long a hub hangs before the agent dies: what it stores then it acknowledges to nobody. */
const frozenMs = 600;
const kinds = ["decision", "audit", "result", "readings", "incident"] as const;
const pageItems = 1000;

export const drain: Trial = {
  name: "drain",
  about:
    "a long outbox drained while agent or hub is killed at random points, with new lives of the store: exactly once",
  async run({ rounds, seed, say }) {
    const chance = seeded(seed);
    const rig = new AgentRig({ workloads: [] });
    const dir = join(rig.dir, "at-the-hub");
    mkdirSync(dir);
    const hub = await HubRig.open(dir, { escalation: { heartbeat_interval: "1s" } });
    const made = new Set<string>();
    const tally = { agent: 0, hub: 0, midway: 0, lives: 0 };
    const drainedMs: number[] = [];
    try {
      await hub.start();
      rig.configure({ workloads: [], hub: await hub.section(node) });
      for (let round = 0; round < rounds; round++) {
        const each = rounds > 1 ? kills.long : kills.short;
        await fill(rig.dataDir, made, each * recordsPerKill, chance);
        await rig.start();
        const newLifeAt = Math.floor(chance() * each);
        for (let kill = 0; kill < each; kill++) {
          await pause(chance() * killWithinMs);
          const waiting = await depthOf(rig);
          if (waiting > 0) tally.midway++;
          const side = kill === newLifeAt || (rounds > 1 && chance() < 0.5) ? "agent" : "hub";
          tally[side]++;
          if (side === "hub") {
            await hub.kill();
            await hub.start();
            continue;
          }
          const unheard = kill === newLifeAt || chance() < 0.5;
          if (unheard) {
            // After a death of the hub the line takes a while to come back.
            if (waiting > 0) await rig.until("it drains", async () => (await depthOf(rig)) < waiting);
            hub.freeze(true);
            await pause(frozenMs);
          }
          await rig.kill();
          hub.freeze(false);
          await pause(9000);
          if (kill === newLifeAt) tally.lives += loseCurrent(rig.dataDir);
          await rig.start();
        }
        const beganMs = performance.now();
        await rig.until("the outbox is empty", async () => (await depthOf(rig)) === 0, drainedPromiseMs);
        drainedMs.push(performance.now() - beganMs);
        await rig.kill();
      }
      await hub.kill();
      const { there, twice, dropped } = await atHub(join(dir, "hub"));
      const missing = [...made].filter((id) => !there.has(id));
      say(
        `${rounds} rounds, ${tally.agent} kills of the agent and ${tally.hub} of the hub, ${tally.midway} of them with records on their way, ` +
          `${tally.lives} new lives of the store: ${made.size} records made, ${made.size - missing.length} at the hub, ${dropped} named as dropped`,
      );
      if (twice.length > 0) say(`TWICE: ${twice.slice(0, 5).join(", ")}`);
      if (missing.length > dropped) say(`MISSING: ${missing.slice(0, 5).join(", ")}`);
      return [
        count("lost and named by no drop record", Math.max(0, missing.length - dropped)),
        count("at the hub twice", twice.length),
        {
          name: "the outbox empty",
          measure: "after the last kill",
          promise: drainedPromiseMs,
          unit: "ms",
          values: drainedMs,
        },
      ];
    } finally {
      await hub.kill();
      await rig.close();
    }
  },
};

function count(name: string, value: number) {
  return { name, measure: "records", promise: 0, unit: "count", values: [value] } as const;
}

/** Records of all kinds into the store of an agent that does not run. */
async function fill(dataDir: string, made: Set<string>, records: number, chance: Random): Promise<void> {
  const store = await openAgentStore(dataDir, { clock, random: chance, nodeId: node, bootId: "filling" });
  try {
    const writes: Promise<void>[] = [];
    for (let n = 0; n < records; n++) {
      const kind = kinds[n % kinds.length] ?? "audit";
      const id = `${kind}-${made.size}`;
      made.add(id);
      const at = timestampFromMs(Date.now());
      if (kind === "readings") {
        writes.push(store.appendReadings([create(ReadingSchema, { sensor: action, subject: id, value: 1 })]));
      } else if (kind === "result") {
        const value = create(OrderResultSchema, { orderId: id });
        writes.push(store.outbox.append(create(RecordSchema, { at, kind: { case: "orderResult", value } })));
      } else {
        const write = {
          decision: { decision: create(DecisionRecordSchema, { id, at, because: action }) },
          audit: { audit: [create(AuditRecordSchema, { id, at, actor: "agent", action, nodeId: node })] },
          incident: {
            incident: create(IncidentSchema, { id, detectedAt: at, closedAt: at, state: IncidentState.CLOSED }),
          },
        }[kind];
        writes.push(store.saveStep({ workload: "", ...write }, "batched"));
      }
    }
    await Promise.all(writes);
  } finally {
    await store.close();
  }
}

/** How many records wait; -1 while nobody can tell. */
async function depthOf(rig: AgentRig): Promise<number> {
  return rig.node().then(
    ({ outboxDepth }) => Number(outboxDepth),
    () => -1,
  );
}

/** LevelDB does not open without it, and all else is there: the agent's next start mends the store, as a new life. */
function loseCurrent(dataDir: string): number {
  rmSync(join(dataDir, "store", "CURRENT"));
  const kept = readdirSync(dataDir).filter((name) => name.startsWith("store.damaged-"));
  for (const name of kept) rmSync(join(dataDir, name), { recursive: true }); // at three of them a person has to choose
  return 1;
}

interface AtHub {
  readonly there: ReadonlySet<string>;
  readonly twice: readonly string[];
  readonly dropped: number;
}
/** What stands in the logs of a hub that does not run, by what the records say of themselves. */
async function atHub(dataDir: string): Promise<AtHub> {
  const engine = await openLevelEngine(dataDir, { clock });
  const there = new Set<string>();
  const twice: string[] = [];
  let dropped = 0;
  // The hub's own incident has the id of the decision that opened it: each log for itself.
  const reader = () => {
    const seen = new Map<string, string>();
    return (id: string, what: string) => {
      const before = seen.get(id);
      if (before !== undefined) twice.push(`${id} (${before}; ${what})`);
      seen.set(id, what);
      there.add(id);
    };
  };
  try {
    const audit = reader();
    for await (const data of itemsOf(engine.log, "audit")) {
      const record = fromBinary(AuditRecordSchema, data);
      const result = /^order (\S+): /.exec(record.because)?.[1];
      audit(result ?? record.id, `audit ${record.action}: ${record.because}`);
      if (record.action === "outbox.drop") dropped += Number(/(\d+) records/.exec(record.because)?.[1] ?? 1);
    }
    const decisions = reader();
    for await (const data of itemsOf(engine.log, "decisions")) {
      const { id, because } = fromBinary(DecisionRecordSchema, data);
      decisions(id, `decision: ${because}`);
    }
    const incidents = reader();
    for await (const data of itemsOf(engine.log, "incidents"))
      incidents(fromBinary(IncidentSchema, data).id, "incident");
    const readings = reader();
    for await (const data of itemsOf(engine.log, `readings/${node}`)) {
      for (const { sensor, subject } of fromBinary(ReadingBatchSchema, data).readings)
        if (sensor === action) readings(subject, "reading");
    }
  } finally {
    await engine.close();
  }
  return { there, twice, dropped };
}
async function* itemsOf(log: Log, stream: string): AsyncGenerator<Uint8Array> {
  for (let after: string | undefined; ; ) {
    const page = await log.range(stream, { limit: pageItems, ...(after !== undefined && { after }) });
    for (const { data } of page) yield data;
    after = page.at(-1)?.id;
    if (page.length < pageItems) return;
  }
}
