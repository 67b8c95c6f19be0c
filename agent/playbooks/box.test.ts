import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { boxPlaybooks } from "./box.ts";
import { playbookOf } from "./draft.ts";
import { stepWords } from "./words.ts";

const here = import.meta.dirname;
const files = readdirSync(here)
  .filter((name) => name.endsWith(".yaml"))
  .sort();

/** The packaged binary has no folder to read them from: `box.ts` holds their text, and what it means, so that no start has to read it. */
function boxSource(): string {
  const entries = files.map((file) => {
    const text = readFileSync(join(here, file), "utf8");
    expect(text, `${file}: these would mean something in box.ts`).not.toMatch(/[`\\]|\$\{/);
    const json = JSON.stringify(playbookOf(text, file, false));
    expect(json, `${file}: as well`).not.toMatch(/[`\\]|\$\{/);
    return `  {\n    file: "${file}",\n    text: \`${text}\`,\n    json: \`${json}\`,\n  },\n`;
  });
  return [
    "/** The playbooks of the box: the YAML files beside this one, and the `Playbook` of each as JSON. Written by `npx vitest run agent/playbooks -u`. */\n",
    "export const boxPlaybooks: readonly { readonly file: string; readonly text: string; readonly json: string }[] = [\n",
    ...entries,
    "];\n",
  ].join("");
}

test("box.ts is what the YAML files say; `npx vitest run agent/playbooks -u` writes it", async () => {
  await expect(boxSource()).toMatchFileSnapshot("box.ts");
});

test("what box.ts says that a playbook is, is what its YAML says", () => {
  for (const { file, text, json } of boxPlaybooks)
    expect(JSON.parse(json)).toStrictEqual(playbookOf(text, file, false));
});

test("GRC-3 nine playbooks come with the box: restarts, optimization, clean-up, rollback, quarantine, diagnostics, maintenance", () => {
  const named = boxPlaybooks.map(({ file, text }) => ({ file, playbook: playbookOf(text, file, false) }));
  expect(named.map(({ playbook }) => playbook.name)).toEqual([
    "daily-maintenance",
    "performance-optimization",
    "quarantine-artifacts",
    "resource-cleanup",
    "restart-kernel",
    "restart-service",
    "rollback-deployment",
    "run-diagnostics",
    "weekly-maintenance",
  ]);
  for (const { file, playbook } of named) expect(file).toBe(`${playbook.name}.yaml`);
});

test("what a playbook does stands there in words", () => {
  const words = boxPlaybooks.map(({ file, text }) => {
    const { name, description, steps } = playbookOf(text, file, false);
    return [`${name}: ${description}`, ...steps.map((step) => `  ${stepWords(step)}`)].join("\n");
  });
  expect(words.join("\n")).toMatchInlineSnapshot(`
    "daily-maintenance: Every day backups and store are checked, and what is kept beyond its bounds is removed.
      check the newest backup; goes on if it fails
      check the agent's store; goes on if it fails
      remove own logs and snapshots beyond their bounds; goes on if it fails
      remove disposable files older than 24h until the disk is 70% full, when disk_used_ratio above 70%; goes on if it fails
      tell people (medium): The daily maintenance found something that a person should look at; the audit says what., when a step before failed
    performance-optimization: A slow or overloaded workload gets room and a moment; what is still slow then is started again.
      make room on a full disk (remove disposable files older than 1h until the disk is 80% full), when disk_used_ratio above 90%; goes on if it fails
      a short burst may be over by itself (wait 5s)
      clear caches and pools (restart it), when avg_latency_ms above 900ms or p95_latency_ms above 900ms or process_cpu_ratio above 75% and it is running
      verify that it is well within 30s
    quarantine-artifacts: What crashed the sandbox is moved away, kept as evidence, and the unit runs without it.
      move its artifacts into quarantine
      tell people (high): Artifacts are in quarantine; a person looks at them and puts them back or throws them away.
      verify that it is well within 30s
    resource-cleanup: What is disposable is removed while the disk is full, and a workload that holds much memory is started again.
      remove disposable files older than 10m until the disk is 80% full, when disk_used_ratio above 80% or disk_free_inodes below 1000; goes on if it fails
      remove own logs and snapshots beyond their bounds; goes on if it fails
      give its memory back (restart it), when memory_used_ratio above 75% or ours_memory_ratio above 75% or process_memory_bytes above 256MiB and it is running
      verify that it is well within 30s, when it is unwell
    restart-kernel: A unit that is silent or stuck is started again at once.
      restart it
      verify that it is well within 30s
    restart-service: A service that does not answer is started again, after what it depends on.
      restart what it depends on and is not well, when it has dependencies; goes on if it fails
      restart it
      verify that it is well within 1m
    rollback-deployment: A deployment that lost trust is taken back to the last config that was healthy.
      go back to the last healthy config
      verify that it is well within 1m
      tell people (high): A deployment was rolled back; its config is marked bad until it changes.
    run-diagnostics: Evidence is written down while it is there; what goes on failing after a minute is started again.
      write a diagnostic bundle; goes on if it fails
      check the agent's store; goes on if it fails
      tell people (medium): Something unusual was seen; a diagnostic bundle lies in the data directory.
      an error burst may end by itself (wait 1m2s), when it is running
      it goes on failing (restart it), when error_lines above 10 or error_rate above 5% and it is running
      verify that it is well within 30s, when it is unwell
    weekly-maintenance: Every week all data is backed up anew and read back, the store is checked, and the state of the node is written down.
      back up its data; goes on if it fails
      check the newest backup; goes on if it fails
      check the agent's store; goes on if it fails
      remove own logs and snapshots beyond their bounds; goes on if it fails
      write a diagnostic bundle; goes on if it fails
      tell people (medium): The weekly maintenance found something that a person should look at; the audit says what., when a step before failed"
  `);
});
