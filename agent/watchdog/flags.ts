import { resolve } from "node:path";
import { agentPolicy, type GuardPolicy } from "./policy.ts";

/** What `blueflame-agent watchdog` was told. */
export interface Flags {
  readonly dataDir: string;
  /** Started by init: it stays when the agent is stopped, and another watchdog makes way for it. */
  readonly init: boolean;
  /** Key and word come on stdin, from the agent that has started us. */
  readonly handover: boolean;
  readonly policy: GuardPolicy;
  /** The figures that were set, as they were given: for the watchdog that the agent starts after this one. */
  readonly figures: string;
  /** The agent's own arguments; empty: `up`. */
  readonly words: readonly string[];
}

const usage = `Usage: blueflame-agent watchdog [--data-dir DIR] [--init] [FIGURES] [-- up …]

Guards the agent of this node, as its agent guards it; \`up\` starts one. Figures, with their defaults:
  --silent 2500ms      the agent is looked at when it has said nothing for so long
  --restarts 5         so many without a good time between them, then the cooldown
  --well-after 60s     a good time: everything that was counted is forgiven
  --cooldown 5m        then the emergency bootstrap runs, once
  --slow-retry 5m      one start in each such time after it
`;

/** The flags, or what is wrong with them, or the help text. */
export function parseFlags(args: readonly string[], defaultDataDir: string): Flags | { readonly refused: string } {
  const split = args.indexOf("--");
  const [own, words] = split < 0 ? [args, []] : [args.slice(0, split), args.slice(split + 1)];
  let dataDir = defaultDataDir;
  let init = false;
  let handover = false;
  let policy: GuardPolicy = agentPolicy;
  const figures: string[] = [];
  const rest = [...own];
  for (let flag = rest.shift(); flag !== undefined; flag = rest.shift()) {
    if (flag === "--help" || flag === "-h") return { refused: usage };
    if (flag === "watchdog") continue; // the command itself, wherever it was typed
    if (flag === "--init") init = true;
    else if (flag === "--handover") handover = true;
    else {
      const value = rest.shift();
      if (value === undefined)
        return { refused: `[USAGE] ${flag} needs a value. See blueflame-agent watchdog --help.\n` };
      const changed = flag === "--data-dir" ? { dataDir: resolve(value) } : figure(flag, value);
      if (changed === undefined) {
        return { refused: `[USAGE] '${flag} ${value}' is not understood. See blueflame-agent watchdog --help.\n` };
      }
      if ("dataDir" in changed) ({ dataDir } = changed);
      else {
        policy = { ...policy, ...changed };
        figures.push(flag, value);
      }
    }
  }
  return { dataDir, init, handover, policy: { ...policy, stays: init }, figures: figures.join(" "), words };
}

function figure(flag: string, value: string): Partial<GuardPolicy> | undefined {
  if (flag === "--restarts") return /^[1-9][0-9]{0,3}$/.test(value) ? { restartsMax: Number(value) } : undefined;
  const ms = durationMs(value);
  if (ms === undefined) return undefined;
  switch (flag) {
    case "--silent":
      return { silentMs: ms };
    case "--well-after":
      return { wellAfterMs: ms };
    case "--cooldown":
      return { cooldownMs: ms };
    case "--slow-retry":
      return { slowRetryMs: ms };
    default:
      return undefined;
  }
}

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

function durationMs(text: string): number | undefined {
  const [, digits, unit = ""] = /^([1-9][0-9]{0,8})(ms|s|m|h)$/.exec(text) ?? [];
  return digits === undefined ? undefined : Number(digits) * (units[unit] ?? 0);
}
