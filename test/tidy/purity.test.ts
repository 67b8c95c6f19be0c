import { describe, expect, test } from "vitest";
import { ourCode, textOf } from "./sources.ts";
import { touches } from "./world.ts";

// What may touch the world, by its name or place alone (the architecture in CONTRIBUTING.md). Everything else decides.
const mayTouch = [
  /\.driver\.ts$/,
  /(^|\/)main\.ts$/,
  /\/store\//,
  /\/cli\//,
  /^agent\/(watchdog|bootstrap)\//,
  /^shared\/rpc\//,
  /\.test\.ts$/,
  /\.contract\.ts$/,
];
const deciders = ourCode.filter(
  (path) => /^(agent|hub|shared)\//.test(path) && !mayTouch.some((pattern) => pattern.test(path)),
);

test("there are deciders to look at", () => expect(deciders.length).toBeGreaterThan(10));

test.each(deciders)("%s decides, and touches no clock, chance, process, network or disk", (path) => {
  const found = touches(path, textOf(path));
  expect(found.map(({ line, saw, instead }) => `${path}:${line} has ${saw}; it belongs to ${instead}`)).toEqual([]);
});

describe("the rule itself", () => {
  const lines = (text: string) => touches("x.ts", text).map(({ saw }) => saw);

  test.each([
    ["const a = Date.now();", "Date.now"],
    ["const a = new Date();", "new Date()"],
    ["const a = Math.random();", "Math.random"],
    ["setTimeout(() => {}, 5);", "setTimeout"],
    ["const a = process.pid;", "process"],
    ["const a = performance.now();", "performance"],
    ["console.log(1);", "console"],
    ['import { readFileSync } from "node:fs";', 'import "node:fs"'],
    ['import { createHash, randomBytes } from "node:crypto";', 'import "node:crypto"'],
    ['import { Server } from "@grpc/grpc-js";', 'import "@grpc/grpc-js"'],
    ['import { spawnIt } from "./process.driver.ts";', 'import "./process.driver.ts"'],
  ])("it sees %s", (text, saw) => expect(lines(text)).toEqual([saw]));

  test.each([
    "const a = new Date(5);",
    'import type { Server } from "node:net";',
    'import { type Server } from "node:net";',
    'import { createHash } from "node:crypto";',
    'import { join } from "node:path";',
    "const a = (process: { pid: number }) => process.pid;",
    "const a = { process: 1 }; const b = a.process; // setTimeout",
    'const a = "Date.now()";',
    "function f() { const process = 1; return process; }",
  ])("it lets pass %s", (text) => expect(lines(text)).toEqual([]));
});
