#!/usr/bin/env node
import { launch } from "../shared/cli/launch.mjs";

// Programs of their own: the watchdog so that it stays small, the emergency so that it works when the agent does not.
const own = ["watchdog", "emergency"].find((word) => word === process.argv[2]);
const program = `blueflame-${own ?? "agent"}`;
await launch(new URL(`../dist/${program}.cjs`, import.meta.url));
