/** The playbooks of the box: the YAML files beside this one, and the `Playbook` of each as JSON. Written by `npx vitest run agent/playbooks -u`. */
export const boxPlaybooks: readonly { readonly file: string; readonly text: string; readonly json: string }[] = [
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
    json: `{"name":"daily-maintenance","description":"Every day backups and store are checked, and what is kept beyond its bounds is removed.","pool":"maintenance","timeoutMs":7200000,"steps":[{"name":"","timeoutMs":3600000,"onFailure":"continue","once":false,"action":{"do":"check_backups"}},{"name":"","timeoutMs":600000,"onFailure":"continue","once":false,"action":{"do":"check_store"}},{"name":"","timeoutMs":600000,"onFailure":"continue","once":false,"action":{"do":"trim_logs"}},{"name":"","when":{"any":[{"figure":"disk_used_ratio","is":"above","value":0.7,"text":"70%"}]},"timeoutMs":600000,"onFailure":"continue","once":false,"action":{"do":"clean_disposable","olderThanMs":86400000,"untilUsed":0.7}},{"name":"","when":{"any":[],"earlier":"failed"},"timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"alert","severity":"medium","message":"The daily maintenance found something that a person should look at; the audit says what."}}],"added":false}`,
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
    json: `{"name":"performance-optimization","description":"A slow or overloaded workload gets room and a moment; what is still slow then is started again.","pool":"recovery","timeoutMs":600000,"steps":[{"name":"make room on a full disk","when":{"any":[{"figure":"disk_used_ratio","is":"above","value":0.9,"text":"90%"}]},"timeoutMs":60000,"onFailure":"continue","once":false,"action":{"do":"clean_disposable","olderThanMs":3600000,"untilUsed":0.8}},{"name":"a short burst may be over by itself","timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"wait","ms":5000}},{"name":"clear caches and pools","when":{"any":[{"figure":"avg_latency_ms","is":"above","value":900,"text":"900ms"},{"figure":"p95_latency_ms","is":"above","value":900,"text":"900ms"},{"figure":"process_cpu_ratio","is":"above","value":0.75,"text":"75%"}],"workload":"running"},"timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"restart"}},{"name":"","timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"verify","withinMs":30000}}],"added":false}`,
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
    json: `{"name":"quarantine-artifacts","description":"What crashed the sandbox is moved away, kept as evidence, and the unit runs without it.","pool":"recovery","timeoutMs":600000,"steps":[{"name":"","timeoutMs":120000,"onFailure":"stop","once":false,"action":{"do":"quarantine"}},{"name":"","timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"alert","severity":"high","message":"Artifacts are in quarantine; a person looks at them and puts them back or throws them away."}},{"name":"","timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"verify","withinMs":30000}}],"added":false}`,
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
    json: `{"name":"resource-cleanup","description":"What is disposable is removed while the disk is full, and a workload that holds much memory is started again.","pool":"recovery","timeoutMs":600000,"steps":[{"name":"","when":{"any":[{"figure":"disk_used_ratio","is":"above","value":0.8,"text":"80%"},{"figure":"disk_free_inodes","is":"below","value":1000,"text":"1000"}]},"timeoutMs":90000,"onFailure":"continue","once":false,"action":{"do":"clean_disposable","olderThanMs":600000,"untilUsed":0.8}},{"name":"","timeoutMs":60000,"onFailure":"continue","once":false,"action":{"do":"trim_logs"}},{"name":"give its memory back","when":{"any":[{"figure":"memory_used_ratio","is":"above","value":0.75,"text":"75%"},{"figure":"ours_memory_ratio","is":"above","value":0.75,"text":"75%"},{"figure":"process_memory_bytes","is":"above","value":268435456,"text":"256MiB"}],"workload":"running"},"timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"restart"}},{"name":"","when":{"any":[],"workload":"unwell"},"timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"verify","withinMs":30000}}],"added":false}`,
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
    json: `{"name":"restart-kernel","description":"A unit that is silent or stuck is started again at once.","pool":"recovery","timeoutMs":600000,"steps":[{"name":"","timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"restart"}},{"name":"","timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"verify","withinMs":30000}}],"added":false}`,
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
    json: `{"name":"restart-service","description":"A service that does not answer is started again, after what it depends on.","pool":"recovery","timeoutMs":600000,"steps":[{"name":"","when":{"any":[],"has":"dependencies"},"timeoutMs":300000,"onFailure":"continue","once":false,"action":{"do":"restart_dependencies"}},{"name":"","timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"restart"}},{"name":"","timeoutMs":61000,"onFailure":"stop","once":false,"action":{"do":"verify","withinMs":60000}}],"added":false}`,
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
    json: `{"name":"rollback-deployment","description":"A deployment that lost trust is taken back to the last config that was healthy.","pool":"recovery","timeoutMs":600000,"steps":[{"name":"","timeoutMs":120000,"onFailure":"stop","once":false,"action":{"do":"rollback"}},{"name":"","timeoutMs":61000,"onFailure":"stop","once":false,"action":{"do":"verify","withinMs":60000}},{"name":"","timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"alert","severity":"high","message":"A deployment was rolled back; its config is marked bad until it changes."}}],"added":false}`,
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
    json: `{"name":"run-diagnostics","description":"Evidence is written down while it is there; what goes on failing after a minute is started again.","pool":"recovery","timeoutMs":600000,"steps":[{"name":"","timeoutMs":60000,"onFailure":"continue","once":false,"action":{"do":"diagnose"}},{"name":"","timeoutMs":60000,"onFailure":"continue","once":false,"action":{"do":"check_store"}},{"name":"","timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"alert","severity":"medium","message":"Something unusual was seen; a diagnostic bundle lies in the data directory."}},{"name":"an error burst may end by itself","when":{"any":[],"workload":"running"},"timeoutMs":63000,"onFailure":"stop","once":false,"action":{"do":"wait","ms":62000}},{"name":"it goes on failing","when":{"any":[{"figure":"error_lines","is":"above","value":10,"text":"10"},{"figure":"error_rate","is":"above","value":0.05,"text":"5%"}],"workload":"running"},"timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"restart"}},{"name":"","when":{"any":[],"workload":"unwell"},"timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"verify","withinMs":30000}}],"added":false}`,
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
    json: `{"name":"weekly-maintenance","description":"Every week all data is backed up anew and read back, the store is checked, and the state of the node is written down.","pool":"maintenance","timeoutMs":21600000,"steps":[{"name":"","timeoutMs":10800000,"onFailure":"continue","once":false,"action":{"do":"backup"}},{"name":"","timeoutMs":7200000,"onFailure":"continue","once":false,"action":{"do":"check_backups"}},{"name":"","timeoutMs":600000,"onFailure":"continue","once":false,"action":{"do":"check_store"}},{"name":"","timeoutMs":600000,"onFailure":"continue","once":false,"action":{"do":"trim_logs"}},{"name":"","timeoutMs":60000,"onFailure":"continue","once":false,"action":{"do":"diagnose"}},{"name":"","when":{"any":[],"earlier":"failed"},"timeoutMs":60000,"onFailure":"stop","once":false,"action":{"do":"alert","severity":"medium","message":"The weekly maintenance found something that a person should look at; the audit says what."}}],"added":false}`,
  },
];
