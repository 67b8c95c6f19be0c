import { IncidentState } from "@blueflame/shared/gen/blueflame/link/v1/incident_pb.ts";
import {
  ListAuditRequestSchema,
  WatchIncidentsRequestSchema,
  WatchNodesRequestSchema,
} from "@blueflame/shared/gen/blueflame/operator/v1/operator_service_pb.ts";
import { create } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { memoryFleet } from "../../test/support/fleet.ts";
import { operatorApi, watchersMax } from "./operator.ts";

const everyNode = create(WatchNodesRequestSchema);

test("one watch too many is refused by name, and a watch that ended makes room for the next", async () => {
  const fleet = memoryFleet();
  fleet.putNode({ id: "edge-1" });
  const api = operatorApi(fleet);
  const left = new AbortController();
  const watch = () => api.watchNodes(everyNode, { signal: left.signal });
  const open = Array.from({ length: watchersMax }, watch);
  for (const one of open) await one.next();
  await expect(watch().next()).rejects.toMatchObject({ code: "LIMIT_REACHED" });
  await open[0]?.return(undefined);
  const next = watch();
  expect((await next.next()).value?.node?.id).toBe("edge-1");
  left.abort();
  for (const one of [...open, next]) expect((await one.next()).done).toBe(true);
  expect(fleet.watchers).toBe(0);
});

test("a change between the listing and the listening is told, and an incident that closes is told too", async () => {
  const fleet = memoryFleet();
  fleet.putIncident({ id: "i-1", nodeId: "edge-1" });
  fleet.putIncident({ id: "i-2", nodeId: "edge-2" });
  const left = new AbortController();
  const request = create(WatchIncidentsRequestSchema, { nodeId: "edge-1" });
  const watch = operatorApi(fleet).watchIncidents(request, { signal: left.signal });
  const first = watch.next(); // listens and asks the store; its answer is still on the way
  fleet.putIncident({ id: "i-1", nodeId: "edge-1", state: IncidentState.RECOVERING });
  expect((await first).value?.incident?.id).toBe("i-1");
  expect((await watch.next()).value?.incident?.state).toBe(IncidentState.RECOVERING);
  fleet.putIncident({ id: "i-1", nodeId: "edge-1", state: IncidentState.CLOSED });
  expect((await watch.next()).value?.incident?.state).toBe(IncidentState.CLOSED);
  left.abort();
  expect((await watch.next()).done).toBe(true);
});

test("audit pages on from a moment, newest first", async () => {
  const fleet = memoryFleet();
  for (const second of [1, 2, 3, 4]) fleet.putAudit({ id: String(second), at: timestampFromMs(second * 1000) });
  const request = create(ListAuditRequestSchema, { limit: 2, before: timestampFromMs(4000) });
  expect((await operatorApi(fleet).listAudit(request)).records?.map(({ id }) => id)).toEqual(["3", "2"]);
});
