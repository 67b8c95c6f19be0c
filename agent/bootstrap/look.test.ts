import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Look } from "./look.ts";
import { plan } from "./plan.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "bf-look-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** A program that says its version and has nothing to say of its store. */
function program(): readonly string[] {
  const script = join(dir, "program.mjs");
  writeFileSync(script, 'if (process.argv[2] === "--version") console.log("1.2.3"); else process.exitCode = 1;');
  return [process.execPath, script];
}
const look = () =>
  new Look({ dataDir: dir, asked: { auto: false, start: false }, self: program(), lastAutoAgoMs: undefined }).look();
const started = (cwd: string) =>
  JSON.stringify({ format: 1, program: program(), words: ["up", "--config", "agent.yaml"], cwd, uid: 0, gid: 0 });

test("the folder from which `up` was typed is gone: a sound program is not called damaged", async () => {
  const gone = join(dir, "gone");
  mkdirSync(gone);
  writeFileSync(join(dir, "start.json"), started(gone));
  rmSync(gone, { recursive: true });
  const found = await look();
  expect(found.program).toMatchObject({ starts: true, version: "1.2.3", because: "" });
  expect(found.works).toEqual(program());
  expect(found.config).toMatchObject({ path: join(gone, "agent.yaml"), is: "missing" });
  expect(plan(found, []).troubles.map(({ code }) => code)).not.toContain("PROGRAM_DAMAGED");
});

test.each([
  ["cut", '{"format": 1, "program": ["/'],
  ["of another format", '{"format": 2}'],
])("a start.json that is %s is not told as if nobody had written down how the node was started", async (_is, text) => {
  writeFileSync(join(dir, "start.json"), text);
  const found = await look();
  const unread = expect.stringContaining(`\`${join(dir, "start.json")}\` cannot be read: `);
  expect(found.start).toEqual({ by: "nobody", unread });
  expect(found.config).toMatchObject({ path: undefined, is: "unknown", because: unread });
  const { verdicts, troubles } = plan(found, []);
  expect(verdicts.find(({ part }) => part === "config")).toMatchObject({ state: "warning", saw: unread });
  expect(troubles.map(({ commands }) => commands[0])).toContainEqual(
    expect.stringContaining("start.json` cannot be read"),
  );
});
