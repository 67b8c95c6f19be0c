import { defineConfig } from "vitest/config";

const never = ["**/node_modules/**", "dist/**", "out/**", ".blueflame/**"];
// Whole programs on real clocks: on their own, one file after the other, so that they do not measure each other.
const serial = ["test/e2e/**/*.test.ts", "test/prove/**/*.test.ts"];

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
          exclude: [...never, ...serial],
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        extends: true,
        test: {
          name: "whole",
          include: serial,
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
