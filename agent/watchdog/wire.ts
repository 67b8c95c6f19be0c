/**
 * What agent and watchdog say to each other: one JSON object a line.
 *
 *   watchdog                         who knocks: agent, a person's command, a watchdog of init
 *    | door {pid, startTicks}         |   who listens; the other makes sure of it before it says the secret
 *    |------------------------------->|
 *    |  hello {secret, role, …}       |
 *    |<-------------------------------|
 *    | welcome {init, flags}          |   or the line is closed
 *    |------------------------------->|
 *    |  beat {guards}    each second  |   and the same in the other direction
 *    |<------------------------------>|
 *    |  word                          |   the agent: a person told it to go down, it begins to
 *    |<-------------------------------|
 *    |  leaving {farewell}            |   the agent: `stop`, `down`, `agent_restart`
 *    |<-------------------------------|
 *    | leaving {farewell: "stop"}     |   the watchdog: it makes way for one of init, or ends
 *    |------------------------------->|
 */
import type { Farewell, Identity } from "./state.ts";

/** More in one line, or waiting, and the line is closed: nothing that we say is as long. */
const lineBytesMax = 64 * 1024;

export type Role = "agent" | "person" | "watchdog";

export type Message =
  | ({ readonly is: "door" } & Identity)
  | ({
      readonly is: "hello";
      readonly secret: string;
      readonly role: Role;
      /** How this agent is started again. */
      readonly command?: readonly string[];
      /** The folder that relative paths in it are meant from. */
      readonly cwd?: string;
      readonly guards?: boolean;
    } & Identity)
  | { readonly is: "welcome"; readonly init: boolean; readonly flags: string }
  | { readonly is: "beat"; readonly guards: boolean }
  | { readonly is: "leaving"; readonly farewell: Farewell }
  /** The agent: a person asked it to go down, and it begins to. `again`: it has said so to the watchdog before this one. */
  | { readonly is: "word"; readonly again: boolean }
  /** A person wants nobody to run, or wants one again, and there is no agent to ask. */
  | { readonly is: "rest" | "run" };

/** Who listens under a name and for whom; the same for the two that belong together, made once per data directory. */
export interface GuardKey {
  readonly name: string;
  readonly secret: string;
}

export function encode(message: Message): string {
  return `${JSON.stringify(message)}\n`;
}

/** Cuts a stream into messages; what is none is passed over. Throws when a line is longer than any of ours. */
export class Lines {
  #rest = "";

  push(chunk: string): Message[] {
    this.#rest += chunk;
    const lines = this.#rest.split("\n");
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > lineBytesMax) throw new Error("a line longer than any of ours");
    return lines.map(decode).filter((message) => message !== undefined);
  }
}

function decode(line: string): Message | undefined {
  let read: unknown;
  try {
    read = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof read !== "object" || read === null || !("is" in read)) return undefined;
  const { is, pid, startTicks, secret, role, command, cwd, guards, init, flags, farewell, again } = read as Record<
    string,
    unknown
  >;
  const identified = isCount(pid) && isCount(startTicks);
  switch (is) {
    case "door":
      return identified ? { is, pid, startTicks } : undefined;
    case "hello":
      if (!identified || typeof secret !== "string" || !isRole(role)) return undefined;
      return {
        is,
        pid,
        startTicks,
        secret,
        role,
        ...(isWords(command) && { command }),
        ...(typeof cwd === "string" && { cwd }),
        ...(typeof guards === "boolean" && { guards }),
      };
    case "welcome":
      return { is, init: init === true, flags: typeof flags === "string" ? flags : "" };
    case "beat":
      return { is, guards: guards === true };
    case "leaving":
      return farewell === "stop" || farewell === "down" || farewell === "agent_restart" ? { is, farewell } : undefined;
    case "word":
      return { is, again: again === true };
    case "rest":
    case "run":
      return { is };
    default:
      return undefined; // of a later version
  }
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}

function isRole(value: unknown): value is Role {
  return value === "agent" || value === "person" || value === "watchdog";
}

function isWords(value: unknown): value is string[] {
  return Array.isArray(value) && value.length > 0 && value.every((word) => typeof word === "string");
}
