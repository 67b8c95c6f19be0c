import { dirname, resolve } from "node:path";
import { type Draft, draftConfig } from "@blueflame/shared/config/load.ts";
import type { Machine } from "@blueflame/shared/config/machine.ts";
import { nearest } from "@blueflame/shared/config/problems.ts";
import { programName, programProblem } from "@blueflame/shared/config/quote.ts";
import {
  type CommandLine,
  type Escalation,
  HubConfigSchema,
} from "@blueflame/shared/gen/blueflame/config/v1/hub_config_pb.ts";
import { printDuration } from "@blueflame/shared/units/units.ts";
import { type Duration, durationMs } from "@bufbuild/protobuf/wkt";

/** The hub's config file, checked and with every default filled in. */
export interface HubConfig {
  readonly escalation: {
    readonly heartbeatIntervalMs: number;
    /** A beat is missed when it is later than the interval and this share of it; 0 to 1. */
    readonly late: number;
    readonly yellowMissed: number;
    readonly orangeMissed: number;
    /** RED when silent for longer than this; the larger of 60 s and 4 intervals unless set. */
    readonly redSilentMs: number;
  };
  readonly massSilence: { readonly minNodes: number; readonly minShare: number; readonly thawAfterMs: number };
  readonly budget: { readonly concurrent: number; readonly perHour: number; readonly siteShare: number };
  /** By node id. */
  readonly respawns: ReadonlyMap<string, RespawnSpec>;
  readonly retention: { readonly readingsMs: number; readonly decisionsMs: number; readonly incidentsMs: number };
}

/** How one node is asked by a second path, and how it is resurrected. At least one of the two is there. */
export interface RespawnSpec {
  readonly node: string;
  readonly probe?: CommandSpec;
  readonly exec?: CommandSpec;
}

/** A program to run: its file and its working directory are absolute. No end within `timeoutMs` is a failure. */
export interface CommandSpec {
  readonly command: readonly [file: string, ...args: string[]];
  readonly cwd: string;
  readonly timeoutMs: number;
}

/** What the checks know besides the text; `path` is the absolute path of the config file. */
export interface Around {
  readonly path: string;
  readonly searchPath: string;
  readonly machine: Machine;
}

type HubDraft = Draft<typeof HubConfigSchema>;

/** Reads the text of a config file; the empty text is the hub's default. Throws CONFIG_INVALID with every problem. */
export function hubConfigOf(text: string, around: Around): HubConfig {
  const draft = draftConfig(HubConfigSchema, text, around.path);
  const { escalation, massSilence, budget, respawns, retention } = draft.message;
  const redSilentMs = checkLevels(escalation, draft);
  const specs = respawns.map((respawn, index): [string, RespawnSpec] => {
    const path = `respawns[${index}]`;
    if (!respawn.probe && !respawn.exec && !draft.isBroken(path)) {
      draft.add(path, "neither probe nor exec", "allowed is at least one of them");
    }
    const probe = commandOf(respawn.probe, `${path}.probe`, draft, around);
    const exec = commandOf(respawn.exec, `${path}.exec`, draft, around);
    return [respawn.node, { node: respawn.node, ...(probe && { probe }), ...(exec && { exec }) }];
  });
  draft.finish();
  return {
    escalation: {
      heartbeatIntervalMs: millis(escalation?.heartbeatInterval),
      late: escalation?.late ?? 0,
      yellowMissed: escalation?.yellowMissed ?? 0,
      orangeMissed: escalation?.orangeMissed ?? 0,
      redSilentMs,
    },
    massSilence: {
      minNodes: massSilence?.minNodes ?? 0,
      minShare: massSilence?.minShare ?? 0,
      thawAfterMs: millis(massSilence?.thawAfter),
    },
    budget: {
      concurrent: budget?.concurrent ?? 0,
      perHour: budget?.perHour ?? 0,
      siteShare: budget?.siteShare ?? 0,
    },
    respawns: new Map(specs),
    retention: {
      readingsMs: millis(retention?.readings),
      decisionsMs: millis(retention?.decisions),
      incidentsMs: millis(retention?.incidents),
    },
  };
}

/**
 * Levels must come in their order, each later than the one before. Returns RED's silence: the larger of 60 s and 4
 * intervals unless it is set, so that all figures scale with the heartbeat.
 */
function checkLevels(escalation: Escalation | undefined, draft: HubDraft): number {
  const intervalMs = millis(escalation?.heartbeatInterval);
  const { yellowMissed = 0, orangeMissed = 0, late = 0, redSilent } = escalation ?? {};
  if (orangeMissed <= yellowMissed) {
    const saw = `ORANGE after ${orangeMissed} missed does not come after YELLOW at ${yellowMissed}`;
    draft.add("escalation.orange_missed", saw, `allowed is at least ${yellowMissed + 1}`);
  }
  const redMs = redSilent ? millis(redSilent) : Math.max(60_000, 4 * intervalMs);
  // The grace of being late is given once: each beat is expected an interval after the one before.
  const orangeMs = intervalMs * (orangeMissed + late);
  if (redMs <= orangeMs && !draft.isBroken("escalation.red_silent")) {
    const source = redSilent ? "" : " by default";
    const saw = `RED after ${printDuration(redMs)}${source} does not come after ORANGE at ${printDuration(orangeMs)}`;
    draft.add("escalation.red_silent", saw, `allowed is more than ${printDuration(orangeMs)}`);
  }
  return redMs;
}

function commandOf(
  line: CommandLine | undefined,
  path: string,
  draft: HubDraft,
  { path: file, searchPath, machine }: Around,
): CommandSpec | undefined {
  if (!line) return undefined;
  const cwd = resolve(dirname(file), line.cwd);
  const [program = "", ...args] = line.command;
  const timeoutMs = millis(line.timeout);
  if (!machine.isFolder(cwd)) {
    draft.add(`${path}.cwd`, `there is no folder ${cwd}`, "allowed is an existing folder");
    return undefined;
  }
  if (draft.isBroken(`${path}.command`)) return undefined;
  const found = machine.findProgram(program, cwd, searchPath);
  if ("file" in found) return { command: [found.file, ...args], cwd, timeoutMs };
  const { saw, allowed } = programProblem(program, found.refused);
  draft.add(`${path}.command[0]`, saw, allowed, nearest(programName(program), machine.programs(searchPath)));
  return undefined;
}

function millis(duration: Duration | undefined): number {
  return duration ? durationMs(duration) : 0;
}
