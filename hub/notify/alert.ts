/** Something that a person has to know. Plain JSON; the file under `alerts/` is exactly this. */
export interface Alert {
  /** The id of the decision behind it, and the name of the file: told twice it is still one. */
  readonly id: string;
  /** ISO 8601, the hub's wall clock. */
  readonly at: string;
  /** A stable word: red, needs_person, mass_silence, clone, store_behind. */
  readonly kind: string;
  /** Empty when it is about a whole site or the hub. */
  readonly node: string;
  readonly site: string;
  /** One sentence with the facts. */
  readonly because: string;
  readonly incidentId: string;
}
