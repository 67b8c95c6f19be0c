import { requestOf, wireRisk, wireTrade } from "@blueflame/agent/api/state-wire.ts";
import type { Agent } from "@blueflame/agent/client/client.driver.ts";
import { riskFrom, tradeFrom, wireOperation } from "@blueflame/agent/client/state.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import type { MemorySpace } from "./memory-space.ts";

/** When a call's answer is lost: before the agent has done it, after it, or not at all. */
export type Loss = "before" | "after" | "no";

/** A workload's line to a space in memory, by the same messages as over a socket; `loss` is asked for each commit. */
export function memoryAgent(
  space: MemorySpace,
  loss: () => Loss = () => "no",
): Pick<Agent, "get" | "commit" | "risk" | "trades"> {
  return {
    async get(key) {
      const found = await space.get(key);
      return found && { value: found.value, revision: BigInt(found.revision) };
    },
    async commit(operations, { requestId = "", onlyWhileOpen = false } = {}) {
      const lost = loss();
      if (lost === "before") throw new Fault("AGENT_UNREACHABLE", "killed before the write");
      const request = requestOf(requestId, operations.map(wireOperation), onlyWhileOpen);
      const { results, risk, alreadyDone } = await space.commit(request);
      if (lost === "after") throw new Fault("AGENT_UNREACHABLE", "killed after the write");
      return {
        results: results.map(({ revision, first, last }) => ({ revision: BigInt(revision), first, last })),
        risk: riskFrom(wireRisk(risk)),
        alreadyDone,
      };
    },
    risk: async () => riskFrom(wireRisk(space.risk())),
    async *trades(after = 0) {
      for (const booked of await space.readTrades(after, 1000)) yield tradeFrom(wireTrade(booked));
    },
  };
}
