/**
 * Built-in modules that are needed only when something has gone wrong. Loading them with the program would cost a watchdog that has
 * nothing to do 2 MB of its 10 (measured on Node 24).
 */

/** 0.7 MB. */
export function onPromises() {
  return process.getBuiltinModule("node:fs/promises");
}

/** 1.4 MB. */
export function crypto() {
  return process.getBuiltinModule("node:crypto");
}
