/**
 * A disk that runs full at every k-th write: what was acknowledged is there when the store is opened again, and writing goes on
 * by itself once there is room.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { openAgentStore } from "@blueflame/agent/store/agent-store.ts";
import type { AgentStore } from "@blueflame/agent/store/ports.ts";
import { AuditRecordSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";
import { create } from "@bufbuild/protobuf";
import { canMount, type SmallDisk, smallDisk } from "../contract/small-disk.ts";
import { waitingIn } from "./store-outbox.ts";
import type { Row, Trial } from "./trial.ts";

const megabyte = 1024 * 1024;
const diskBytes = 24 * megabyte;
/** Every k from 1 to this is tried. */
const kMax = 500;
/** So many writers, each of which writes the next value when the last one was answered. */
const writers = 4;
/** After the space is there again, writing must have gone on within this. */
const resumePromiseMs = 15_000;
/** What a round writes before and after the disk was full. */
const writesAfter = 20;
/** Every so many writes the audit tells of one. */
const auditEach = 3;

export const diskFull: Trial = {
  name: "disk-full",
  about: "a small disk is full at every k-th write: nothing acknowledged is lost, and writing goes on by itself",
  async run({ rounds, seed, say, skip }): Promise<Row[]> {
    if (!canMount()) {
      skip?.("this user may not mount a small file system, so no disk ran full");
      return [];
    }
    const chance = seeded(seed);
    const ks = rounds >= kMax ? range(kMax) : Array.from({ length: rounds }, () => 1 + Math.floor(chance() * kMax));
    const lost: number[] = [];
    const resumed: number[] = [];
    let refused = 0;
    const disk = smallDisk(diskBytes);
    try {
      for (const k of ks) {
        const round = await runRound(disk, k, chance);
        lost.push(round.lost);
        resumed.push(round.resumedMs);
        refused += round.refused;
        if (k % 50 === 0)
          say(`k ${k}: ${round.acknowledged} acknowledged, ${round.refused} refused, ${round.lost} lost`);
      }
    } finally {
      disk.remove();
    }
    say(`${ks.length} values of k, ${refused} writes refused by the full disk`);
    return [
      {
        name: "disk-full",
        measure: "acknowledged writes that are gone or changed",
        promise: 0,
        unit: "count",
        values: lost,
      },
      {
        name: "disk-full",
        measure: "from free space to the next write",
        promise: resumePromiseMs,
        unit: "ms",
        values: resumed,
      },
    ];
  },
};

interface Round {
  readonly acknowledged: number;
  readonly refused: number;
  readonly lost: number;
  readonly resumedMs: number;
}

/** Writes until the disk is full behind write k, frees it, writes on, opens again and compares. */
async function runRound(disk: SmallDisk, k: number, chance: () => number): Promise<Round> {
  const dir = join(disk.dir, "d");
  mkdirSync(dir);
  const given = {
    clock: realClock(),
    random: chance,
    nodeId: undefined,
    defaultNodeId: "full",
    bootId: "b",
    repair: false,
  };
  let store = await openAgentStore(dir, given);
  const told = new Ledger();
  let written = 0;
  const write = async (lane: number) => {
    const n = ++written;
    if (n === k) disk.fill(64 * 1024 + Math.floor(chance() * 64 * 1024));
    const bytes = Buffer.alloc(Math.floor(1024 + chance() * 32 * 1024), `${n} `);
    const key = `k${n % 50}-${lane}`;
    await told.ask(key, bytes, async () => {
      if (n % auditEach === 0) {
        await store.appendAudit([create(AuditRecordSchema, { id: `a${n}`, because: becauseOf(n) })]);
        told.audit.push(n);
      }
      await store.put("risk", key, bytes, undefined);
    });
  };
  const lanes = async (until: () => boolean) => {
    const lane = async (at: number) => {
      while (!until()) await write(at);
    };
    await Promise.all(Array.from({ length: writers }, (_, at) => lane(at)));
  };
  try {
    const enough = k + 200;
    await lanes(() => told.refused > 0 || written >= enough);
    disk.free();
    const freedMs = performance.now();
    const before = told.acknowledged;
    while (told.acknowledged === before) {
      await write(0);
      if (performance.now() - freedMs > 2 * resumePromiseMs)
        throw new Error(`k ${k}: writing does not go on: ${store.trouble()}`);
      await pause(5);
    }
    const resumedMs = performance.now() - freedMs;
    const stop = written + writesAfter;
    await lanes(() => written >= stop);
    await store.close();
    store = await openAgentStore(dir, given);
    let lost = store.identity.incarnation === 1n ? 0 : 1; // a new life says that something is gone
    lost += await auditLost(store, told.audit);
    for (const [key, may] of told.values) {
      const found = await store.get("risk", key);
      if (!may.some((one) => (one === undefined ? !found : found && Buffer.compare(found.value, one) === 0))) lost++;
    }
    return { acknowledged: told.acknowledged, refused: told.refused, lost, resumedMs };
  } finally {
    await store.close();
    disk.free();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** How many of these records of the audit are gone, changed or there twice, in the audit itself or in the outbox. */
async function auditLost(store: AgentStore, acknowledged: readonly number[]): Promise<number> {
  const kept = (await store.audit(1_000_000)).map(({ id, because }) => `${id} ${because}`);
  const waiting = (await waitingIn(store)).rows.flatMap(({ audit }) => (audit ? [`${audit.id} ${audit.because}`] : []));
  const isLost = (n: number) =>
    [kept, waiting].some((list) => list.filter((one) => one === `a${n} ${becauseOf(n)}`).length !== 1);
  return acknowledged.filter(isLost).length;
}

function becauseOf(n: number): string {
  return `${n} `.repeat(500);
}

/** What each key may hold: the last acknowledged value, and what was asked for since and refused. */
class Ledger {
  readonly values = new Map<string, (Buffer | undefined)[]>();
  /** Numbers of the records of the audit that were acknowledged, also where the write behind them was refused. */
  readonly audit: number[] = [];
  acknowledged = 0;
  refused = 0;

  async ask(key: string, bytes: Buffer, write: () => Promise<void>): Promise<void> {
    const may = this.values.get(key) ?? [undefined];
    this.values.set(key, [...may, bytes]);
    try {
      await write();
      this.acknowledged++;
      this.values.set(key, [bytes]);
    } catch {
      this.refused++; // it may have landed all the same
      await pause(2);
    }
  }
}

function range(max: number): number[] {
  return Array.from({ length: max }, (_, at) => at + 1);
}
