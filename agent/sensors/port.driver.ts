import { connect } from "node:net";
import type { PartSeen } from "../meta/meta-health.ts";
import { failure } from "./verdict.ts";

/**
 * Whether somebody accepts connections there, within `timeoutMs`; undefined when the agent itself could not ask (it has run
 * out of descriptors or memory), which says nothing about the port. Never rejects.
 */
export function portAccepts(host: string, port: number, timeoutMs: number): Promise<PartSeen | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const settle = (seen: PartSeen | undefined) => {
      clearTimeout(deadline);
      socket.destroy();
      resolve(seen);
    };
    const deadline = setTimeout(
      () => settle({ value: 0, because: `nobody accepts within ${timeoutMs} ms` }),
      timeoutMs,
    );
    socket.pause(); // nothing is read that nobody looks at
    socket.on("connect", () => settle({ value: 1, because: "" }));
    socket.on("error", (error) => {
      const { unasked, because } = failure(error, error.message || "it refuses connections");
      settle(unasked ? undefined : { value: 0, because });
    });
  });
}
