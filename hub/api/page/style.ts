/** The page's style, served as `/page.css`. Colours of text reach contrast AA on their ground in both schemes. */
export const style = `
:root { color-scheme: light dark; --ground: #f5f7fa; --card: #ffffff; --ink: #14202e; --soft: #536273; --line: #dde4ec; --blue: #0b5fc4;
  --good: #0f7b3e; --warn: #8a5a00; --bad: #b91c1c; --quiet: #536273; --chip: #eef2f7; --shade: 0 1px 2px #0f172a14, 0 4px 16px #0f172a0a; }
@media (prefers-color-scheme: dark) { :root { --ground: #0c1118; --card: #141b25; --ink: #e6edf5; --soft: #9aabbd; --line: #263241;
  --blue: #74b3ff; --good: #56d38a; --warn: #f0b84a; --bad: #ff8b85; --quiet: #9aabbd; --chip: #1d2733; --shade: none; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
header, main, footer { max-width: 1240px; margin: 0 auto; padding: 0 24px; }
header { padding-top: 22px; }
.brand { display: flex; align-items: center; gap: 10px; }
h1 { font-size: 17px; margin: 0; font-weight: 650; letter-spacing: .01em; }
h2 { font-size: 13px; margin: 30px 0 10px; color: var(--soft); text-transform: uppercase; letter-spacing: .08em; font-weight: 650; }
.verdict { font-size: clamp(22px, 3.4vw, 34px); line-height: 1.2; font-weight: 680; margin: 16px 0 14px; letter-spacing: -.015em; text-wrap: balance; }
.link { margin: 0 0 0 auto; font-size: 13px; color: var(--soft); }
.live .link { color: var(--good); font-weight: 600; }
.live .link::before { content: ""; display: inline-block; width: 8px; height: 8px; border-radius: 50%; background: currentColor; margin-right: 7px; }
.stale .link { color: var(--bad); font-weight: 650; }
.stale main, .stale .verdict, .stale .counts { filter: grayscale(1); opacity: .62; }
.counts { display: flex; flex-wrap: wrap; gap: 8px 18px; list-style: none; margin: 0; padding: 0; font-variant-numeric: tabular-nums; font-weight: 600; }
.frozen { color: var(--blue); }
.level { display: inline-flex; align-items: center; gap: 7px; font-size: 12px; font-weight: 650; letter-spacing: .04em; }
.level b { display: inline-grid; place-items: center; width: 22px; height: 22px; border-radius: 6px; color: #fff; background: #5b6b7d; font-size: 13px; }
.level.green b { background: #0f7b3e; border-radius: 50%; }
.level.yellow b { background: #ffd54a; color: #3a2c00; }
.level.orange b { background: #c2410c; }
.level.red b { background: #b91c1c; border-radius: 2px; outline: 2px solid #b91c1c55; outline-offset: 1px; }
table { width: 100%; border-collapse: separate; border-spacing: 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; box-shadow: var(--shade); overflow: hidden; }
thead th { text-align: left; font-size: 12px; font-weight: 600; color: var(--soft); padding: 10px 14px; border-bottom: 1px solid var(--line); }
tbody td, tbody th { text-align: left; vertical-align: top; padding: 12px 14px; border-top: 1px solid var(--line); font-weight: 400; }
tbody tr:first-child > * { border-top: 0; }
tbody tr.red { background: color-mix(in srgb, #b91c1c 9%, transparent); }
tbody tr.orange { background: color-mix(in srgb, #c2410c 7%, transparent); }
tbody th .id { font-weight: 650; overflow-wrap: anywhere; display: inline-block; min-width: 15ch; }
@media (min-width: 721px) { td[data-title="State"] { min-width: 18ch; } td[data-title="Workloads"] { min-width: 33ch; } }
small { display: block; color: var(--soft); font-size: 12.5px; overflow-wrap: anywhere; }
.beat { font-variant-numeric: tabular-nums; white-space: nowrap; }
.chips { display: flex; flex-wrap: wrap; gap: 6px; }
.chip { background: var(--chip); border-radius: 6px; padding: 1px 8px; font-size: 13px; border-left: 3px solid var(--quiet); overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.chip i, summary small i { font-style: normal; font-weight: 600; }
.chip.good { border-color: var(--good); } .chip.warn { border-color: var(--warn); } .chip.bad { border-color: var(--bad); }
.none, .empty, .more { color: var(--soft); }
.empty { display: none; margin: 0; padding: 14px; background: var(--card); border: 1px dashed var(--line); border-radius: 12px; }
table:has(tbody:empty) { display: none; } table:has(tbody:empty) + .empty, #incidents:empty + .empty { display: block; }
code { font: 13px ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.incident { background: var(--card); border: 1px solid var(--line); border-radius: 12px; margin-bottom: 10px; box-shadow: var(--shade); }
.incident.open { border-left: 4px solid var(--warn); }
summary { display: grid; grid-template-columns: auto 1fr auto; gap: 2px 12px; padding: 12px 16px; cursor: pointer; align-items: baseline; list-style: none; border-radius: 12px; }
summary::-webkit-details-marker { display: none; }
summary small { grid-column: 2; }
.what { font-weight: 600; overflow-wrap: anywhere; }
.state { justify-self: start; font-size: 12px; font-weight: 650; border-radius: 6px; padding: 1px 8px; background: var(--chip); color: var(--warn); }
.state.closed, .state.probation { color: var(--good); }
.needs { grid-row: 1; grid-column: 3; background: #b91c1c; color: #fff; border-radius: 6px; padding: 1px 8px; font-size: 12px; font-weight: 650; }
.timeline { margin: 0 16px 10px; padding: 0 0 0 16px; border-left: 2px solid var(--line); list-style: none; font-size: 14px; }
.timeline li { padding: 3px 0; overflow-wrap: anywhere; } .timeline time { color: var(--soft); font-variant-numeric: tabular-nums; margin-right: 6px; }
details > small { margin: 0 16px 12px; font-family: ui-monospace, "Liberation Mono", monospace; }
footer { color: var(--soft); font-size: 13px; padding-top: 26px; padding-bottom: 26px; }
a { color: var(--blue); } :focus-visible { outline: 2px solid var(--blue); outline-offset: 2px; }
@media (max-width: 720px) {
  header, main, footer { padding-left: 14px; padding-right: 14px; }
  .brand { flex-wrap: wrap; }
  table, tbody { display: block; }
  thead { position: absolute; clip-path: inset(50%); width: 1px; height: 1px; overflow: hidden; }
  tbody tr { display: block; position: relative; padding: 10px 0; border-top: 1px solid var(--line); }
  tbody tr:first-child { border-top: 0; }
  tbody td, tbody th { display: grid; grid-template-columns: 86px minmax(0, 1fr); gap: 0 10px; padding: 4px 14px; border: 0; white-space: normal; }
  tbody td::before, tbody th::before { content: attr(data-title); color: var(--soft); font-size: 12.5px; font-weight: 400; grid-row: span 2; padding-top: 1px; }
  tbody td > small, tbody th > small { grid-column: 2; } tbody small:empty { display: none; }
  tbody td[data-title="Level"] { position: absolute; top: 10px; right: 0; display: block; padding-right: 14px; }
  tbody th[data-title="Node"] { display: block; padding-right: 110px; } tbody th .id { min-width: 0; }
  tbody td[data-title="Level"]::before, tbody th[data-title="Node"]::before { content: none; }
  summary { grid-template-columns: 1fr auto; } .what, summary small { grid-column: 1 / -1; } .needs { grid-column: 2; }
}
@media (prefers-reduced-motion: no-preference) { body { transition: filter .2s; } }
`;

/** The flame, as page icon and brand. */
export const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><defs><linearGradient id="f" x1="0" y1="1" x2="0" y2="0"><stop offset="0" stop-color="#0b5fc4"/><stop offset="1" stop-color="#59b3ff"/></linearGradient></defs><path fill="url(#f)" d="M17 2c1 5-2 7-4 10-1 1.500-1 3-1 4-2-1-3-3-3-5-3 3-4 6-4 9a11 10 0 0 0 22 0c0-7-7-10-10-18z"/><path fill="#d8eeff" d="M16.500 16c.5 3-3.500 4-3.500 7.500a3.500 3.500 0 0 0 7 0c0-3-2.500-4-3.500-7.500z"/></svg>`;
