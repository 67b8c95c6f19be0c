// The watchdog under PM2: `pm2 start ecosystem.config.cjs && pm2 save`, and once `pm2 startup`. What `blueflame-agent install` has
// installed is run; BLUEFLAME_AGENT, BLUEFLAME_CONFIG and BLUEFLAME_DATA_DIR name other places.
const program = process.env.BLUEFLAME_AGENT ?? "/usr/local/bin/blueflame-agent";
const config = process.env.BLUEFLAME_CONFIG ?? "/etc/blueflame/agent.yaml";
const dataDir = process.env.BLUEFLAME_DATA_DIR ?? "/var/lib/blueflame";

module.exports = {
  apps: [
    {
      name: "blueflame-watchdog",
      script: program,
      interpreter: "none",
      args: ["watchdog", "--init", "--data-dir", dataDir, "--", "up", "--config", config, "--data-dir", dataDir],
      env: { PKG_NATIVE_CACHE_PATH: `${dataDir}/native` },
      autorestart: true,
      restart_delay: 100,
      // Never give up: the watchdog has its own budget.
      max_restarts: Number.MAX_SAFE_INTEGER,
      // `pm2 stop` ends the watchdog, which ends its agent; PM2's own way would kill every workload with them.
      treekill: false,
      kill_timeout: 45000,
    },
  ],
};
