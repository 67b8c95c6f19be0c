import { parseDocument } from "yaml";

/** The config with these addresses of a hub; everything else, comments too, stays as it is. The text was checked before. */
export function withHub(text: string, addresses: readonly string[]): string {
  const file = parseDocument(text);
  file.setIn(["hub", "addresses"], file.createNode([...addresses]));
  return file.toString({ lineWidth: 0 });
}
