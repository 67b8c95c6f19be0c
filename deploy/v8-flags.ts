/**
 * V8's flags for the agent, which must stay small on a small machine: 64 MB of old space is three times what it needs at rest.
 * Baked into the executable (package.ts); `npm run prove -- rest` measures with them.
 */
export const agentV8Flags: readonly string[] = [
  "--max-old-space-size=64",
  // With half of that twice as much of what lives for a minute only grows old, and costs a whole collection sooner.
  "--max-semi-space-size=2",
  "--optimize-for-size",
  // One thread for V8's own work, and one optimising compiler instead of two: 3 MB less. Without any, or in lite mode, the agent
  // takes half as much CPU again.
  "--v8-pool-size=1",
  "--no-maglev",
  // At rest hundreds of functions are just warm enough to be optimised, and with each collection what was optimised is given up
  // again: a fifth of all CPU went there. So only what is hot is: some seconds of a thousand commits a second.
  "--invocation-count-for-turbofan=100000",
  // By itself the old space may grow by a tenth (2 MB) before all of it is looked through again, 70 to 100 ms of CPU: twice a
  // minute at rest. With two fifths it is once in four minutes, for 6 MB at the most.
  "--heap-growing-percent=40",
  // Nor is code thrown away that runs once a minute, only to be parsed again.
  "--no-flush-bytecode",
];
