import { createHash, randomBytes } from "node:crypto";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { environOf } from "./supervise/proc.driver.ts";

/**
 * Which workload calls? Each start of a workload gets a token of 256 random bits in its environment; only its SHA-256 is kept,
 * also over restarts of the agent, so that an adopted workload is still known. A workload's earlier token ends with a new one.
 */
export class Tokens {
  readonly #workloadOf = new Map<string, string>();
  readonly #save: (workload: string, hash: string) => void;

  /** `known` is hash → workload from the store; `save` keeps a new hash and need not be awaited. */
  constructor(known: ReadonlyMap<string, string>, save: (workload: string, hash: string) => void) {
    for (const [hash, workload] of known) this.#workloadOf.set(hash, workload);
    this.#save = save;
  }

  issue(workload: string): string {
    for (const [hash, owner] of this.#workloadOf) if (owner === workload) this.#workloadOf.delete(hash);
    const token = randomBytes(32).toString("base64url");
    const hash = hashOf(token);
    this.#workloadOf.set(hash, workload);
    this.#save(workload, hash);
    return token;
  }

  /** Throws DENIED for a token that no living workload holds. Looked up by hash: timing tells nothing of the token. */
  holder(token: string): string {
    const workload = this.known(token);
    if (workload === undefined) throw new Fault("DENIED", "the token belongs to no workload of this node");
    return workload;
  }

  /** As `holder`; undefined where that throws. */
  known(token: string): string | undefined {
    return this.#workloadOf.get(hashOf(token));
  }
}

/** What is kept of a token. */
export function hashOf(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

/**
 * Whose tokens are good, as hash → workload: those that the store knows, and those that living workloads carry in their
 * environment, where only this user can read them. An agent that died right after a start, or whose disk refused, has not
 * written them down, and its successor would refuse the beats of a sound workload and restart it.
 */
export function knownTokens(
  stored: ReadonlyMap<string, string>,
  living: ReadonlyMap<string, readonly { readonly pid: number }[]>,
): Map<string, string> {
  const known = new Map(stored);
  for (const [workload, processes] of living) {
    for (const { pid } of processes) {
      const token = environOf(pid, "BLUEFLAME_TOKEN");
      if (token !== undefined) known.set(hashOf(token), workload);
    }
  }
  return known;
}
