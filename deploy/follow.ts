import type { IncidentJson, NodeJson } from "./fleet-json.ts";

/**
 * Turns what the hub shows into lines, one per thing that happened, each with its reason. Remembers what was said, so that it may
 * be given the same incident any number of times; an incident's history is forgotten with the hub's.
 */
export class Story {
  #said = new Set<string>();
  #levels = new Map<string, string>();

  /** The lines that are new, oldest first. */
  incidents(newestFirst: readonly IncidentJson[]): string[] {
    const lines = newestFirst.flatMap((incident) =>
      (incident.timeline ?? []).map((entry) => ({
        at: entry.at ?? "",
        key: `${incident.id} ${entry.at} ${entry.what} ${entry.because}`,
        text: `${subject(incident)}  ${(entry.what ?? "").padEnd(12)} ${entry.because ?? ""}`,
      })),
    );
    const fresh = lines.filter(({ key }) => !this.#said.has(key)).sort((a, b) => (a.at < b.at ? -1 : 1));
    // Bounded by what the hub lists: what it no longer lists cannot come back.
    this.#said = new Set(lines.map(({ key }) => key));
    return fresh.map(({ at, text }) => `${clock(at)}  ${text}`);
  }

  /** A line for each node whose level or presence changed; nothing for the first sight of a healthy one. */
  nodes(nodes: readonly NodeJson[], nowMs: number): string[] {
    return nodes.flatMap((node) => {
      const level = (node.level ?? "LEVEL_UNKNOWN").replace("LEVEL_", "");
      const now = `${level} ${node.presence ?? ""}`.trim();
      const before = this.#levels.get(node.id);
      this.#levels.set(node.id, now);
      if (before === now || (before === undefined && level === "GREEN")) return [];
      return [`${clock(new Date(nowMs).toISOString())}  ${node.id}  ${now}: ${node.because ?? ""}`];
    });
  }
}

const subject = (incident: IncidentJson) => incident.workload || incident.nodeId || "fleet";

/** Hours, minutes, seconds of a timestamp, in the reader's time zone. */
function clock(at: string): string {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? "        " : date.toTimeString().slice(0, 8);
}
