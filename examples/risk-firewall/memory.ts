import type { Agent } from "@blueflame/agent/client/client.driver.ts";
import { begin, decode, encode, type State } from "./firewall.ts";

/** The one key that holds everything: position, ledger head and risk state can never disagree. */
const key = "firewall";

/** A state as it was read, to put the next one on. */
export interface Remembered {
  readonly state: State;
  /** The agent's revision of it; 0n before the first put. */
  readonly revision: bigint;
}

/** Where the firewall remembers. */
export interface Memory {
  /** False when nothing survives this process, because no agent started it. */
  readonly durable: boolean;
  recall(): Promise<Remembered>;
  /** Durable when it resolves. Rejects when somebody else moved the state, or the outcome is not known: recall, then go on. */
  keep(state: State, before: Remembered): Promise<Remembered>;
}

/**
 * Memory at the agent. `instance` is unlike any other process's: two instances that compute the same next state (an old
 * one that was frozen and thawed, say) can then never take the other's write for their own.
 */
export function memoryAt(agent: Pick<Agent, "get" | "put">, instance: string): Memory {
  return {
    durable: true,
    async recall() {
      const kept = await agent.get(key);
      if (kept === undefined) return { state: begin(1), revision: 0n };
      const text = Buffer.from(kept.value).toString("utf8");
      return { state: decode(text.slice(text.indexOf("\n") + 1)), revision: kept.revision };
    },
    async keep(state, before) {
      const value = Buffer.from(`${instance}\n${encode(state)}`, "utf8");
      return { state, revision: await agent.put(key, value, before.revision) };
    },
  };
}

/** Memory that ends with the process, for a look at the program without an agent. */
export function memoryOfThisProcess(): Memory {
  let kept: Remembered = { state: begin(1), revision: 0n };
  return {
    durable: false,
    recall: async () => kept,
    async keep(state, before) {
      kept = { state, revision: before.revision + 1n };
      return kept;
    },
  };
}
