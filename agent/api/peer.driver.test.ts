import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Peer } from "./admission.ts";
import { peerOf } from "./peer.driver.ts";

const nobody = 65_534;

test.skipIf(process.getuid?.() !== 0)(
  "a workload that hid its environment was taken for a person: whose child it is can be seen all the same",
  async () => {
    const dir = mkdtempSync(join(tmpdir(), "bf-peer-"));
    const path = join(dir, "s");
    const asked = Promise.withResolvers<Peer>();
    const server = net.createServer((socket) => {
      process.seteuid?.(nobody); // an agent that is not root may not read the environment of root's processes
      asked.resolve(peerOf(socket));
      process.seteuid?.(0);
      socket.destroy();
    });
    await new Promise<void>((listening) => server.listen(path, listening));
    const child = spawn(process.execPath, ["-e", `require("net").connect(${JSON.stringify(path)})`], {
      stdio: "ignore",
    });
    try {
      expect(await asked.promise).toEqual({ is: "helper", pid: child.pid });
    } finally {
      child.kill("SIGKILL");
      server.close();
      rmSync(dir, { recursive: true, force: true });
    }
  },
);
