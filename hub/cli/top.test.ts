import { spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { displayWidth } from "@blueflame/shared/cli/text.ts";
import { IncidentSchema } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  GetHubResponseSchema,
  Level,
  NodeSchema,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { afterAll, afterEach, beforeAll, beforeEach, expect, type TestOptions, test } from "vitest";
import { bundled } from "../../test/support/bundle.ts";
import { type MemoryFleet, memoryFleet } from "../../test/support/fleet.ts";
import { requireTool } from "../../test/tools.ts";
import { type HttpDoor, serveHttp } from "../api/http.driver.ts";
import { type TopView, topScreen } from "./top-screen.ts";

const log = { warn: () => {} };

function view(count: number, more: Partial<TopView> = {}): TopView {
  const nodes = Array.from({ length: count }, (_, at) => ({
    node: create(NodeSchema, { id: `edge-${at}`, level: Level.GREEN, because: "beats arrive" }),
    atMs: 0,
  }));
  const hub = create(GetHubResponseSchema, { verdict: "all is well", green: count });
  return { hub, nodes, incidents: [], staleSinceMs: undefined, because: "", scroll: 0, ...more };
}

test.each([
  [24, 80],
  [10, 40],
  [5, 20],
  [60, 200],
])("a screen of %i lines and %i columns is filled and never exceeded", (rows, columns) => {
  const lines = topScreen(view(100), { rows, columns }, 0);
  expect(lines).toHaveLength(rows);
  expect(Math.max(...lines.map(displayWidth))).toBeLessThanOrEqual(columns);
});

test("nodes that do not fit are counted, above and below", () => {
  const text = topScreen(view(100, { scroll: 10 }), { rows: 20, columns: 100 }, 0).join("\n");
  expect(text).toContain("edge-10 ");
  expect(text).toMatch(/… 10 above, 7\d below, none worse/);
});

test("SYN-4 an open incident is on the screen with its cause and the remedy at work", () => {
  const diagnosis = { cause: "corruption", confidence: 0.9 };
  const incident = create(IncidentSchema, { nodeId: "edge-1", workload: "db", diagnosis, attempts: [{ rung: 5 }] });
  const text = topScreen(view(1, { incidents: [incident] }), { rows: 20, columns: 120 }, 0).join("\n");
  expect(text).toMatch(/edge-1 +db +corruption \(0\.90\) +backup restore at work/);
});

test("a lost hub is said above everything, for as long as it lasts", () => {
  const lines = topScreen(view(1, { staleSinceMs: 1000, because: "no answer" }), { rows: 20, columns: 100 }, 63_000);
  expect(lines.join("\n")).toContain("STALE for 1m02s: no answer. Trying again.");
});

/** Without tmux the test is skipped, and says what to do. */
const inTmux = (name: string, options: TestOptions, run: () => Promise<void>) =>
  test(name, options, async (context) => {
    requireTool(context, "tmux");
    await run();
  });
const socket = `bf-top-${process.pid}`;
const tmux = (...args: string[]) => spawnSync("tmux", ["-L", socket, "-f", "/dev/null", ...args], { encoding: "utf8" });
/** Each test has a session of its own: a server whose last session ends goes away, and a new one may meet it leaving. */
let session = "";
let sessions = 0;
const screen = () => tmux("capture-pane", "-p", "-t", session).stdout;
const patient = { timeout: 15_000, interval: 100 };

let folder: string;
let program: string;
let fleet: MemoryFleet;
let door: HttpDoor;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "bf-top-"));
  program = await bundled("hub/cli/main.ts");
});
afterAll(async () => {
  tmux("kill-server");
  await rm(folder, { recursive: true });
});
beforeEach(async () => {
  fleet = memoryFleet();
  for (let at = 0; at < 40; at++) fleet.putNode({ id: `edge-${at + 10}` });
  door = await serveHttp({ fleet, host: "127.0.0.1", port: 0, log });
});
afterEach(() => door.close());

/** A shell in tmux in which `top` runs, and which says how it ended. */
async function startTop(): Promise<void> {
  const script = join(folder, "run.sh");
  await writeFile(
    script,
    `echo before\n'${process.execPath}' '${program}' top --hub ${door.url}\necho ended $?\nexec cat\n`,
  );
  sessions += 1;
  session = `top${sessions}`;
  tmux("new-session", "-d", "-s", session, "-x", "120", "-y", "30", `sh ${script}`);
  await expect.poll(screen, patient).toContain("edge-10");
}

inTmux(
  "top fills the screen, follows changes, scrolls, resizes, survives its hub and gives the terminal back on q",
  { timeout: 120_000 },
  async () => {
    await startTop();
    expect(screen()).not.toContain("before");
    expect(screen()).toMatch(/below, none worse/);
    fleet.putNode({ id: "edge-99", level: Level.RED, because: "silent for 61 s" });
    await expect.poll(screen, patient).toMatch(/LEVEL[^\n]*\nedge-99 +RED/);
    fleet.putIncident({ id: "i-1", nodeId: "edge-99", summary: "edge-99 is silent" });
    await expect.poll(screen, patient).toContain("edge-99 is silent");
    tmux("send-keys", "-t", session, "j", "j", "Down");
    await expect.poll(screen, patient).toMatch(/3 above/);
    tmux("resize-window", "-t", session, "-x", "80", "-y", "15");
    await expect.poll(() => screen().trimEnd().split("\n").length, patient).toBe(15);
    const port = Number(new URL(door.url).port);
    await door.close();
    await expect.poll(screen, patient).toContain("STALE for");
    door = await serveHttp({ fleet, host: "127.0.0.1", port, log });
    await expect.poll(screen, patient).not.toContain("STALE for");
    tmux("send-keys", "-t", session, "q");
    await expect.poll(screen, patient).toContain("ended 0");
    expect(screen()).toContain("before");
    expect(screen()).not.toContain("edge-10");
    // The cursor is back, and the terminal echoes what is typed again.
    expect(tmux("display-message", "-p", "-t", session, "#{cursor_flag} #{alternate_on}").stdout.trim()).toBe("1 0");
    tmux("send-keys", "-t", session, "typed", "Enter");
    await expect.poll(screen, patient).toContain("typed");
  },
);

inTmux("Ctrl-C gives the terminal back and is 130", { timeout: 60_000 }, async () => {
  await startTop();
  tmux("send-keys", "-t", session, "C-c");
  await expect.poll(screen, patient).toContain("ended 130");
  expect(screen()).toContain("before");
  await expect.poll(() => fleet.watchers, patient).toBe(0);
});
