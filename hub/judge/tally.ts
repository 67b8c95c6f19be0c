import type { Level } from "../escalation/state.ts";

/** Counts since the start of the hub, for the metrics. */
export interface Tally {
  readonly levelChanges: Record<"green" | "yellow" | "orange" | "red", number>;
  readonly respawns: Record<"started" | "failed" | "alive" | "refused", number>;
  ordersSent: number;
  alerts: number;
  incidentsOpened: number;
  incidentsClosed: number;
  detectSeconds: { sum: number; count: number };
  recoverSeconds: { sum: number; count: number };
  level(to: Level): void;
  detect(ms: number | undefined): void;
  recover(ms: number | undefined): void;
}

const words = { GREEN: "green", YELLOW: "yellow", ORANGE: "orange", RED: "red" } as const;

export function emptyTally(): Tally {
  const add = (to: { sum: number; count: number }, ms: number | undefined) => {
    if (ms === undefined) return;
    to.sum += ms / 1000;
    to.count += 1;
  };
  return {
    levelChanges: { green: 0, yellow: 0, orange: 0, red: 0 },
    respawns: { started: 0, failed: 0, alive: 0, refused: 0 },
    ordersSent: 0,
    alerts: 0,
    incidentsOpened: 0,
    incidentsClosed: 0,
    detectSeconds: { sum: 0, count: 0 },
    recoverSeconds: { sum: 0, count: 0 },
    level(to) {
      this.levelChanges[words[to]] += 1;
    },
    detect(ms) {
      add(this.detectSeconds, ms);
    },
    recover(ms) {
      add(this.recoverSeconds, ms);
    },
  };
}
