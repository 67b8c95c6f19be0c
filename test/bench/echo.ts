import { readFileSync } from "node:fs";
import * as grpc from "@grpc/grpc-js";

/** The same path as the hub's, so that the same load meets both. */
export const linkPath = "/blueflame.link.v1.LinkService/Link";

const asIs = (bytes: Buffer) => bytes;

/**
 * The floor of the hub's figures: a bare grpc-js server that answers each message with itself and decodes nothing. Arguments:
 * none for plain, or the files of CA, certificate and key for mutual TLS. Prints its port and serves until it is killed.
 */
export async function serveEcho(files: readonly string[]): Promise<void> {
  const [ca, cert, key] = files.map((file) => readFileSync(file));
  const credentials =
    ca && cert && key
      ? grpc.ServerCredentials.createSsl(ca, [{ cert_chain: cert, private_key: key }], true)
      : grpc.ServerCredentials.createInsecure();
  const server = new grpc.Server({ "grpc.enable_channelz": 0 });
  const link = { path: linkPath, requestStream: true, responseStream: true };
  server.addService(
    {
      link: {
        ...link,
        requestSerialize: asIs,
        requestDeserialize: asIs,
        responseSerialize: asIs,
        responseDeserialize: asIs,
      },
    },
    {
      link: (call: grpc.ServerDuplexStream<Buffer, Buffer>) => {
        call.on("data", (bytes) => call.write(bytes));
        call.on("end", () => call.end());
        call.on("error", () => {});
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  console.log(port);
}
