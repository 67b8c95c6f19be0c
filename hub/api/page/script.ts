/**
 * The page's script, served as `/page.js`. It is text because every program here is one file, and the browser's share is
 * small: take fragments (escaped by the hub) from the event stream, keep ages counting, grey the page when the stream is lost.
 */
export const script = `"use strict";
(() => {
  const CLOSED_SHOWN = 5, ROWS_SHOWN = 500, QUIET_MS = 10000;
  const at = (id) => document.getElementById(id);
  const lists = { node: at("nodes"), incident: at("incidents") };
  const items = { node: new Map(), incident: new Map() };
  const bases = new WeakMap();
  let seen = null, heardMs = performance.now(), staleSince = null, source = null;

  const adopt = (kind, element) => {
    items[kind].set(element.dataset.key, element);
    for (const age of element.querySelectorAll("[data-age-ms]")) bases.set(age, performance.now() - Number(age.dataset.ageMs));
  };
  for (const kind of ["node", "incident"]) for (const element of lists[kind].children) adopt(kind, element);

  const place = (kind, key, html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    const element = template.content.firstElementChild;
    const old = items[kind].get(key);
    const details = element.querySelector("details"), before = old && old.querySelector("details");
    // What a person opened or closed stays so, until the incident itself is closed.
    if (details && before && old.dataset.open === element.dataset.open) details.open = before.open;
    if (old && old.dataset.rank === element.dataset.rank) old.replaceWith(element);
    else {
      if (old) old.remove();
      const next = [...lists[kind].children].find((other) => other.dataset.rank > element.dataset.rank);
      lists[kind].insertBefore(element, next || null);
    }
    adopt(kind, element);
    if (seen) seen.add(kind + key);
    if (kind === "incident") trim(kind, [...lists[kind].children].filter((one) => one.dataset.open === "no").slice(CLOSED_SHOWN));
    else if (lists.node.children.length > ROWS_SHOWN) trim(kind, [lists.node.lastElementChild]);
  };
  const trim = (kind, elements) => {
    for (const element of elements) { items[kind].delete(element.dataset.key); element.remove(); }
  };

  const duration = (ms) => {
    if (ms < 59950) return (Math.max(0, ms) / 1000).toFixed(ms < 10000 ? 1 : 0) + "s";
    const s = Math.round(ms / 1000), m = Math.floor(s / 60), h = Math.floor(m / 60), two = (n) => String(n).padStart(2, "0");
    if (m < 60) return m + "m" + two(s % 60) + "s";
    return h < 48 ? h + "h" + two(m % 60) + "m" : Math.floor(h / 24) + "d" + (h % 24) + "h";
  };
  const text = (element, value) => { if (element.textContent !== value) element.textContent = value; };

  const heard = () => {
    heardMs = performance.now();
    if (staleSince !== null || !document.body.classList.contains("live")) {
      staleSince = null;
      document.body.classList.remove("stale");
      document.body.classList.add("live");
      text(at("link"), "Live");
    }
  };
  const lost = () => {
    if (staleSince !== null) return;
    staleSince = new Date(Date.now() - (performance.now() - heardMs));
    document.body.classList.remove("live");
    document.body.classList.add("stale");
    text(at("link"), "Stale since " + staleSince.toISOString().slice(11, 19) + "Z: the hub does not answer. Trying again.");
  };
  const connect = () => {
    if (source) source.close();
    source = new EventSource("/events?as=html");
    source.addEventListener("begin", () => { seen = new Set(); heard(); });
    source.addEventListener("complete", () => {
      for (const kind of ["node", "incident"]) trim(kind, [...lists[kind].children].filter((one) => !seen.has(kind + one.dataset.key)));
      seen = null;
      heard();
    });
    for (const kind of ["node", "incident"]) {
      source.addEventListener(kind, (event) => { const { key, html } = JSON.parse(event.data); place(kind, key, html); heard(); });
    }
    source.addEventListener("fleet", (event) => {
      const { verdict, html } = JSON.parse(event.data);
      text(at("verdict"), verdict);
      document.title = verdict + " · Blue Flame";
      if (at("counts").innerHTML !== html) at("counts").innerHTML = html;
      heard();
    });
    source.addEventListener("error", lost);
  };
  setInterval(() => {
    for (const age of document.querySelectorAll("[data-age-ms]")) text(age, duration(performance.now() - bases.get(age)) + " ago");
    if (performance.now() - heardMs > QUIET_MS) { lost(); }
    // The browser tries again by itself after a lost connection, and not after a refusal.
    if (source.readyState === 2 || performance.now() - heardMs > 3 * QUIET_MS) { heardMs = performance.now() - QUIET_MS - 1; connect(); }
  }, 1000);
  // A page in the background keeps no connection: browsers allow six per host for all tabs.
  document.addEventListener("visibilitychange", () => { if (document.hidden) source.close(); else connect(); });
  connect();
})();
`;
