import { defineConfig } from "vitest/config";
import { inRoot } from "./deploy/root.ts";
import { WaitAndWork } from "./test/sequence.ts";

// What Node has compiled once it need not compile again: neither the test processes nor the hundreds of programs that they start.
process.env.NODE_COMPILE_CACHE ??= inRoot("out", "compile-cache");

const never = ["**/node_modules/**", "dist/**", "out/**", ".blueflame/**"];
const whole = ["test/e2e/**/*.test.ts", "test/prove/**/*.test.ts"];
// Those that measure what the product promises within seconds: after the others and two at a time, as they wait more than they work.
// One of them starves the machine, and so is alone.
const timed = [
  "test/e2e/{many,prove,recovery-grc,recovery-order,recovery-start,recovery-stress}.test.ts",
  "test/prove/{offline-reboot,store-speed}.test.ts",
];
const starving = ["test/e2e/recovery-stress.test.ts"];
// Real processes mostly wait: more of them than there are cores.
const workers = 5;

export default defineConfig({
  test: {
    pool: "forks",
    setupFiles: ["test/support/signals.setup.ts"],
    // A bound for what hangs, not for what is slow: machines are shared.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    expect: { poll: { timeout: 60_000 } },
    sequence: { sequencer: WaitAndWork },
    projects: [
      {
        extends: true,
        test: {
          name: "parts",
          include: ["**/*.test.ts"],
          exclude: [...never, ...whole],
          isolate: false,
          maxWorkers: workers,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "whole",
          include: whole,
          exclude: [...never, ...timed],
          maxWorkers: workers,
          testTimeout: 600_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "timed",
          include: timed,
          exclude: [...never, ...starving],
          maxWorkers: 2,
          testTimeout: 600_000,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: "starving",
          include: starving,
          exclude: never,
          maxWorkers: 1,
          testTimeout: 600_000,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
