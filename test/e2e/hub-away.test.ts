// The short form of `npm run prove -- hub-away`: few agents, and the hub is away for seconds.
import { beforeAll, test } from "vitest";
import { hubAway } from "../prove/hub-away.ts";
import { built } from "./built.ts";
import { proved } from "./proved.ts";

beforeAll(() => built("blueflame-hub"));

test("PHX-2 PHX-11 PHX-13 the hub is away while ten agents go on over mutual TLS: nobody is blamed, each record is there once", async () => {
  await proved(hubAway, 10);
});
