import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { type Told, tellNode } from "./node-story.ts";

const folder = new URL("./node/", import.meta.url);
const stories = readdirSync(folder)
  .filter((name) => name.endsWith(".txt"))
  .sort();
const told = new Map<string, Told>();
const tellIt = (name: string): Told => {
  const known = told.get(name) ?? tellNode(readFileSync(new URL(name, folder), "utf8"));
  told.set(name, known);
  return known;
};

test.each(stories)("SYN-4 the story %s goes as written", async (name) => {
  await expect(tellIt(name).text).toMatchFileSnapshot(`./node/${name}`);
});

/** Every incident of the corpus that is over or has come as far as it can. */
const incidents = () => stories.flatMap((name) => tellIt(name).incidents.map((one) => ({ story: name, ...one })));

test("SYN-14 at least 95 of 100 failures over the corpus that something on the node can heal are healed with no person", () => {
  const all = incidents().filter(({ story }) => !story.startsWith("person-"));
  const healed = all.filter(({ facts, personNeeded }) => facts.recoveredWallMs !== undefined && !personNeeded);
  console.log(`healed with no person: ${healed.length} of ${all.length}`);
  expect(healed.length / all.length).toBeGreaterThanOrEqual(0.95);
});

test("GRC-14 the average downtime over the corpus is under 30 s", () => {
  const took = incidents().flatMap(({ facts }) => (facts.recoverTookMs === undefined ? [] : [facts.recoverTookMs]));
  const mean = took.reduce((sum, ms) => sum + ms, 0) / took.length;
  console.log(`average time to recover: ${Math.round(mean)} ms over ${took.length} incidents`);
  expect(mean).toBeLessThan(30_000);
});
