import { userInfo } from "node:os";

/** Who asks, for the audit. Behind sudo it is who typed it. */
export function personHere(): string {
  if (process.env.SUDO_USER) return process.env.SUDO_USER;
  try {
    return userInfo().username;
  } catch {
    return `uid ${process.getuid?.() ?? "unknown"}`; // an id without an entry in the user database
  }
}
