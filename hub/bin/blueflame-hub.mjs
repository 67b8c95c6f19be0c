#!/usr/bin/env node
import { launch } from "../../shared/cli/launch.mjs";

await launch(new URL("../../dist/blueflame-hub.mjs", import.meta.url));
