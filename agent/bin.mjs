#!/usr/bin/env node
import { launch } from "../shared/cli/launch.mjs";

await launch(new URL("../dist/blueflame-agent.cjs", import.meta.url));
