import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadPlaybook, loadPlaybooks, playbooksSeen } from "./load.driver.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "bf-playbooks-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const put = (name: string, text: string) => writeFileSync(join(folder, name), text);
const own = (name: string) => `name: ${name}\ndescription: Ours.\nsteps:\n  - restart: {}\n`;

test("GRC-3 the nine of the box are there without a folder, and an operator adds one or replaces one by its name", async () => {
  const box = await loadPlaybooks("");
  expect(box.playbooks.size).toBe(9);
  put("optimize.yaml", own("performance-optimization"));
  put("extra.yml", own("extra"));
  put("notes.txt", "no playbook");
  const { playbooks, problems } = await loadPlaybooks(folder);
  expect(problems).toEqual([]);
  expect(playbooks.size).toBe(10);
  expect(playbooks.get("performance-optimization")).toMatchObject({ added: true, description: "Ours." });
  expect(playbooks.get("restart-kernel")?.added).toBe(false);
});

test("a broken file is told by line and column, and the box's own stays in force", async () => {
  put("a.yaml", "name: restart-kernel\ndescription: Ours.\nsteps:\n  - restrat: {}\n");
  put("b.yaml", "name: [\n");
  put("c.yaml", own("twice"));
  put("d.yaml", own("twice"));
  put("e.yaml", "\xff");
  writeFileSync(join(folder, "f.yaml"), Buffer.from([0xff, 0xfe, 0x00]));
  const { playbooks, problems } = await loadPlaybooks(folder);
  expect(playbooks.get("restart-kernel")?.added).toBe(false);
  expect(playbooks.get("twice")?.added).toBe(true);
  const told = problems.join("\n");
  expect(told).toMatch(/a\.yaml:4:5 steps\[0\]\.restrat: unknown key.*did you mean "restart"\?/);
  expect(told).toMatch(/b\.yaml:\d+:\d+/);
  expect(told).toMatch(/d\.yaml: the playbook 'twice' stands in .*c\.yaml already/);
  expect(told).toMatch(/f\.yaml cannot be read/);
});

test("a folder that is not there is told, and more files than allowed are counted", async () => {
  const gone = await loadPlaybooks(join(folder, "gone"));
  expect(gone.playbooks.size).toBe(9);
  expect(gone.problems.join()).toMatch(/cannot be read/);
  for (let n = 0; n < 70; n++) put(`p${n}.yaml`, own(`p${n}`));
  const many = await loadPlaybooks(folder);
  expect(many.playbooks.size).toBe(9 + 64);
  expect(many.problems.join()).toMatch(/70 playbooks; the first 64/);
});

test("a file that changes is noticed", async () => {
  put("a.yaml", own("a"));
  const { seen } = await loadPlaybooks(folder);
  expect(await playbooksSeen(folder)).toBe(seen);
  put("a.yaml", `${own("a")}  - restart: {}\n`);
  expect(await playbooksSeen(folder)).not.toBe(seen);
});

test("one file alone can be checked", async () => {
  put("a.yaml", own("a"));
  expect((await loadPlaybook(join(folder, "a.yaml"))).name).toBe("a");
  await expect(loadPlaybook(join(folder, "none.yaml"))).rejects.toMatchObject({ code: "CONFIG_NOT_FOUND" });
  await expect(loadPlaybook(folder)).rejects.toMatchObject({ code: "CONFIG_INVALID" });
});
