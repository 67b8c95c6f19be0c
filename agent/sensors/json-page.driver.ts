import { get as httpGet, type IncomingMessage } from "node:http";
import { get as httpsGet } from "node:https";

/** A page of JSON with its HTTP status. */
export interface JsonPage {
  readonly status: number;
  readonly document: unknown;
}

/** A page that is larger is refused. */
const pageBytesMax = 1024 * 1024;

/**
 * Gets a page of JSON, whole within `timeoutMs`. Any status is taken: a page that says 503 has figures too (PRA-5). Rejects
 * with a clause for people. Redirects are not followed, certificates not checked: the page is our own machine's business.
 */
export function jsonPage(url: string, timeoutMs: number): Promise<JsonPage> {
  return new Promise((resolve, reject) => {
    const get = url.startsWith("https:") ? httpsGet : httpGet;
    const headers = { "user-agent": "blueflame-sensor", accept: "application/json", connection: "close" };
    const request = get(url, { agent: false, headers, rejectUnauthorized: false });
    const fail = (because: string, cause?: unknown) => {
      clearTimeout(deadline);
      reject(new Error(because, { cause }));
      request.destroy();
    };
    // One deadline for all of it: a server that sends a byte a second must not keep us.
    const deadline = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    request.on("error", (error) => fail(error.message || "the connection failed", error));
    request.on("response", (response) => {
      readBody(
        response,
        (body) => {
          clearTimeout(deadline);
          try {
            resolve({ status: response.statusCode ?? 0, document: JSON.parse(body) });
          } catch {
            fail(`HTTP ${response.statusCode}, and the answer is no JSON`);
          }
        },
        fail,
      );
    });
  });
}

function readBody(response: IncomingMessage, done: (body: string) => void, fail: (because: string) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  response.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    if (bytes > pageBytesMax) fail(`the answer has more than ${pageBytesMax} bytes`);
    else chunks.push(chunk);
  });
  response.on("end", () => done(Buffer.concat(chunks).toString("utf8")));
  response.on("error", (error) => fail(error.message));
}
