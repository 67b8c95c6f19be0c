import { expect, test } from "vitest";
import { testAuthority } from "../../test/support/link-certificates.ts";
import { startLinkHub } from "../../test/support/link-hub.ts";
import { until, uplinkRig } from "../../test/support/uplink-rig.ts";
import { causeOf } from "./cause.ts";

const { hubWith, lineTo, uplinkTo, papers, closing } = uplinkRig();
const hour = 3_600_000;
const past = { fromMs: -2 * hour, toMs: -hour };
const future = { fromMs: hour, toMs: 2 * hour };

test("a hub of another CA is HUB_UNTRUSTED", async () => {
  const stranger = await testAuthority("stranger");
  const hub = await startLinkHub({ ...(await stranger.hub()), ca: papers().authority.ca });
  closing(() => hub.stop());
  const { code, uplink } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => code() === "HUB_UNTRUSTED");
  expect(uplink.view()).toMatchObject({ state: "connecting" });
  expect(uplink.view().because).toContain("unable to verify the first certificate. The hub's certificate");
});

test("a hub that is called by a name its certificate lacks is HUB_MISNAMED, with both in the text, and not of another CA", async () => {
  const hub = await startLinkHub(await papers().authority.hub(undefined, "10.0.0.9"));
  closing(() => hub.stop());
  const { code, uplink } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => code() === "HUB_MISNAMED");
  expect(uplink.view().because).toMatch(/127\.0\.0\.1 is not in the cert's list: 10\.0\.0\.9.*serve --name/);
});

test.each([
  ["a hub with an expired certificate is CERT_EXPIRED", past, "CERT_EXPIRED"],
  ["a hub whose certificate is not valid yet means that our clock is wrong", future, "CLOCK_WRONG"],
] as const)("%s", async (_title, life, expected) => {
  const hub = await startLinkHub(await papers().authority.hub(life));
  closing(() => hub.stop());
  const { code, uplink } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => code() === expected);
  expect(uplink.view().because).toContain("this machine's clock says 20");
});

test.each([
  ["our expired certificate is CERT_EXPIRED", past, "CERT_EXPIRED"],
  ["our certificate of tomorrow means that our clock is wrong", future, "CLOCK_WRONG"],
] as const)("%s", async (_title, life, expected) => {
  const hub = await hubWith();
  const own = await papers().authority.node("n1", life);
  const { code } = uplinkTo("", { target: { addresses: [`127.0.0.1:${hub.port}`], ...own } });
  await until(() => code() === expected);
});

test("a hub that resets the line is called by the cause that our certificate shows, and unreachable when it shows none", () => {
  const ended = {
    sent: undefined,
    status: "UNAVAILABLE",
    details: "No connection established. Last error: Error: read ECONNRESET",
  };
  const nowMs = 10 * hour;
  const codeOf = (fromMs: number, toMs: number) => causeOf(ended, { fromMs, toMs }, nowMs).code;
  expect(codeOf(nowMs + hour, nowMs + 2 * hour)).toBe("CLOCK_WRONG");
  expect(codeOf(nowMs - 2 * hour, nowMs - hour)).toBe("CERT_EXPIRED");
  expect(codeOf(nowMs - hour, nowMs + hour)).toBe("HUB_UNREACHABLE");
});

test("a certificate of another CA is CERT_REFUSED by the hub, once it has refused it twice", async () => {
  const hub = await hubWith();
  const stranger = await testAuthority("stranger");
  const own = { ...(await stranger.node("n1")), ca: papers().authority.ca };
  const { code, log } = uplinkTo("", { target: { addresses: [`127.0.0.1:${hub.port}`], ...own } });
  await until(() => code() === "CERT_REFUSED");
  expect(log.lines.map(({ facts }) => facts.code)).toEqual(["HUB_UNREACHABLE", "CERT_REFUSED"]);
});

test("a key that does not belong to the certificate is CERT_UNUSABLE, and does not end the agent", async () => {
  const hub = await hubWith();
  const other = await papers().authority.node("n2");
  const target = { ...papers().node, key: other.key, addresses: [`127.0.0.1:${hub.port}`] };
  const { code, log } = uplinkTo("", { target });
  await until(() => code() === "CERT_UNUSABLE");
  expect(JSON.stringify(log.lines)).not.toContain("PRIVATE KEY");
  const torn = uplinkTo("", { target: { ...target, cert: "not a certificate" } });
  await until(() => torn.code() === "CERT_UNUSABLE");
});

test.each(["NODE_ID_MISMATCH", "NODE_ID_TAKEN", "INCARNATION_OLD", "CERT_REFUSED"] as const)(
  "the hub's %s stands in the view, is logged once, and the node is in as soon as the hub changes its mind",
  async (refusal) => {
    const hub = await hubWith({ refuses: refusal });
    const { code, uplink, log } = uplinkTo(`127.0.0.1:${hub.port}`);
    await until(() => code() === refusal && hub.arrived.hellos.length > 4);
    expect(log.lines.map(({ facts }) => facts.code)).toEqual([refusal]);
    hub.manners.refuses = undefined;
    await until(() => uplink.view().state === "connected");
  },
);

test("nobody at the address is HUB_UNREACHABLE, logged once for all tries", async () => {
  const hub = await hubWith();
  const line = await lineTo(hub);
  await line.refuse();
  const { code, uplink, log } = uplinkTo(line.address);
  await until(() => code() === "HUB_UNREACHABLE");
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(uplink.view().because).toContain("ECONNREFUSED");
  expect(log.lines).toHaveLength(1);
  await line.heal();
  await until(() => uplink.view().state === "connected");
});

test("a hub that takes the connection and says nothing is HUB_UNREACHABLE, named as what it is", async () => {
  const hub = await hubWith({ welcomes: false });
  const { code, uplink } = uplinkTo(`127.0.0.1:${hub.port}`);
  // A connection that a busy machine did not get in time is another cause, and the one before it.
  await until(() => uplink.view().because.includes("connected, but no Welcome within 1 s"));
  expect(code()).toBe("HUB_UNREACHABLE");
});

test("a newer session elsewhere is NODE_ID_TAKEN", async () => {
  const hub = await hubWith();
  const { code } = uplinkTo(`127.0.0.1:${hub.port}`);
  await until(() => hub.sessions() === 1);
  hub.move(60_000, "newer_session");
  await until(() => code() === "NODE_ID_TAKEN");
});

test("the words of alerts and statuses that need another peer to be seen are told apart as well", () => {
  const own = { fromMs: 0, toMs: 10 };
  const cause = (status: string, details: string, wallMs = 5) =>
    causeOf({ sent: undefined, status, details }, own, wallMs).code;
  expect(cause("UNAVAILABLE", "No connection established. Last error: … tlsv1 alert unknown ca:x")).toBe(
    "CERT_REFUSED",
  );
  expect(cause("UNAVAILABLE", "… tlsv13 alert certificate required …")).toBe("CERT_REFUSED");
  expect(cause("UNAVAILABLE", "… sslv3 alert certificate expired …")).toBe("CLOCK_WRONG");
  expect(cause("UNAVAILABLE", "… sslv3 alert certificate expired …", 11)).toBe("CERT_EXPIRED");
  expect(cause("UNAVAILABLE", "… sslv3 alert certificate revoked …")).toBe("CERT_REFUSED");
  expect(cause("PERMISSION_DENIED", "no")).toBe("CERT_REFUSED");
  expect(cause("UNIMPLEMENTED", "no such method")).toBe("LINK_PROTOCOL");
  expect(cause("CANCELLED", "Call cancelled")).toBe("HUB_UNREACHABLE");
  expect(cause("INTERNAL", "Received RST_STREAM with code 2 (ECONNRESET)")).toBe("HUB_UNREACHABLE");
  expect(cause("INTERNAL", "Error deserializing")).toBe("LINK_PROTOCOL");
  expect(causeOf({ sent: undefined, status: "OK", details: "" }, own, 5).saw).toBe("the hub ended the stream");
});
