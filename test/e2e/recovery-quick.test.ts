// DOLPHIN, the Praetorian Guard and Phoenix on real processes, once: `npm run prove -- dol pra phx` has their own figures and more.
import { expect, test } from "vitest";
import { dolQuick } from "../prove/systems-dol.ts";
import { phxQuick } from "../prove/systems-phx.ts";
import { praQuick } from "../prove/systems-pra.ts";
import { rowsOf } from "./recovery-rows.ts";

const [dol, pra, phx] = [rowsOf(dolQuick), rowsOf(praQuick), rowsOf(phxQuick)];

test("DOL-2 DOL-4 external data that is stale is DEGRADED, and nothing is done", async () => {
  const { names, bad } = await dol("DOL-2", "DOL-4");
  expect({ names, bad }).toEqual({ names: ["DOL-2 meta-health", "DOL-4 external source"], bad: [] });
});

test("DOL-5 a unit comes back five seconds after its end, and a runaway of tasks is ended at its limit of 50", async () => {
  const { names, bad } = await dol("DOL-5");
  expect({ names, bad }).toEqual({ names: ["DOL-5 delay", "DOL-5 tasks"], bad: [] });
});

test("DOL-7 DOL-8 a crash is acted upon at once beside a probe and a job that hang, and the job that was late is started", async () => {
  const { names, bad } = await dol("DOL-7", "DOL-8");
  expect({ names, bad }).toEqual({ names: ["DOL-7 speeds", "DOL-8 late job"], bad: [] });
});

test("PRA-4 after a recovery it is asked within ten seconds, whatever its own pace, and its breaker is half open", async () => {
  expect(await pra("PRA-4")).toEqual({ names: ["PRA-4 probation"], bad: [] });
});

test("PRA-14 SYN-12 what healed a failure three times goes first, which is explained, and a measure is suggested", async () => {
  const { names, bad } = await pra("PRA-14", "SYN-12");
  expect({ names, bad }).toEqual({ names: ["PRA-14 lessons", "SYN-12 learning"], bad: [] });
});

test("PHX-3 PHX-4 PHX-7 a firewall that falls silent or hangs is found in 5 s and back in 10, and its lock and its orphan are gone", async () => {
  const { names, bad } = await phx("PHX-3", "PHX-4", "PHX-7");
  expect({ names, bad }).toEqual({
    names: [
      "PHX-3 hanging",
      "PHX-3 silent",
      "PHX-4 hanging",
      "PHX-4 orphan",
      "PHX-4 silent",
      "PHX-7 hanging",
      "PHX-7 silent",
    ],
    bad: [],
  });
});
