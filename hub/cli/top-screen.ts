import type { Column } from "@blueflame/shared/cli/table.ts";
import { layOut, tableLines } from "@blueflame/shared/cli/table.ts";
import { clean, displayWidth, formatDuration, paint } from "@blueflame/shared/cli/text.ts";
import type { Incident } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { GetHubResponse, Node } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { ageMs, incidentColumns, nodeColumns } from "./columns.ts";

/** A node and when it was told, so that its age goes on counting between two messages. */
export interface SeenNode {
  readonly node: Node;
  readonly atMs: number;
}

/** Everything `top` shows. */
export interface TopView {
  readonly hub: GetHubResponse | undefined;
  readonly nodes: readonly SeenNode[];
  readonly incidents: readonly Incident[];
  /** Set while the hub cannot be heard: what is shown is old. */
  readonly staleSinceMs: number | undefined;
  readonly because: string;
  /** First node row that is shown. */
  readonly scroll: number;
}

/**
 * The screen as exactly `rows` lines of at most `columns` columns. What does not fit is counted, not silently left out; a line
 * that is too long ends with `…`.
 */
export function topScreen(view: TopView, size: { rows: number; columns: number }, nowMs: number): string[] {
  const head = headLines(view, nowMs);
  const incidents = incidentLines(view, size.columns);
  const nodesRoom = Math.max(2, size.rows - head.length - incidents.length - 1);
  const body = nodeLines(view, nowMs, nodesRoom, size.columns);
  const filled = [...head, ...body, ...Array<string>(Math.max(0, nodesRoom - body.length)).fill(""), ...incidents];
  const foot = paint("faint", "q quit · ↑↓ or j k scroll");
  return [...filled.slice(0, Math.max(0, size.rows - 1)), foot].map((line) => cut(line, size.columns));
}

/** How far `top` may scroll. */
export function scrollMost(view: TopView): number {
  return Math.max(0, view.nodes.length - 1);
}

function headLines({ hub, staleSinceMs, because }: TopView, nowMs: number): string[] {
  const lines = [];
  if (hub === undefined) lines.push(paint("strong", "Blue Flame · asking the hub …"));
  else {
    const counts = [
      paint("worst", `${hub.red} red`),
      paint("bad", `${hub.orange} orange`),
      paint("warn", `${hub.yellow} yellow`),
      paint("good", `${hub.green} green`),
    ];
    lines.push(paint("strong", clean(hub.verdict)), `${counts.join("  ")}  ·  ${hub.openIncidents} open incidents`);
    if (hub.frozen.length > 0) lines.push(paint("warn", clean(`Escalation is frozen: ${hub.frozen.join(", ")}`)));
  }
  if (staleSinceMs !== undefined) {
    const since = formatDuration(nowMs - staleSinceMs);
    lines.push(paint("worst", clean(`STALE for ${since}: ${because}. Trying again.`)));
  }
  return [...lines, ""];
}

function nodeLines(view: TopView, nowMs: number, room: number, columns: number): string[] {
  const current: readonly Column<SeenNode>[] = nodeColumns.map((column) => ({
    title: column.title,
    right: column.right ?? false,
    value: (seen) => (column.title === "LAST BEAT" ? age(seen, nowMs) : column.value(seen.node)),
    tone: (seen) => column.tone?.(seen.node),
  }));
  const from = Math.min(view.scroll, scrollMost(view));
  const fits = view.nodes.length - from <= room - 1;
  const shown = view.nodes.slice(from, from + (fits ? room - 1 : room - 2));
  const layout = layOut(shown, current);
  const lines = tableLines(shown, current, layout, { headers: true });
  const below = view.nodes.length - from - shown.length;
  const above = from > 0 ? `${from} above, ` : "";
  return below > 0 ? [...lines, paint("faint", cut(`… ${above}${below} below, none worse`, columns))] : lines;
}

function age({ node, atMs }: SeenNode, nowMs: number): string {
  const then = ageMs(node.lastBeatAgo);
  return then === undefined ? "never" : formatDuration(then + nowMs - atMs);
}

const incidentsMost = 5;
/** What the screen has no room for: `blueflame incidents` shows it. */
const tooMuch = new Set(["INCIDENT", "DETECTED", "RECOVERED IN"]);

function incidentLines({ incidents }: TopView, columns: number): string[] {
  if (incidents.length === 0) return [];
  const shown = incidents.slice(0, incidentsMost);
  const chosen = incidentColumns.filter(({ title }) => !tooMuch.has(title));
  const more = incidents.length - shown.length;
  return [
    "",
    ...tableLines(shown, chosen, layOut(shown, chosen), { headers: true }),
    ...(more > 0 ? [cut(`… ${more} more open incidents`, columns)] : []),
  ];
}

const esc = "\u001b";
/** A colour sequence, or one character. */
const pieces = new RegExp(`${esc}\\[[0-9;]*m|[\\s\\S]`, "gu");

/** Cuts a line that may hold colour sequences to `columns`, and ends the colour where it cut. */
function cut(line: string, columns: number): string {
  if (displayWidth(line) <= columns) return line;
  let kept = "";
  let width = 0;
  for (const piece of line.match(pieces) ?? []) {
    if (piece.length > 1 && piece.startsWith(esc)) kept += piece;
    else {
      width += displayWidth(piece);
      if (width > columns - 1) break;
      kept += piece;
    }
  }
  return `${kept}${line.includes(esc) ? `${esc}[0m` : ""}…`;
}
