#!/usr/bin/env node
import { launch } from "../shared/cli/launch.mjs";

// Programs of their own: the watchdog so that it stays small, the emergency so that it works when the agent does not.
const first = process.argv
  .slice(2)
  .find((word, at, words) => !/^--data-dir(=|$)/.test(word) && words[at - 1] !== "--data-dir");
const own = ["watchdog", "emergency"].find((word) => word === first);
const program = `blueflame-${own ?? "agent"}`;
await launch(new URL(`../dist/${program}.cjs`, import.meta.url));
