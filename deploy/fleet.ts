import type { IncidentJson, ListIncidentsResponseJson, ListNodesResponseJson, NodeJson } from "./fleet-json.ts";

const service = "blueflame.operator.v1.OperatorService";

/** The hub as any program sees it that can POST JSON: no client library, no generated code. */
export interface Hub {
  /** Rejects while the hub does not answer. */
  nodes(): Promise<NodeJson[]>;
  /** Newest first. */
  incidents(): Promise<IncidentJson[]>;
}

export function hubAt(address: string): Hub {
  const ask = async (method: string, body: object): Promise<unknown> => {
    const response = await fetch(`http://${address}/${service}/${method}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(3_000),
    });
    if (!response.ok) throw new Error(`${method}: HTTP ${response.status} ${await response.text()}`);
    return response.json();
  };
  return {
    nodes: async () => ((await ask("ListNodes", {})) as ListNodesResponseJson).nodes ?? [],
    incidents: async () => ((await ask("ListIncidents", { limit: 50 })) as ListIncidentsResponseJson).incidents ?? [],
  };
}
