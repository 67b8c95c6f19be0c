import { setTimeout as pause } from "node:timers/promises";
import { interruption } from "@blueflame/shared/cli/run.ts";
import { Fault } from "@blueflame/shared/errors/fault.ts";
import { type Incident, IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import type { GetHubResponse } from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import type { HubClient } from "./hub-client.ts";
import { type SeenNode, scrollMost, topScreen } from "./top-screen.ts";

const paintMs = 1000;
const hubMs = 2000;
const againMs = 1000;

const enter = "\u001b[?1049h\u001b[?25l";
const leave = "\u001b[?25h\u001b[?1049l";

/**
 * `blueflame top`: the fleet on the whole terminal until `q` or Ctrl-C, repainted once a second and on news. A hub that goes
 * away is said to be stale and tried again. The terminal is restored however it ends. USAGE without a terminal.
 */
export async function top(hub: HubClient): Promise<void> {
  const { stdin, stdout } = process;
  if (!stdout.isTTY || !stdin.isTTY)
    throw new Fault("USAGE", "top needs a terminal; `blueflame nodes --watch` does not");
  // The first question is asked before the screen is taken, so that an unreachable hub is a plain message.
  const screen = state(await hub.ask((client, signal) => client.getHub({}, { signal })));
  const quit = new AbortController();
  const repaint = () =>
    stdout.write(
      `\u001b[H${screen
        .lines(stdout)
        .map((line) => `${line}\u001b[K`)
        .join("\r\n")}\u001b[J`,
    );
  const key = (pressed: Buffer) => {
    for (const one of keysOf(pressed.toString())) {
      if (one === "q" || one === "Q") quit.abort();
      // Raw mode swallows the terminal's own Ctrl-C.
      else if (one === "\u0003") process.kill(process.pid, "SIGINT");
      else screen.scroll(steps[one] ?? 0);
    }
    repaint();
  };
  const restore = () => {
    stdin.setRawMode(false);
    stdout.write(leave);
  };
  process.once("exit", restore);
  stdout.write(enter);
  stdin.setRawMode(true).resume().on("data", key);
  stdout.on("resize", repaint);
  const timer = setInterval(repaint, paintMs);
  const ended = AbortSignal.any([quit.signal, interruption()]);
  try {
    repaint();
    await Promise.all([
      keep(ended, screen, async () => {
        for await (const { node } of until(
          ended,
          hub.watch((client, signal) => client.watchNodes({}, { signal })),
        )) {
          if (node !== undefined) screen.seen({ node, atMs: performance.now() });
        }
      }),
      keep(
        ended,
        screen,
        async () => {
          for await (const { incident } of until(
            ended,
            hub.watch((client, signal) => client.watchIncidents({}, { signal })),
          )) {
            if (incident !== undefined) screen.changed(incident);
          }
        },
        "quiet",
      ),
      keep(ended, screen, async () => {
        for (;;) {
          screen.heard(await hub.ask((client, signal) => client.getHub({}, { signal })));
          await pause(hubMs, undefined, { signal: ended });
        }
      }),
    ]);
    interruption().throwIfAborted();
  } finally {
    clearInterval(timer);
    stdout.off("resize", repaint);
    stdin.off("data", key).pause();
    process.off("exit", restore);
    restore();
  }
}

const steps: Readonly<Record<string, number>> = {
  j: 1,
  k: -1,
  "\u001b[B": 1,
  "\u001b[A": -1,
  "\u001bOB": 1,
  "\u001bOA": -1,
};
const esc = "\u001b";
const keys = new RegExp(`${esc}[[O][A-Za-z]|[\\s\\S]`, "gu");

/** Keys that were pressed quickly come in one piece; an arrow is three characters. */
function keysOf(text: string): readonly string[] {
  return text.match(keys) ?? [];
}

/** Runs `task` again and again until the end, and says on screen what failed. */
async function keep(
  ended: AbortSignal,
  screen: ReturnType<typeof state>,
  task: () => Promise<void>,
  loud: "loud" | "quiet" = "loud",
): Promise<void> {
  while (!ended.aborted) {
    try {
      await task();
    } catch (error) {
      if (ended.aborted) return;
      if (!(error instanceof Fault)) throw error;
      // A watch of incidents is silent while nothing happens; only the others can tell that the hub is gone.
      if (loud === "loud") screen.lost(error.saw);
    }
    await pause(againMs, undefined, { signal: ended }).catch(() => {});
  }
}

/** The messages until the end; then the stream is left at once, even if it is silent. */
async function* until<Message>(ended: AbortSignal, messages: AsyncGenerator<Message>): AsyncGenerator<Message> {
  const end = new Promise<"end">((resolve) => {
    if (ended.aborted) resolve("end");
    ended.addEventListener("abort", () => resolve("end"), { once: true });
  });
  for (;;) {
    const next = await Promise.race([messages.next(), end]);
    if (next === "end") {
      void messages.return(undefined).catch(() => {});
      return;
    }
    if (next.done) return;
    yield next.value;
  }
}

/** What is known so far; every method is one piece of news. */
function state(first: GetHubResponse) {
  const nodes = new Map<string, SeenNode>();
  const incidents = new Map<string, Incident>();
  let hub = first;
  let staleSinceMs: number | undefined;
  let because = "";
  let scroll = 0;
  const view = () => ({
    hub,
    nodes: [...nodes.values()].sort((a, b) => b.node.level - a.node.level || (a.node.id < b.node.id ? -1 : 1)),
    incidents: [...incidents.values()].sort((a, b) => (a.id < b.id ? 1 : -1)),
    staleSinceMs,
    because,
    scroll,
  });
  return {
    seen(one: SeenNode) {
      nodes.set(one.node.id, one);
    },
    changed(incident: Incident) {
      if (incident.state === IncidentState.CLOSED) incidents.delete(incident.id);
      else incidents.set(incident.id, incident);
    },
    heard(news: GetHubResponse) {
      hub = news;
      staleSinceMs = undefined;
    },
    lost(why: string) {
      staleSinceMs ??= performance.now();
      because = why;
    },
    scroll(by: number) {
      scroll = Math.max(0, Math.min(scrollMost(view()), scroll + by));
    },
    lines: ({ rows, columns }: { rows: number; columns: number }) =>
      topScreen(view(), { rows, columns }, performance.now()),
  };
}
