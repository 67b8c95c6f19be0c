import { seeded } from "@blueflame/shared/random/random.ts";
import { expect, test } from "vitest";
import { provenSearch } from "./canary-control.ts";
import { canaryOf, named, of, word } from "./canary-forms.ts";

test("the search was called blind once in 80 runs: a short canary lay across a border of the store's log, which writes a header there", async () => {
  const chance = seeded(139);
  // After the first record of 32,740 bytes the second one's value, of eleven, begins five before 32 KiB.
  const canaries = [named("value", chance, 32_715), named("value", chance, 11)];
  await expect(provenSearch(canaries)).resolves.toBeUndefined();
});

test("a search that does not find what lies open is called blind, beside however many that it finds", async () => {
  const chance = seeded(1);
  const found = Array.from({ length: 20 }, () => named("value", chance, 40));
  // Its words are not what is written down.
  const other = of("token", word(chance, 20), word(chance, 20));
  await expect(provenSearch([...found, other])).rejects.toThrow("a canary (token) was not found in as it is");
  // A compression leaves nothing of it, in whichever store.
  const smooth = canaryOf("token", Buffer.from("ab".repeat(5000)));
  await expect(provenSearch([...found, smooth])).rejects.toThrow("a canary (token) was not found in the tables");
});
