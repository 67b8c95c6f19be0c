/** The playbooks of the box: the YAML files beside this one, as text. Written by `npx vitest run agent/playbooks -u`. */
export const boxPlaybooks: readonly { readonly file: string; readonly text: string }[] = [
  {
    file: "daily-maintenance.yaml",
    text: `name: daily-maintenance
description: Every day backups and store are checked, and what is kept beyond its bounds is removed.
pool: maintenance
timeout: 2h
steps:
  - check_backups: {}
    timeout: 1h
    on_failure: continue
  - check_store: {}
    timeout: 10m
    on_failure: continue
  - trim_logs: {}
    timeout: 10m
    on_failure: continue
  - clean_disposable:
      older_than: 24h
      until_used: 70%
    when:
      any:
        - {figure: disk_used_ratio, above: 70%}
    timeout: 10m
    on_failure: continue
  - alert:
      severity: medium
      message: The daily maintenance found something that a person should look at; the audit says what.
    when:
      earlier: failed
`,
  },
  {
    file: "performance-optimization.yaml",
    text: `# Knows nothing of the workload, so it makes room, waits a moment, and restarts what is still slow: that clears caches and pools.
# Slow is what its trigger would not call over yet: at the threshold itself, a figure that flickers would be left alone for minutes.
# Who can do better without a pause (clear caches, tune queries, tune the pool) writes a playbook of this name with http, signal
# or exec steps; the README beside this file has one.
name: performance-optimization
description: A slow or overloaded workload gets room and a moment; what is still slow then is started again.
steps:
  - name: make room on a full disk
    clean_disposable:
      older_than: 1h
    when:
      any:
        - {figure: disk_used_ratio, above: 90%}
    on_failure: continue
  - name: a short burst may be over by itself
    wait:
      for: 5s
  - name: clear caches and pools
    restart: {}
    when:
      workload: running
      any:
        - {figure: avg_latency_ms, above: 900ms}
        - {figure: p95_latency_ms, above: 900ms}
        - {figure: process_cpu_ratio, above: 75%}
  - verify:
      within: 30s
`,
  },
  {
    file: "quarantine-artifacts.yaml",
    text: `name: quarantine-artifacts
description: What crashed the sandbox is moved away, kept as evidence, and the unit runs without it.
steps:
  - quarantine: {}
    timeout: 2m
  - alert:
      severity: high
      message: Artifacts are in quarantine; a person looks at them and puts them back or throws them away.
  - verify:
      within: 30s
`,
  },
  {
    file: "resource-cleanup.yaml",
    text: `name: resource-cleanup
description: What is disposable is removed while the disk is full, and a workload that holds much memory is started again.
steps:
  - clean_disposable:
      older_than: 10m
      until_used: 80%
    when:
      any:
        - {figure: disk_used_ratio, above: 80%}
        - {figure: disk_free_inodes, below: 1000}
    timeout: 90s
    on_failure: continue
  - trim_logs: {}
    on_failure: continue
  - name: give its memory back
    restart: {}
    when:
      workload: running
      any:
        - {figure: memory_used_ratio, above: 75%}
        - {figure: ours_memory_ratio, above: 75%}
        - {figure: process_memory_bytes, above: 256MiB}
  - verify:
      within: 30s
    when:
      workload: unwell
`,
  },
  {
    file: "restart-kernel.yaml",
    text: `name: restart-kernel
description: A unit that is silent or stuck is started again at once.
steps:
  - restart: {}
  - verify:
      within: 30s
`,
  },
  {
    file: "restart-service.yaml",
    text: `name: restart-service
description: A service that does not answer is started again, after what it depends on.
steps:
  - restart_dependencies: {}
    when:
      has: dependencies
    timeout: 5m
    on_failure: continue
  - restart: {}
  - verify:
      within: 1m
`,
  },
  {
    file: "rollback-deployment.yaml",
    text: `name: rollback-deployment
description: A deployment that lost trust is taken back to the last config that was healthy.
steps:
  - rollback: {}
    timeout: 2m
  - verify:
      within: 1m
  - alert:
      severity: high
      message: A deployment was rolled back; its config is marked bad until it changes.
`,
  },
  {
    file: "run-diagnostics.yaml",
    text: `name: run-diagnostics
description: Evidence is written down while it is there; what goes on failing after a minute is started again.
steps:
  - diagnose: {}
    on_failure: continue
  - check_store: {}
    on_failure: continue
  - alert:
      severity: medium
      message: Something unusual was seen; a diagnostic bundle lies in the data directory.
  - name: an error burst may end by itself
    wait:
      for: 62s
    when:
      workload: running
  - name: it goes on failing
    restart: {}
    when:
      workload: running
      any:
        - {figure: error_lines, above: 10}
        - {figure: error_rate, above: 5%}
  - verify:
      within: 30s
    when:
      workload: unwell
`,
  },
  {
    file: "weekly-maintenance.yaml",
    text: `name: weekly-maintenance
description: Every week all data is backed up anew and read back, the store is checked, and the state of the node is written down.
pool: maintenance
timeout: 6h
steps:
  - backup: {}
    timeout: 3h
    on_failure: continue
  - check_backups: {}
    timeout: 2h
    on_failure: continue
  - check_store: {}
    timeout: 10m
    on_failure: continue
  - trim_logs: {}
    timeout: 10m
    on_failure: continue
  - diagnose: {}
    on_failure: continue
  - alert:
      severity: medium
      message: The weekly maintenance found something that a person should look at; the audit says what.
    when:
      earlier: failed
`,
  },
];
