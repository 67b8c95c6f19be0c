import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { tell } from "./story.ts";

const folder = new URL("./escalation/", import.meta.url);
const stories = readdirSync(folder).filter((name) => name.endsWith(".txt"));

test.each(stories)("PHX-2 the story %s goes as written", async (name) => {
  const story = readFileSync(new URL(name, folder), "utf8");
  await expect(tell(story)).toMatchFileSnapshot(`./escalation/${name}`);
});

test("the stories are there", () => {
  expect(stories.length).toBeGreaterThanOrEqual(12);
});
