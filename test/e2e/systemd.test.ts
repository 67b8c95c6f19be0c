// A real systemd as process 1 of an image of its own; the full form, with the image made, is `npm run prove -- init`.
import { beforeAll, expect, test } from "vitest";
import { initShort } from "../prove/init.ts";
import { broken } from "../prove/trial.ts";
import { cachedImage, cannotBoot } from "../systemd/image.ts";
import { built } from "./built.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

test("GRC-10 GRC-12 GRC-7 installed under systemd: killed with its agent and watchdog, restarted and rebooted, all is back, and what a person stopped stays stopped, all of it while the kill switch is on", async (context) => {
  const because = cannotBoot();
  if (because) return context.skip(`no init can be booted here: ${because}`);
  if (!cachedImage()) return context.skip("no root image is there yet: as root, `npm run prove -- init` makes one");
  const rows = await initShort.run({ rounds: 1, seed: 1, say: (line) => console.log(`  ${line}`) });
  for (const row of rows) console.log(`  ${row.name}: ${row.values.join(", ")} ms`);
  expect(rows.length).toBeGreaterThan(2);
  expect(broken(rows)).toEqual([]);
});
