import { connect } from "@blueflame/agent/client/client.driver.ts";

// A workload that does nothing but beat, five times a second.
connect().startBeating(200);
setInterval(() => {}, 1000);
