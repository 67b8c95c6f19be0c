import { defineConfig } from "vitest/config";

const never = ["**/node_modules/**", "dist/**", "out/**", ".blueflame/**"];
const whole = ["test/e2e/**/*.test.ts", "test/prove/**/*.test.ts"];
// Those that measure what the product promises: alone, one file after the other, so that they do not measure each other.
const timed = ["test/e2e/{prove,recovery-*}.test.ts"];
// Real processes mostly wait: more of them than there are cores.
const workers = 4;

export default defineConfig({
  test: {
    pool: "forks",
    // A bound for what hangs, not for what is slow: machines are shared.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    projects: [
      {
        extends: true,
        test: {
          name: "parts",
          include: ["**/*.test.ts"],
          exclude: [...never, ...whole],
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
          exclude: never,
          maxWorkers: 1,
          fileParallelism: false,
          testTimeout: 600_000,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
