import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  PlaybookInfoSchema,
  RunPlaybookResponseSchema,
} from "@blueflame/shared/gen/blueflame/node/v1/node_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type CliRig, openCliRig } from "../../test/support/cli-rig.ts";
import { type MemoryNode, memoryNode } from "../../test/support/node.ts";
import { boxPlaybooks } from "../playbooks/box.ts";
import { playbookOf } from "../playbooks/draft.ts";
import { stepWords } from "../playbooks/words.ts";

let node: MemoryNode;
let rig: CliRig;

beforeAll(async () => {
  node = memoryNode(["web"]);
  rig = await openCliRig(node);
});
afterAll(() => rig.close());
beforeEach(() => {
  node.playbookList = boxPlaybooks.map(({ file, text }) => {
    const { name, description, steps, added } = playbookOf(text, file, false);
    return create(PlaybookInfoSchema, { name, description, added, steps: steps.map(stepWords), trust: 0.5, runs: 3n });
  });
});

const cli = (...args: string[]) => rig.cli("playbooks", ...args);

test("GRC-3 the nine playbooks are listed, and one is shown with its steps", async () => {
  const { code, out } = await cli();
  expect(code).toBe(0);
  expect(out.trim().split("\n")).toHaveLength(10);
  expect(out).toMatch(/^PLAYBOOK +FROM +RUNS +TRUST +WHAT FOR\n/);
  const one = await cli("restart-service");
  expect(one.out).toMatch(/RUNS +3/);
  expect(one.out).toContain("2. restart it\n");
  const json = await cli("-o", "json");
  expect(JSON.parse(json.out)).toHaveLength(9);
  const wrong = await cli("restart-servise");
  expect(wrong).toMatchObject({ code: 3, err: expect.stringMatching(/did you mean 'restart-service'\?/) });
});

test("GRC-3 a person runs one on a workload, or rehearses it, and sees each step", async () => {
  const rehearsed = await cli("run", "restart-kernel", "--workload", "web", "--dry-run");
  expect(rehearsed).toMatchObject({ code: 0 });
  expect(rehearsed.out).toMatch(/restart it +would/);
  expect(node.actions).toEqual([]);
  const real = await cli("run", "restart-kernel", "--workload", "web", "-o", "json");
  expect(JSON.parse(real.out)).toMatchObject({ ok: true, steps: [{ outcome: "done" }, { outcome: "done" }] });
  expect(node.actions).toMatchObject([{ action: "playbook.restart-kernel" }]);
  expect(await cli("run", "none")).toMatchObject({ code: 3 });
});

test("a run that has failed says so by its exit code, and which step it was", async () => {
  const runPlaybook = node.runPlaybook;
  node.runPlaybook = async () =>
    create(RunPlaybookResponseSchema, {
      ok: false,
      steps: [
        { step: "restart it", outcome: "done", because: "asked" },
        { step: "run /bin/rm", outcome: "refused", because: "rm removes data" },
      ],
    });
  try {
    const { code, out, err } = await cli("run", "restart-kernel", "--workload", "web");
    expect(code).toBe(6);
    expect(out).toMatch(/run \/bin\/rm +refused/);
    expect(err).toMatch(/has not done all of it: rm removes data/);
  } finally {
    node.runPlaybook = runPlaybook;
  }
});

test("GRC-3 a file of one's own is checked before any agent reads it, and one of the box is where to begin", async () => {
  const begun = await cli("resource-cleanup", "--yaml");
  const mine = join(rig.dir, "mine.yaml");
  writeFileSync(mine, begun.out.replace("name: resource-cleanup", "name: mine"));
  const good = await cli("check", mine);
  expect(good).toMatchObject({ code: 0, out: expect.stringMatching(/WHAT mine DOES/) });
  writeFileSync(mine, "name: mine\ndescription: Mine.\nsteps:\n  - exec: {command: [rm, -rf, x]}\n");
  expect(await cli("check", mine)).toMatchObject({
    code: 2,
    err: expect.stringMatching(/mine\.yaml:4:22 .*absolute path/),
  });
  expect(await cli("check", join(rig.dir, "none.yaml"))).toMatchObject({ code: 2 });
  expect(await cli("--yaml")).toMatchObject({ code: 2, err: expect.stringMatching(/restart-kernel/) });
});
