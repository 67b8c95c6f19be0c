import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as grpc from "@grpc/grpc-js";
import { afterEach, expect, test } from "vitest";
import { catalogue, Fault, type FaultCode } from "../errors/fault.ts";
import { LinkService } from "../gen/blueflame/link/v1/link_service_pb.ts";
import { StateService } from "../gen/blueflame/node/v1/node_service_pb.ts";
import { addService, client, faultFrom, isUndecodable, serviceDefinition, toStatus } from "./definition.ts";
import { clientOptions, serverOptions } from "./options.ts";

const insecure = grpc.credentials.createInsecure();
const ends: (() => void | Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function listen(fill: (server: grpc.Server) => void, address = "127.0.0.1:0"): Promise<string> {
  const server = new grpc.Server(serverOptions);
  fill(server);
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  );
  ends.push(() => server.forceShutdown());
  return address.startsWith("unix:") ? address : `127.0.0.1:${port}`;
}

function stateAt(address: string) {
  const state = client(StateService, address, insecure);
  ends.push(() => state.close());
  return state;
}

type StateHandlers = Parameters<typeof addService<typeof StateService>>[2];
const notHere = () => {
  throw new Fault("NOT_FOUND", "this test does not serve it");
};
const echoState: StateHandlers = {
  ...(Object.fromEntries(
    StateService.methods.map(({ localName }) => [localName, notHere]),
  ) as unknown as StateHandlers),
  get: (request) => ({ value: new TextEncoder().encode(request.key), revision: 7n }),
  put: async (request, call) => {
    if (request.key === "broken") throw new TypeError("x is undefined");
    if (request.key === "slow") await new Promise((resolve) => call.once("cancelled", resolve));
    throw new Fault("STATE_CONFLICT", `'${request.key}' is at revision 3, expected 2`);
  },
};

test("a unary call returns the handler's message, over TCP and over a unix socket", async () => {
  const folder = await mkdtemp(join(tmpdir(), "rpc-"));
  ends.push(() => rm(folder, { recursive: true, force: true }));
  for (const address of ["127.0.0.1:0", `unix:${join(folder, "s.sock")}`]) {
    const state = stateAt(await listen((server) => addService(server, StateService, echoState), address));
    const { value, revision } = await state.get({ key: "é/1" });
    expect([new TextDecoder().decode(value), revision]).toEqual(["é/1", 7n]);
  }
});

test("a Fault thrown by a handler arrives as the same Fault", async () => {
  const state = stateAt(await listen((server) => addService(server, StateService, echoState)));
  const error = await state.put({ key: "k" }).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code: grpc.status.ABORTED, details: expect.stringContaining("[STATE_CONFLICT]") });
  expect(faultFrom(error)).toMatchObject({ code: "STATE_CONFLICT", saw: "'k' is at revision 3, expected 2" });
});

test("an unexpected error in a handler is INTERNAL, and the server lives on", async () => {
  const state = stateAt(await listen((server) => addService(server, StateService, echoState)));
  await expect(state.put({ key: "broken" })).rejects.toMatchObject({ code: grpc.status.INTERNAL });
  await expect(state.get({ key: "k" })).resolves.toMatchObject({ revision: 7n });
});

test("a call ends at its deadline, and at the caller's signal", async () => {
  const state = stateAt(await listen((server) => addService(server, StateService, echoState)));
  const late = await state.put({ key: "slow" }, { timeoutMs: 50 }).catch((reason: unknown) => reason);
  expect(faultFrom(late).code).toBe("TIMED_OUT");
  await expect(state.put({ key: "slow" }, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({
    code: grpc.status.CANCELLED,
  });
  await expect(state.get({ key: "k" }, { timeoutMs: 40 * 24 * 3_600_000 })).resolves.toMatchObject({ revision: 7n });
});

test("nobody there is told in the words of the caller", async () => {
  const state = stateAt("unix:/nonexistent/blueflame.sock");
  const error = await state.get({ key: "k" }).catch((reason: unknown) => reason);
  expect(faultFrom(error, "AGENT_UNREACHABLE").code).toBe("AGENT_UNREACHABLE");
  expect(faultFrom(error).code).toBe("HUB_UNREACHABLE");
});

/** Sends raw bytes on the Link stream: 0xff can never be decoded. */
function rawLink(address: string) {
  const raw = new grpc.Client(address, insecure, clientOptions);
  ends.push(() => raw.close());
  const asIs = (bytes: Buffer) => bytes;
  return raw.makeBidiStreamRequest("/blueflame.link.v1.LinkService/Link", asIs, asIs);
}

test("on a tolerant stream an undecodable message arrives as one, and the next message still arrives", async () => {
  const seen: string[] = [];
  const address = await listen((server) =>
    addService(
      server,
      LinkService,
      {
        link: (call) => {
          call.on("data", (message) => {
            seen.push(isUndecodable(message) ? `undecodable ${message.bytes.length}` : `${message.message.case}`);
            if (seen.length === 3) call.end();
          });
        },
      },
      { tolerant: true },
    ),
  );
  const link = rawLink(address);
  for (const bytes of [Buffer.from([0x12, 0]), Buffer.from([0xff, 0xff]), Buffer.from([0x12, 0])]) link.write(bytes);
  link.on("data", () => {});
  await new Promise((resolve) => link.on("status", resolve));
  expect(seen).toEqual(["heartbeat", "undecodable 2", "heartbeat"]);
});

test("on a strict stream an undecodable message ends the stream", async () => {
  const address = await listen((server) =>
    addService(server, LinkService, {
      link: (call) => {
        call.on("data", () => {});
        call.on("end", () => call.end());
      },
    }),
  );
  const link = rawLink(address);
  link.on("data", () => {});
  link.on("error", () => {});
  link.write(Buffer.from([0xff, 0xff]));
  const status = await new Promise<grpc.StatusObject>((resolve) => link.on("status", resolve));
  expect(status.code).toBe(grpc.status.INTERNAL);
});

test("a tolerant client gets undecodable answers as such, with a copy of their bytes", () => {
  const link = serviceDefinition(LinkService, { tolerant: true }).link;
  const bytes = Buffer.from([0xff]);
  const message = link?.responseDeserialize(bytes);
  bytes[0] = 0;
  expect(message).toMatchObject({ undecodable: true, bytes: new Uint8Array([0xff]), error: expect.any(Error) });
});

test("typed streams carry messages both ways, and an error thrown by the handler ends them with its code", async () => {
  const address = await listen((server) =>
    addService(server, LinkService, {
      link: async (call) => {
        call.write({ message: { case: "ack", value: { throughSeq: 3n } } });
        await new Promise((resolve) => call.once("data", resolve));
        throw new Fault("NODE_ID_TAKEN", "node-1 is connected");
      },
    }),
  );
  const hub = client(LinkService, address, insecure, clientOptions, { tolerant: true });
  ends.push(() => hub.close());
  const link = hub.link();
  const failed = new Promise<Error>((resolve) => link.on("error", resolve));
  const first = await new Promise<object>((resolve) => link.once("data", resolve));
  expect(first).toMatchObject({ message: { case: "ack", value: { throughSeq: 3n } } });
  link.on("data", () => {});
  link.write({ message: { case: "heartbeat", value: { count: 1n } } });
  expect(faultFrom(await failed)).toMatchObject({ code: "NODE_ID_TAKEN", saw: "node-1 is connected" });
});

test.each(Object.keys(catalogue) as FaultCode[])("%s survives the way over the wire and back", (code) => {
  const sent = new Fault(code, "what was seen, with a . in it");
  const status = toStatus(sent);
  expect(status.code).toBeGreaterThan(0);
  expect(faultFrom(status)).toMatchObject({ code, saw: sent.saw, message: sent.message });
});
