/** Where an incident stands; forward only, but a relapse goes back to recovering. */
export type Stage = "open" | "recovering" | "verifying" | "probation" | "closed";

/** A revision of an incident, in the machines' words: plain JSON. What is absent stays as it is. */
export interface Change {
  /** A stable word for the timeline: symptom, diagnosis, decision, remedy, verification, probation, relapse, closed. */
  readonly what: string;
  /** One sentence for people, with the facts. */
  readonly because: string;
  readonly stage?: Stage;
  readonly severity?: "low" | "medium" | "high" | "critical";
  /** One sentence for people: the incident as a whole, as it stands now. */
  readonly summary?: string;
  readonly needsPerson?: boolean;
  /** When opening: how long before the detection the fault began, as good as it is known. */
  readonly faultAgoMs?: number;
  /** When the remedy is verified: from the detection, on the monotonic clock; null when a restart lost its beginning. */
  readonly recoverMs?: number | null;
}
