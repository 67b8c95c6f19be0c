import type { Agent } from "@blueflame/agent/client/client.driver.ts";
import type { Operation } from "@blueflame/agent/client/state.ts";
import { begin, decode, encode, type Happening, type Session, type State, type Trade } from "./firewall.ts";

/**
 * Where the firewall remembers. Position and ledger head are one key; streak, session, trades and lock are the agent's typed risk
 * state, which it books itself from the same trades. Both are written in one commit, so they can never disagree.
 */
const key = "firewall";

/** A state as it was read, to put the next one on. */
export interface Remembered {
  readonly state: State;
  /** The agent's revision of it; 0n before the first put. */
  readonly revision: bigint;
  /** Why the agent holds the risk lock; undefined while it does not. */
  readonly locked: string | undefined;
}

/** Where the firewall remembers. */
export interface Memory {
  /** False when nothing survives this process, because no agent started it. */
  readonly durable: boolean;
  recall(): Promise<Remembered>;
  /** Durable when it resolves. Rejects when somebody else moved the state, or the outcome is not known: recall, then go on. */
  keep(state: State, before: Remembered, happened: readonly Happening[]): Promise<Remembered>;
}

/** What of the agent the memory uses. */
export type RiskAgent = Pick<Agent, "get" | "commit" | "risk" | "trades">;

/** What is in the key: the state without what the agent counts. */
interface Position extends Omit<State, "lossStreak" | "worstLossStreak" | "session"> {
  readonly session: Pick<Session, "name" | "openedAtCents" | "lock">;
}

/**
 * Memory at the agent. `instance` is unlike any other process's: two instances that compute the same next state (an old
 * one that was frozen and thawed, say) can then never take the other's write for their own.
 */
export function memoryAt(agent: RiskAgent, instance: string): Memory {
  return {
    durable: true,
    async recall() {
      // Read again when a commit came between the reads: what belongs together was written together.
      for (;;) {
        const kept = await agent.get(key);
        const risk = await agent.risk();
        const trades: Trade[] = [];
        for await (const { data } of agent.trades(risk.session.firstTrade - 1)) trades.push(tradeFrom(data));
        if ((await agent.get(key))?.revision !== kept?.revision) continue;
        const locked = risk.lock?.because;
        if (kept === undefined) return { state: begin(1, risk), revision: 0n, locked };
        const text = Buffer.from(kept.value).toString("utf8");
        const position = JSON.parse(text.slice(text.indexOf("\n") + 1)) as Position;
        // Of a version that kept all of it in the key: the next run begins, under the agent's count from now on.
        if (!position.halts) return { state: begin(position.run + 1, risk), revision: kept.revision, locked };
        return { state: together(position, risk, trades), revision: kept.revision, locked };
      }
    },
    async keep(state, before, happened) {
      const operations = operationsFor(state, before.state, happened);
      const value = Buffer.from(`${instance}\n${encode(apart(state))}`, "utf8");
      const put: Operation = { put: { key, value, expectedRevision: before.revision } };
      const opens = happened.some((one) => one.is === "trade" && one.trade.side === "buy");
      const { results, risk } = await agent.commit([...operations, put], { onlyWhileOpen: opens });
      return { state, revision: results.at(-1)?.revision ?? 0n, locked: risk.lock?.because };
    },
  };
}

/** What the agent is told of a step: first the session that it begins, last the one that it closes. */
function operationsFor(state: State, before: State, happened: readonly Happening[]): Operation[] {
  const operations: Operation[] = [];
  const { session, run, exposureCents } = state;
  const runs = run === before.run;
  if (session.name !== "" && (!runs || session.name !== before.session.name)) {
    operations.push({ beginSession: sessionName(run, session.name) });
  }
  const earlier = runs && session.name === before.session.name ? before.session.profitCents : 0;
  let profitCents = earlier;
  for (const happening of happened) {
    if (happening.is === "trade") {
      const { n, side, units, priceCents, profitCents: profit } = happening.trade;
      const sells = side === "sell";
      // A step sells once at the most: what the session has earned by it is the rest.
      const sessionProfit = sells ? session.profitCents - profitCents : 0;
      if (sells) profitCents = session.profitCents;
      operations.push({
        trade: {
          id: `${run}/${n}`,
          exposure: sells ? 0 : units * priceCents,
          data: Buffer.from(JSON.stringify(happening.trade)),
          ...(sells && { profit, sessionProfit }),
        },
      });
    }
    if (happening.is === "lock") operations.push({ closeSession: `the session has lost ${happening.lossCents}` });
  }
  if (exposureCents !== before.exposureCents) operations.push({ openExposure: exposureCents });
  return operations;
}

function apart({ lossStreak, worstLossStreak, session, ...position }: State): Position {
  const { name, openedAtCents, lock } = session;
  return { ...position, session: { name, openedAtCents, lock } };
}

/** Throws an Error when key and risk state are not of one commit: wrong memory is worse than none. */
function together(position: Position, risk: Awaited<ReturnType<Agent["risk"]>>, trades: readonly Trade[]): State {
  const { name, openedAtCents, lock } = position.session;
  const begun = name !== "";
  if (begun && risk.session.name !== sessionName(position.run, name)) {
    throw new Error(`the position is of session '${name}', the agent's risk state of '${risk.session.name}'`);
  }
  if (begun && (lock !== null) !== (risk.session.closedBecause !== "")) {
    throw new Error("position and risk state do not agree about the lock of the session");
  }
  const { trades: count, totalExposure, profit } = risk.session;
  const session = begun
    ? { name, openedAtCents, lock, trades, count, totalExposureCents: totalExposure, profitCents: profit }
    : { name, openedAtCents, lock, trades: [], count: 0, totalExposureCents: 0, profitCents: 0 };
  const { lossStreak, worstLossStreak } = risk;
  return decode(JSON.stringify({ ...position, lossStreak, worstLossStreak, session }));
}

/** Later sessions sort later, also those of the next run. */
function sessionName(run: number, name: string): string {
  return `${String(run).padStart(6, "0")}/${name}`;
}

function tradeFrom(data: Uint8Array | undefined): Trade {
  return JSON.parse(Buffer.from(data ?? []).toString()) as Trade;
}

/** Memory that ends with the process, for a look at the program without an agent. */
export function memoryOfThisProcess(): Memory {
  let kept: Remembered = { state: begin(1), revision: 0n, locked: undefined };
  return {
    durable: false,
    recall: async () => kept,
    async keep(state, before) {
      kept = { state, revision: before.revision + 1n, locked: undefined };
      return kept;
    },
  };
}
