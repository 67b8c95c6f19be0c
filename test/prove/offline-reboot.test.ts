// The short form of `npm run prove -- offline-reboot`, which promises seconds.
import { beforeAll, expect, test } from "vitest";
import { canMount } from "../contract/small-disk.ts";
import { built } from "../e2e/built.ts";
import { provedSaying } from "../e2e/proved.ts";
import { offlineReboot } from "./offline-reboot.ts";

beforeAll(() => built("blueflame-agent", "risk-firewall"));

test.skipIf(!canMount())(
  "CARD-4 PHX-5 without a hub, with another boot id and a torn config file all workloads are back, with their state and their last config (needs the right to mount)",
  async () => {
    expect(await provedSaying(offlineReboot, 1)).toContain("1 reboots without a hub, 1 of them onto a torn config");
  },
);
