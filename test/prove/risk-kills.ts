/**
 * A workload's risk state under an agent that dies: trades are told from several lines at once while the agent is killed with
 * SIGKILL at random moments, and each line repeats what it got no answer to. Who checks knows every trade that was acknowledged.
 */
import { setTimeout as pause } from "node:timers/promises";
import { type Agent, connect } from "@blueflame/agent/client/client.driver.ts";
import { environOf } from "@blueflame/agent/supervise/proc.driver.ts";
import { seeded } from "@blueflame/shared/random/random.ts";
import { AgentRig } from "./rig.ts";
import type { Trial } from "./trial.ts";

const workload = "engine";
const lines = 4;
/** Half of the deaths are within this time of the next start, where the store is being opened; the others while it works. */
const earlyMs = 300;
const lateMs = 900;

export const riskKills: Trial = {
  name: "risk-kills",
  about: "trades, keys and logs told to an agent that is killed at random moments: none lost, none twice, a lock stays",
  async run({ rounds, seed, say }) {
    const chance = seeded(seed);
    const rig = new AgentRig({
      workloads: [{ name: workload, command: ["/bin/sh", "-c", "while :; do sleep 1; done"] }],
    });
    const open: Agent[] = [];
    try {
      await rig.start();
      const connected = () => {
        const agent = lineOf(rig);
        open.push(agent);
        return agent;
      };
      const watcher = connected();
      const watched = watchTrades(watcher);
      const stop = new AbortController();
      const writers = Array.from({ length: lines }, (_, at) => write(connected(), at, stop.signal));
      for (let round = 0; round < rounds; round++) {
        await pause(chance() * (round % 2 === 0 ? earlyMs : lateMs));
        await rig.kill();
        await rig.start();
      }
      stop.abort();
      const told = (await Promise.all(writers)).flat();
      const judge = connected();
      await check(judge, told);
      await checkLock(rig, judge);
      await rig.until("the watcher has seen the last trade", async () => watched.trades() === told.length);
      say(
        `${rounds} kills of the agent, ${told.length} trades acknowledged, each there once; the watcher saw the last; the lock stayed`,
      );
    } finally {
      for (const agent of open) agent.close();
      await rig.close();
    }
    return [
      { name: "acknowledged and lost, or done twice", measure: "trades", promise: 0, unit: "count", values: [0] },
    ];
  },
};

/** A workload's own line, with the token that its process carries. */
function lineOf(rig: AgentRig): Agent {
  const pid = rig.leads().find((lead) => lead.workload === workload)?.pid ?? 0;
  const socket = environOf(pid, "BLUEFLAME_SOCKET") ?? "";
  return connect({ socket, token: environOf(pid, "BLUEFLAME_TOKEN") ?? "" });
}

/** Tells one trade after the other, each with a log entry and a counter in the same commit. Returns the ids of those that were answered. */
async function write(agent: Agent, line: number, stop: AbortSignal): Promise<string[]> {
  const told: string[] = [];
  for (let n = 1; !stop.aborted; n++) {
    const id = `${line}-${n}`;
    const { results } = await agent.commit(
      [
        { trade: { id, profit: -1, exposure: 1, data: Buffer.from(id) } },
        { append: { log: `line-${line}`, entries: [Buffer.from(id)] } },
        { put: { key: `line/${line}`, value: Buffer.from(String(n)), expectedRevision: BigInt(n - 1) } },
      ],
      { requestId: id },
    );
    if (results[2]?.revision !== BigInt(n)) throw new Error(`${id} made revision ${results[2]?.revision}`);
    told.push(id);
  }
  return told;
}

async function check(agent: Agent, told: readonly string[]): Promise<void> {
  const risk = await agent.risk();
  // Each trade was a loss of one unit: the sums know how often each was counted.
  const sums = [risk.trades, risk.lossStreak, -risk.session.profit, risk.session.totalExposure, risk.session.trades];
  if (sums.some((sum) => sum !== told.length))
    throw new Error(`${told.length} trades were acknowledged, the sums are ${sums}`);
  const booked: string[] = [];
  for await (const { id = "" } of agent.trades()) booked.push(id);
  if (JSON.stringify([...booked].sort()) !== JSON.stringify([...told].sort()))
    throw new Error("the trades are not those that were told");
  for (let line = 0; line < lines; line++) {
    const mine = told.filter((id) => id.startsWith(`${line}-`));
    const logged: string[] = [];
    for await (const { data } of agent.readLog(`line-${line}`)) logged.push(Buffer.from(data).toString());
    if (JSON.stringify(logged) !== JSON.stringify(mine))
      throw new Error(`log ${line} is not what was told, in its order`);
    const kept = Buffer.from((await agent.get(`line/${line}`))?.value ?? []).toString();
    if (kept !== String(mine.length)) throw new Error(`key ${line} is ${kept}, told was ${mine.length}`);
  }
}

/** Locked, killed, started: locked. */
async function checkLock(rig: AgentRig, agent: Agent): Promise<void> {
  await agent.lockRisk("the trial asked");
  await rig.kill();
  await rig.start();
  const { lock, mayTrade } = await agent.risk();
  if (mayTrade || lock?.because !== "the trial asked")
    throw new Error(`the lock did not outlive the agent: ${lock?.because}`);
}

function watchTrades(agent: Agent): { trades(): number } {
  let trades = 0;
  void (async () => {
    for await (const change of agent.watch()) if (change.is === "risk") trades = change.risk.trades;
  })();
  return { trades: () => trades };
}
