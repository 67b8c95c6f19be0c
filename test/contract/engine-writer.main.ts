import { writeSync } from "node:fs";
import { openLevelEngine } from "@blueflame/shared/store/level/engine.ts";
import { realClock } from "@blueflame/shared/time/real-clock.driver.ts";

/** Writes state and log until it is killed, and says each write that was acknowledged, one per line. */
const [dir = "", life = ""] = process.argv.slice(2);
const { state, log } = await openLevelEngine(dir, { clock: realClock() });
const lane = async (name: string) => {
  for (let count = 1; ; count++) {
    const value = Buffer.from(String(count));
    const rev = await state.commit(
      [],
      [
        { put: `${life}/${name}`, value },
        { put: `twin/${life}/${name}`, value },
      ],
    );
    writeSync(1, `state ${life}/${name} ${count} ${rev}\n`);
    const id = `${life}-${name}-${count}`;
    await log.append("s", [{ id, at: count, data: value }]);
    writeSync(1, `log ${id} ${count} 0\n`);
  }
};
await Promise.all(Array.from({ length: 8 }, (_, at) => lane(`lane${at}`)));
