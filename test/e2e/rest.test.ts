// The short form of `npm run prove -- rest`: fifty workloads at rest, seconds after their start.
import { beforeAll, expect, test } from "vitest";
import { restQuick } from "../prove/rest.ts";
import { findTool } from "../tools.ts";
import { built } from "./built.ts";
import { proved } from "./proved.ts";

beforeAll(() => built("blueflame-agent", "blueflame-watchdog", "blueflame-emergency"));

test.skipIf(!findTool("cc"))(
  "with fifty workloads agent and watchdog hold less than 60 MB of their own together (needs a C compiler)",
  async () => {
    expect(await proved(restQuick, 3)).toBe(2);
  },
);
