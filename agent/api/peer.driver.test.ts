import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { memoryNode } from "../../test/support/node.ts";
import type { Peer, Refusal } from "./admission.ts";
import { peerOf } from "./peer.driver.ts";
import { serveLocalApi } from "./server.driver.ts";

const nobody = 65_534;

test.skipIf(process.getuid?.() !== 0)(
  "a workload that hid its environment was taken for a person: whose child it is can be seen all the same (needs root)",
  async () => {
    const dir = mkdtempSync(join(tmpdir(), "bf-peer-"));
    const path = join(dir, "s");
    const asked = Promise.withResolvers<Peer>();
    const server = net.createServer((socket) => {
      peerOf(socket); // loads what it needs while everything may be read
      process.seteuid?.(nobody); // an agent that is not root may not read the environment of root's processes
      try {
        asked.resolve(peerOf(socket));
      } finally {
        process.seteuid?.(0);
      }
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

test("a workload that asked for the agent's end and was gone before anybody looked was taken for a person", async () => {
  const dir = mkdtempSync(join(tmpdir(), "bf-peer-"));
  const told: Refusal[] = [];
  const node = memoryNode(["cache"]);
  const socketPath = join(dir, "agent.sock");
  const api = await serveLocalApi({ node, socketPath, log: () => undefined, refused: (one) => told.push(one) });
  onTestFinished(async () => {
    await api.close();
    rmSync(dir, { recursive: true, force: true });
  });
  const script = `
    const connection = require("net").connect(${JSON.stringify(socketPath)});
    const session = require("http2").connect("http://localhost", { createConnection: () => connection });
    const call = session.request({ ":method": "POST", ":path": "/blueflame.node.v1.NodeService/Down", "content-type": "application/grpc", te: "trailers" });
    call.end(Buffer.alloc(5));
    setTimeout(() => process.exit(), 100);`;
  spawnSync(process.execPath, ["-e", script]); // nothing is accepted before it has ended
  await expect.poll(() => [...told, ...node.actions].length).toBeGreaterThan(0);
  expect(node.actions).toEqual([]);
  expect(told[0]?.because).toMatch(/^process \d+, which has connected, is gone/);
});
